"""What `saved_models/NAME/VERSION` contains: the folder, its run record, and how to restore a model from it."""
