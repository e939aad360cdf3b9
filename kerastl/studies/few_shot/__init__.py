"""Few-shot learning: methods for new classes with a few labelled examples each, compared on episodes."""
