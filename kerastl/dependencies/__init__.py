"""Dependency parsing: from the scores of arcs to trees, and their accuracy.

A tree of n words is a head for each word: the number of another word, counted from 1, or 0 for the root.
"""
