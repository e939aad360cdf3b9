"""For a head of one Dense layer: its convex problem is solved. Where the rows do not fit into memory, the layer is
trained by gradient descent on scaled features instead."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead
from kerastl.runtime import free_memory
from kerastl.training.fitters import Fitter, Job, RowsFit, in_turn
from kerastl.training.fitters.gradient import Compiled, descend
from kerastl.training.fitters.solver import Linear, memory_of, solve
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.targets import loss_settings, row_weights, smoothed_targets

MOST = 20_000  # rows that the start of another head is solved on where not all fit into memory
LARGE = 2**26  # numbers in the rows, from which a single problem keeps all cores busy


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    if not fits_in_memory(features):
        return descend(head, features, rows, validation, options, epochs=epochs, scaled=True)
    return _solved(head, features, rows, options, solve_rows(features, rows, validation, options))


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`. Folds are solved side by side, each in a thread of its own, which keeps the cores busier than
    BLAS's threads do on one problem."""
    features = [features for features, _ in jobs]
    if not all(map(fits_in_memory, features)):
        yield from in_turn(partial(descend, scaled=True, compiled=Compiled()), head, jobs, options)
        return
    if max(len(each) * each.dim for each in features) > LARGE:
        yield from (fit_rows(head, each, rows, None, options) for each, rows in jobs)
        return
    workers = max(1, min(os.cpu_count() or 1, len(jobs), free_memory() // 2 // max(map(_memory, features))))
    # Set once, around all threads: it is a setting of the process.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(solve_rows, each, rows, None, options) for each, rows in jobs]
        try:
            for (each, rows), future in zip(jobs, futures, strict=True):
                yield _solved(head, each, rows, options, future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _solved(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], options: TrainingOptions,
            solution: Linear) -> RowsFit:
    model = head.build(features.shape, len(features.examples.classes))
    model.set_weights([solution.kernel, solution.bias])
    settings = loss_settings(features.examples, rows, options.class_weights, options.label_smoothing)
    return RowsFit(model, {"solver": "L-BFGS", "l2": solution.l2, **settings},
                   tuple({"l2": l2, "log_loss": loss} for l2, loss in solution.path))


def solve_rows(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
               options: TrainingOptions) -> Linear:
    """The linear head of these rows, its L2 strength chosen on the validation rows, or by cross-validation."""
    examples = features.examples
    return solve(features.rows(rows), smoothed_targets(examples, rows, options.label_smoothing),
                 row_weights(examples, rows, options.class_weights),
                 inner_folds(examples, rows) if validation is None else [], task=examples.task, parts=features.parts,
                 validation=None if validation is None else (features.rows(validation), examples.one_hot(validation)))


def solve_sample(features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
                 options: TrainingOptions) -> Linear:
    """As `solve_rows`, of a random sample of the rows where not all fit into memory: the start of another head."""
    if not fits_in_memory(features):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    return solve_rows(features, rows, validation, options)


def fits_in_memory(features: Features) -> bool:
    """Whether what the solver takes for all rows fits into half of the free memory. All rows are counted, so that the
    heads of folds are fitted as the one that ships."""
    return _memory(features) < free_memory() / 2


def _memory(features: Features) -> int:
    return memory_of(len(features), features.dim, len(features.examples.classes))


FITTER = Fitter(fit_rows, cross_fit=cross_fit)
