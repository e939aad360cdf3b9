"""List the recipes, or copy one here to change it."""

from kerastl.verbs._listing import RecipesConfig as Config
from kerastl.verbs._listing import recipes as run
from kerastl.verbs._listing import show_recipes as show

__all__ = ["LIGHT", "Config", "run", "show"]
LIGHT = True
