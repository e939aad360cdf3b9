"""Fine-tuning: the last blocks of the backbone train together with the head."""
