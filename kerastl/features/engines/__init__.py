"""Engines: the graphs that run the feature pass."""
