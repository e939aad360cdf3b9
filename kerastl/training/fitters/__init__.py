"""Fitters: how a head gets its weights from cached features. One file is one fitter; it defines `FITTER`.

A head names its fitter, which is the name of the file. Adding a fitter is adding a file.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from kerastl.errors import unknown


@dataclass(frozen=True)
class RowsFit:
    """A head fitted on some rows.

    model: a keras.Model, features [batch, *shape] float32 -> logits [batch, outputs] float32. settings: what the fitter
    chose, for the run record. curve: for each epoch its number, loss and val_loss; or for each L2 strength l2 and
    log_loss. epochs: of the weights that are kept; 0 where no descent was made.
    """

    model: Any
    settings: dict[str, float | str | int]
    curve: tuple[dict[str, float], ...] = ()
    epochs: int = 0


@dataclass(frozen=True)
class Fitter:
    """How a head is fitted.

    fit_rows: `fit_rows(head, features, rows, validation, options, *, epochs=None) -> RowsFit` fits a new copy of a
    `ConfiguredHead` on these rows, [n] row numbers, of `Features`. Whatever is chosen (an L2 strength, an epoch)
    is chosen on the validation rows; where these are None, on rows held out from `rows`. epochs: a fitter that descends
    does so for exactly so many epochs, and holds nothing out. minimises_loss: False where class weights and label
    smoothing have no meaning.
    """

    fit_rows: Callable[..., RowsFit]
    minimises_loss: bool = True


@cache
def fitters() -> dict[str, Fitter]:
    """Every fitter here, by the name of its file. A module without `FITTER` is not a fitter."""
    modules = {info.name: importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}
    return {name: module.FITTER for name, module in sorted(modules.items()) if hasattr(module, "FITTER")}


def fitter_named(name: str) -> Fitter:
    """The fitter of a name. Raises OptionError, with the closest name, for one that is not known."""
    if name not in fitters():
        raise unknown("fitter", name, fitters(), "the files in kerastl/training/fitters")
    return fitters()[name]
