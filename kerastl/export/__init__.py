"""What is shipped: SavedModel, TFLite, the gate that proves them equal, and the version folder."""
