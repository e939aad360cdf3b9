"""Judging answers on held-out rows."""
