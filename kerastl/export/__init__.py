"""Writing SavedModel and TFLite files, and proving that they give the same predictions as Keras."""
