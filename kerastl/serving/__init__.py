"""Using an exported model: load it, predict, evaluate it on other data."""
