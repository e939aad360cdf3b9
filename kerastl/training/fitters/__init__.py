"""Fitters: how a head gets its weights from cached features. One file is one fitter."""
