"""Show or clear what is cached on disk."""

from kerastl.verbs._listing import CacheConfig as Config
from kerastl.verbs._listing import cache as run
from kerastl.verbs._listing import show_cache as show

__all__ = ["LIGHT", "Config", "run", "show"]
LIGHT = True
