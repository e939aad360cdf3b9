"""For heads that are trained by gradient descent: what trains is what the head adds to the solved linear head.

Trained from random weights, the same heads fell far behind the linear one on few rows and on weak features
(docs/results.md, few-rows). The start counts as an epoch, so that a head that adds nothing to the linear one is it."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.heads import ConfiguredHead
from kerastl.heads.layers.beside_linear import beside_linear, start
from kerastl.training.fitters import Fitter, Job, RowsFit, in_turn
from kerastl.training.fitters.convex import solve_sample
from kerastl.training.fitters.gradient import Compiled, descend
from kerastl.training.options import TrainingOptions
from kerastl.training.scaling import mean_and_scale


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None, compiled: Compiled | None = None) -> RowsFit:
    """See `Fitter`."""
    means = means_of(features)

    def prepare(model: Any, training: NDArray[np.intp], choosing: NDArray[np.intp] | None) -> None:
        linear = solve_sample(means, training, choosing, options)
        start(model, *mean_and_scale(means, training), linear.kernel, linear.bias)

    return descend(head, features, rows, validation, options, epochs=epochs, prepare=prepare, compiled=compiled,
                   beside=beside_linear)


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`."""
    return in_turn(partial(fit_rows, compiled=Compiled()), head, jobs, options)


FITTER = Fitter(fit_rows, descends=True, cross_fit=cross_fit)
