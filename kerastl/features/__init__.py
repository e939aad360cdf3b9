"""Features of examples: computed once, kept in a cache on disk."""
