"""Using an exported model: load it and predict."""
