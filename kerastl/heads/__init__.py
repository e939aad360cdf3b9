"""Heads: the task model on a backbone's features. One file here is one head; it defines `HEAD`.

Nothing else has to be edited: names, tables and the sweeping tests find it here.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from kerastl.errors import unknown

CLASS_WEIGHTS = ("auto", "none", "balanced")  # how the loss weighs rows by their class

@dataclass(frozen=True)
class Head:
    """What is known of a head. `build(dim, outputs)` makes a keras.Model: features [batch, dim] float32 in, logits
    [batch, outputs] float32 out. A `convex` head is one Dense layer, and is solved rather than trained."""

    name: str
    summary: str
    build: Callable[[int, int], Any]
    convex: bool = False


@cache
def heads() -> dict[str, Head]:
    """Every head here, by name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    found = (importlib.import_module(f"{__name__}.{name}").HEAD for name in modules)
    return {head.name: head for head in found}


def head_of(name: str) -> Head:
    """The head of a name. Raises OptionError, with the closest name, for one that is not known."""
    if name not in heads():
        raise unknown("head", name, heads())
    return heads()[name]
