"""Runs a recipe again: to examine what it builds, or to reproduce what it made."""
