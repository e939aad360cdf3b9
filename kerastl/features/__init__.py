"""Features of examples: computed once, cached on disk."""
