"""Heads that protect their training data by differential privacy: fitted once, on noised sums of cached features."""
