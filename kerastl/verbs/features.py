"""Write the features that a backbone computes for a source to a file."""

from kerastl.verbs._use import FeaturesConfig as Config
from kerastl.verbs._use import features as run
from kerastl.verbs._use import show_features as show

__all__ = ["Config", "run", "show"]
