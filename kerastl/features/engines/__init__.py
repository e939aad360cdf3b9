"""Engines: the graph that runs the feature pass."""
