"""Questions about data: what is corrupt, duplicated, leaking from training to test rows, or probably mislabelled."""
