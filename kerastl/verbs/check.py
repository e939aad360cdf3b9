"""Inspect a dataset: corrupt files, duplicates, train/test leakage, imbalance and likely label errors."""

from kerastl.verbs._look import CheckConfig as Config
from kerastl.verbs._look import check as run
from kerastl.verbs._look import show_check as show

__all__ = ["Config", "run", "show"]
