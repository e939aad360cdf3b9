"""Predict the labels of files, folders, tables and texts with an exported model."""

from kerastl.verbs._use import PredictConfig as Config
from kerastl.verbs._use import predict as run
from kerastl.verbs._use import show_predict as show

__all__ = ["Config", "run", "show"]
