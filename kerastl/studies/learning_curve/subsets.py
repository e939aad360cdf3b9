"""Which rows the heads of a learning curve are fitted on, and which rows measure them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples

FOLDS = 5
STEPS = 7  # sizes of a curve
PER_CLASS, LEAST = 4, 16  # rows of the smallest size: on average of each class, and in all
SPAN = 5  # the largest size over the smallest, at least

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Deal:
    """Rows that measure, and the rows that a head is fitted on for each size, each of which contains the smaller ones.
    No cluster is in both. round: in each round every row measures once."""

    round: int
    measuring: Rows
    training: tuple[Rows, ...]


def sizes_of(rows: int, classes: int) -> list[int]:
    """The sizes of a curve in training rows, evenly spaced on a logarithmic scale; empty where there are too few
    rows."""
    smallest, largest = max(LEAST, PER_CLASS * classes), rows * (FOLDS - 1) // FOLDS
    if largest < SPAN * smallest:
        return []
    return [round(size) for size in np.geomspace(smallest, largest, STEPS).tolist()]


def fewest_rows(classes: int) -> int:
    """How many rows a curve takes at least."""
    return -(-SPAN * max(LEAST, PER_CLASS * classes) * FOLDS // (FOLDS - 1))


def deals(examples: Examples, rows: Rows, sizes: list[int], fits: int, seed: int) -> Iterator[Deal]:
    """So many deals of these rows, stratified by class: round after round, each of which deals all rows into folds
    anew. Clusters stay whole, so that a subset may be a few rows larger or smaller than its size."""
    clusters = _Clusters(examples, rows)
    generator = np.random.default_rng(seed)
    for number in range(-(-fits // FOLDS)):
        fold_of = clusters.folds(generator)
        for fold in range(min(FOLDS, fits - number * FOLDS)):
            others = np.flatnonzero(fold_of != fold)
            order = others[clusters.stratified(others, generator)]
            ends = np.cumsum(clusters.sizes[order])
            cuts = [int(np.abs(ends - size).argmin()) + 1 for size in sizes[:-1]] + [len(order)]
            yield Deal(number, clusters.rows_of(np.flatnonzero(fold_of == fold)),
                       tuple(clusters.rows_of(order[:cut]) for cut in cuts))


class _Clusters:
    """Clusters of rows, each with one of its labels."""

    def __init__(self, examples: Examples, rows: Rows) -> None:
        self._rows = rows
        self._exclusive = examples.task.exclusive
        _, self._member = np.unique(np.array(examples.clusters_of(rows)), return_inverse=True)
        _, label_of = np.unique(np.array([examples.label_of(row) for row in rows.tolist()]), return_inverse=True)
        self.sizes = np.bincount(self._member)
        self._label = np.full(len(self.sizes), label_of.max() + 1)
        np.minimum.at(self._label, self._member, label_of)

    def rows_of(self, clusters: Rows) -> Rows:
        """The rows of these clusters, ascending."""
        return self._rows[np.isin(self._member, clusters)]

    def folds(self, generator: np.random.Generator) -> NDArray[np.intp]:
        """The fold of each cluster: dealt in random order within each class, and on from class to class."""
        order = generator.permutation(len(self.sizes))
        fold = np.empty(len(order), np.intp)
        fold[order[np.argsort(self._label[order], kind="stable")]] = np.arange(len(order)) % FOLDS
        return fold

    def stratified(self, clusters: Rows, generator: np.random.Generator) -> Rows:
        """An order of these clusters whose every beginning has about the classes' shares. Where a row has one label,
        the first have one of each class; sets of labels may be as many as rows."""
        order = generator.permutation(len(clusters))
        label = self._label[clusters[order]]
        place, share = np.empty(len(order)), generator.random(len(order))
        for value in np.unique(label):
            own = np.flatnonzero(label == value)
            rank = np.arange(len(own))
            place[own] = (rank + share[own[0]]) / len(own)
            if self._exclusive:
                place[own[0]] = 0.0
        return order[np.argsort(place, kind="stable")]
