"""Evaluate an exported model on new labelled data."""

from kerastl.verbs._use import EvaluateConfig as Config
from kerastl.verbs._use import evaluate as run
from kerastl.verbs._use import show_evaluate as show

__all__ = ["Config", "run", "show"]
