"""For the `joint` head: linear and plain are solved, then the shares in which their logits are added."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead
from kerastl.training.fitters import Fitter, Job, RowsFit
from kerastl.training.fitters.contenders import JOINT, Contenders, contenders, side_by_side
from kerastl.training.fitters.plain import PlainRows
from kerastl.training.options import TrainingOptions
from kerastl.training.targets import loss_settings


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    used = rows if validation is None else np.concatenate([rows, validation])
    return as_fit(contenders(features, PlainRows(features), rows, validation, options), JOINT, used, options)


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`."""
    for made, (_, rows) in zip(side_by_side(jobs, options), jobs, strict=True):
        yield as_fit(made, JOINT, rows, options)


def as_fit(made: Contenders, name: str, rows: NDArray[np.intp], options: TrainingOptions) -> RowsFit:
    """One of the contenders as a fit of these rows."""
    loss = loss_settings(made.features.examples, rows, options.class_weights, options.label_smoothing)
    return RowsFit(made.model(name), {**made.settings(name), **loss}, made.curve(name))


FITTER = Fitter(fit_rows, cross_fit=cross_fit)
