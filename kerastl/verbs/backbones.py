"""List the backbones: size, input, licence, where weights come from."""

from kerastl.verbs._listing import BackbonesConfig as Config
from kerastl.verbs._listing import backbones as run
from kerastl.verbs._listing import show_backbones as show

__all__ = ["LIGHT", "Config", "run", "show"]
LIGHT = True
