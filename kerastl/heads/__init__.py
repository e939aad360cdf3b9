"""Heads: the task model on a backbone's features. One file here is one head; it defines `HEAD`.

Nothing else has to be edited: names, tables and the sweeping tests find it here.
"""

import importlib
import pkgutil
from functools import cache

from kerastl.heads.choice import AUTO, free, heads_of, parted, resolve_head, to_search
from kerastl.heads.custom import check_custom_head
from kerastl.heads.specification import (
    GRADIENT_SETTINGS,
    PLACES,
    ROW,
    ConfiguredHead,
    Head,
    HeadLike,
    Raw,
    Setting,
)
from kerastl.inputs import Shape

__all__ = ["AUTO", "GRADIENT_SETTINGS", "PLACES", "ROW", "ConfiguredHead", "Head", "HeadLike", "Raw", "Setting",
           "Shape", "check_custom_head", "free", "heads", "heads_of", "parted", "register_layers", "resolve_head",
           "to_search"]


@cache
def heads() -> dict[str, Head]:
    """Every head here, by name. A module without `HEAD` is not a head."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
    loaded = (importlib.import_module(f"{__name__}.{name}") for name in modules)
    return {module.HEAD.name: module.HEAD for module in loaded if hasattr(module, "HEAD")}


def register_layers() -> None:
    """Tell Keras of the layers that heads here define, so that it can load a saved model that has them."""
    for name in ("blending", "plain_features"):
        importlib.import_module(f"kerastl.heads.layers.{name}")
