"""Writes SavedModel and TFLite files, and checks that they give the same predictions as Keras."""
