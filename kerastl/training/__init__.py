"""Training: a head on cached features, and fine-tuning of the backbone under it."""
