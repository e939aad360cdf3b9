"""Fitting heads on cached features, and unfreezing the backbone under them."""
