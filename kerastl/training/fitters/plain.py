"""For the `plain` head: logistic regression on plain features of the raw input, solved. Its strength is chosen on rows
that it has not seen; so are the inverse document frequencies of texts, which come from the rows that it is fitted on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.data.examples import lowest
from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead
from kerastl.tasks import Task
from kerastl.training.fitters import Fitter, Job, RowsFit
from kerastl.training.fitters.solver import logits_of_masked, mean_loss, solve
from kerastl.training.fitters.sparse_solver import path_of
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.targets import loss_settings, row_weights, smoothed_targets

BLOCK = 256  # raw rows that are read at a time
MOST = 20_000  # rows that it is fitted on
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Plain:
    """A solution. weights: of the layer `plain`, kernel and bias first. logits: of rows of the features, [n] -> [n,
    outputs]. rows: that it was fitted on. held_out, path: as of `solver.Linear`, for these rows or the validation
    rows."""

    weights: list[Array]
    logits: Callable[[NDArray[np.intp]], Array]
    rows: NDArray[np.intp]
    l2: float
    path: tuple[tuple[float, float], ...]
    held_out: Array


class PlainRows:
    """Plain features of examples, computed once for all folds: counts of hashed n-grams, or histograms."""

    def __init__(self, features: Features, rows: NDArray[np.intp] | None = None) -> None:
        """rows: that will be used; None: all."""
        rows = np.arange(len(features)) if rows is None else rows
        self._features, self._place = features, np.zeros(len(features), np.intp)
        self._place[rows] = np.arange(len(rows))
        blocks = [features.raw_rows(rows[i:i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        self._sparse = bool(features.raw and features.raw.symbols)
        self._values: Any = _counts(blocks) if self._sparse else _histograms(blocks)

    def solve(self, rows: NDArray[np.intp], validation: NDArray[np.intp] | None, options: TrainingOptions) -> Plain:
        """Fit on rows, at most 20,000: those with the lowest content hashes."""
        examples = self._features.examples
        if len(rows) > MOST:
            rows = np.sort(lowest(examples.ids, rows, MOST))
        y, weight = smoothed_targets(examples, rows, options.label_smoothing), row_weights(examples, rows,
                                                                                        options.class_weights)
        masks = inner_folds(examples, rows) if validation is None else []
        chosen_on = None if validation is None else (self._of(validation), examples.one_hot(validation))
        if self._sparse:
            with threadpool_limits(1, "blas"):  # on so little, more threads only wait for each other
                return self._solved_sparse(rows, y, weight, masks, chosen_on)
        solution = solve(self._of(rows), y, weight, masks, task=examples.task, validation=chosen_on)
        return Plain([solution.kernel, solution.bias], lambda some: self._of(some) @ solution.kernel + solution.bias,
                     rows, solution.l2, solution.path, solution.held_out)

    def _of(self, rows: NDArray[np.intp]) -> Any:
        return self._values[self._place[rows]]

    def _solved_sparse(self, rows: NDArray[np.intp], y: Array, weight: Array, masks: Sequence[NDArray[np.bool_]],
                       chosen_on: tuple[Any, Array] | None) -> Plain:
        counts, task = self._of(rows), self._features.examples.task
        if chosen_on:
            others = [[logits for _, logits in _paths(counts, y, weight, task, chosen_on[0])]]
            held_out, truth = others[0], chosen_on[1]
        else:
            others = [[logits for _, logits in _paths(counts[~mask], y[~mask], weight[~mask], task, counts)]
                      for mask in masks]
            held_out = [logits_of_masked(lambda logits: logits, of_masks, masks)
                        for of_masks in zip(*others, strict=True)]
            truth = y
        losses = [mean_loss(logits, truth, task) for logits in held_out]
        chosen = int(np.argmin(losses))
        path = [solution for solution, _ in _paths(counts, y, weight, task, counts[:0])]
        idf, (l2, kernel, bias) = idf_of(counts), path[chosen]
        return Plain([kernel, bias, idf], lambda some: np.asarray(weighted(self._of(some), idf) @ kernel + bias,
                                                                  np.float32), rows, l2,
                     tuple((strength, loss) for (strength, _, _), loss in zip(path, losses, strict=True)),
                     held_out[chosen])


def _paths(counts: Any, y: Array, weight: Array, task: Task, others: Any
           ) -> Iterator[tuple[tuple[float, Array, Array], Array]]:
    """Solutions from strong to weak, each with its logits of other rows."""
    idf = idf_of(counts)
    other = weighted(others, idf)
    for strength, kernel, bias in path_of(weighted(counts, idf), y, weight, task):
        yield (strength, kernel, bias), np.asarray(other @ kernel + bias, np.float32)


def idf_of(counts: Any) -> Array:
    """The inverse document frequency of each bucket, as scikit-learn computes it; 0 for those that no row has."""
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.where(frequency > 0, np.log((1 + counts.shape[0]) / (1 + frequency)) + 1, 0).astype(np.float32)


def weighted(counts: Any, idf: Array) -> Any:
    """TF-IDF as the layer `Tfidf` computes it: rows of norm 1. counts: a SciPy sparse matrix [n, buckets]."""
    rows = counts.copy()
    rows.data = (1 + np.log(rows.data)) * idf[rows.indices]
    owners = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    norm = np.sqrt(np.bincount(owners, rows.data**2, rows.shape[0])) + 1e-6
    rows.data = (rows.data / norm[owners]).astype(np.float32)
    rows.eliminate_zeros()
    return rows


def _counts(blocks: Sequence[NDArray[np.int32]]) -> Any:
    """How often each bucket occurs in each row, [rows, buckets]."""
    import scipy.sparse

    from kerastl.heads.layers.blending import BUCKETS, buckets_of

    parts = []
    for block in blocks:
        buckets, present = (np.asarray(array) for array in buckets_of(block[:, :max(1, _longest(block))]))
        owners = np.repeat(np.arange(len(block)), present.sum(axis=1))
        part = scipy.sparse.csr_matrix((np.ones(len(owners), np.float32), (owners, buckets[present])),
                                       (len(block), BUCKETS))
        part.sum_duplicates()
        parts.append(part)
    return scipy.sparse.vstack(parts, "csr")


def _longest(block: NDArray[np.int32]) -> int:
    return int((block != 0).sum(axis=1).max(initial=0))


def _histograms(blocks: Sequence[NDArray[np.uint8]]) -> Array:
    import keras

    from kerastl.heads.layers.plain_features import Histograms

    model = keras.Sequential([keras.Input(blocks[0].shape[1:]), Histograms(dtype="float32")])
    return np.concatenate([np.asarray(model(block.astype(np.float32)), np.float32) for block in blocks])


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`."""
    used = rows if validation is None else np.concatenate([rows, validation])
    return _fitted(head, features, rows, PlainRows(features, used).solve(rows, validation, options), options)


def cross_fit(head: ConfiguredHead, jobs: Sequence[Job], options: TrainingOptions) -> Iterator[RowsFit]:
    """See `Fitter`. The raw inputs are the same in all jobs."""
    plain_rows = PlainRows(jobs[-1][0])
    for features, rows in jobs:
        yield _fitted(head, features, rows, plain_rows.solve(rows, None, options), options)


def _fitted(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], solution: Plain,
            options: TrainingOptions) -> RowsFit:
    model = head.build(features.shape, len(features.examples.classes), features.raw)
    model.get_layer("plain").set_weights(solution.weights)
    return RowsFit(model, {"solver": "L-BFGS", "l2": solution.l2, "fitted_on": len(solution.rows),
                           **loss_settings(features.examples, rows, options.class_weights, options.label_smoothing)},
                   tuple({"l2": l2, "log_loss": loss} for l2, loss in solution.path))


FITTER = Fitter(fit_rows, cross_fit=cross_fit)
