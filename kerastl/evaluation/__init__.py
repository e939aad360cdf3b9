"""Metrics on held-out rows, calibration, and the baseline without transfer."""
