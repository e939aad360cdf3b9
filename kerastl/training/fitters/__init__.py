"""Fitters: how a head gets its weights from cached features. One file is one fitter; it defines `FITTER`.

A head names its fitter, which is the name of the file. Adding a fitter is adding a file.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import unknown
from kerastl.features.compute import Features


@dataclass(frozen=True)
class RowsFit:
    """A head fitted on some rows.

    model: a keras.Model, features [batch, *shape] float32 -> logits [batch, outputs] float32. settings: what the fitter
    chose, for the run record. curve: for each epoch its number, loss and val_loss; or for each L2 strength l2 and
    log_loss. epochs: of the weights that are kept; 0 where no descent was made, or none was better than the start.
    start_loss: on the rows that chose the epoch, before training.

    Of a head that chooses among others: name, the one that was chosen; reason, in words; simple_wins, whether the
    simple model without transfer is significantly better; rivals, for each head the logits that it gives held-out rows,
    [n] row numbers -> [n, outputs].
    """

    model: Any
    settings: dict[str, float | str | int]
    curve: tuple[dict[str, float], ...] = ()
    epochs: int = 0
    start_loss: float | None = None
    name: str = ""
    reason: str = ""
    simple_wins: bool = False
    rivals: Mapping[str, Callable[..., NDArray[np.float32]]] = field(default_factory=dict)


Job = tuple[Features, NDArray[np.intp]]  # features, and the rows to fit a head on


@dataclass(frozen=True)
class Fitter:
    """How a head is fitted.

    fit_rows: `fit_rows(head, features, rows, validation, options, *, epochs=None) -> RowsFit` fits a new copy of a
    `ConfiguredHead` on these rows, [n] row numbers, of `Features`. Whatever is chosen (an L2 strength, an epoch)
    is chosen on the validation rows; where these are None, on rows held out from `rows`. epochs: a fitter that descends
    does so for exactly so many epochs, and holds nothing out. descends: whether it trains by gradient descent, with
    the loss of the options. minimises_loss: False where class weights and label
    smoothing have no meaning. cross_fit: `fits` of a fitter that has a quicker way than one job after the other.
    """

    fit_rows: Callable[..., RowsFit]
    minimises_loss: bool = True
    descends: bool = False
    cross_fit: Callable[..., Iterator[RowsFit]] | None = None

    def fits(self, head: Any, jobs: Sequence[Job], options: Any) -> Iterator[RowsFit]:
        """The fit of each job in cross-validation, in order. The last job is the head that ships."""
        return self.cross_fit(head, jobs, options) if self.cross_fit else in_turn(self.fit_rows, head, jobs, options)


def in_turn(fit_rows: Callable[..., RowsFit], head: Any, jobs: Sequence[Job], options: Any) -> Iterator[RowsFit]:
    """One job after the other. The last has no row left to stop on: it trains for the median number of epochs of the
    others."""
    epochs = []
    for features, rows in jobs[:-1]:
        fitted = fit_rows(head, features, rows, None, options)
        epochs.append(fitted.epochs)
        yield fitted
    features, rows = jobs[-1]
    yield fit_rows(head, features, rows, None, options, epochs=int(np.median(epochs)))


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
