"""The linear head that margins come from, fitted on the rows that are labelled so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.studies.label_next.choose import margins_of
from kerastl.training.fitters.convex import solve_rows
from kerastl.training.options import TrainingOptions

MOST = 20_000  # labelled rows that the head is fitted on
BLOCK = 4096  # rows predicted at a time
OPTIONS = TrainingOptions(class_weights="none")  # so that probabilities mean what they say


@dataclass(frozen=True)
class LinearHead:
    """kernel: [dim, classes], bias: [classes]."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, dim] -> [n, classes]."""
        return x @ self.kernel + self.bias


def fit_head(features: Features, rows: NDArray[np.intp]) -> LinearHead | None:
    """The head of these rows of pooled features, its L2 strength chosen among them by cross-validation; None where
    they have fewer than two classes or clusters. Of more than 20,000 rows, 20,000 drawn ones are used."""
    examples = features.examples
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    truth = examples.one_hot(rows)
    varied = int((truth.min(axis=0) < truth.max(axis=0)).sum()) if len(rows) else 0
    if not varied or len(set(examples.clusters_of(rows))) < 2:
        return None
    solution = solve_rows(features, rows, None, OPTIONS)
    return LinearHead(solution.kernel, solution.bias)


def probabilities(features: Features, head: LinearHead, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """The probabilities of the classes for these rows, [n, classes]."""
    return features.examples.task.probabilities(head.logits(features.rows(rows)))


def margins(features: Features, head: LinearHead, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """The margin of each of these rows, [n], block by block: see `choose.margins_of`."""
    exclusive = features.examples.task.exclusive
    blocks = [margins_of(probabilities(features, head, rows[start:start + BLOCK]), exclusive)
              for start in range(0, len(rows), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def normalised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1. [n, dim] -> [n, dim]; a row of zeros stays as it is."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1), np.float32)
