"""Write a new version of a model with other TFLite files."""

from kerastl.verbs._ship import ExportConfig as Config
from kerastl.verbs._ship import export as run
from kerastl.verbs._ship import show_export as show

__all__ = ["Config", "run", "show"]
