"""List the heads."""

from kerastl.verbs._listing import HeadsConfig as Config
from kerastl.verbs._listing import heads as run
from kerastl.verbs._listing import show_heads as show

__all__ = ["LIGHT", "Config", "run", "show"]
LIGHT = True
