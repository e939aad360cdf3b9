"""Choosing rows to label: typical ones first, then those that a head hesitates about, and always some at random.

Centres first: Gupte et al. 2024 (https://arxiv.org/abs/2401.14555) for linear heads on frozen features. A small margin
with diversity: Zhdanov 2019 (https://arxiv.org/abs/1901.05954). Rows drawn at random stay representative of the data,
which the others are not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANDOM, CENTRE, MARGIN = "random", "centre", "margin"  # how a row was chosen
SHARE = 0.1  # of the rows, that are drawn at random
TOP = 10  # times as many rows with the smallest margins are clustered as are chosen
LARGEST = 3  # of the candidates, at most one in so many has a small margin
SAMPLE = 20_000  # rows that are clustered
STEPS = 50  # of k-means
SMALL = 2**23  # numbers in the rows, below which one thread is quicker than several
COVERED = 200  # labelled rows for which there are more clusters than rows to choose
FEW = 2  # labelled rows per class, below which typical rows are chosen

Rows = NDArray[np.intp]
Gather = Callable[[Rows], NDArray[np.float32]]  # row numbers, [n] -> features of length 1, [n, dim]


@dataclass(frozen=True)
class Choice:
    """A chosen row. how: RANDOM, CENTRE or MARGIN. cluster: of how many candidates it is the most typical; 0 for a row
    drawn at random."""

    row: int
    how: str
    cluster: int = 0


def choose(gather: Gather, labelled: Rows, candidates: Rows, margins: NDArray[np.float64] | None, n: int,
           generator: np.random.Generator) -> list[Choice]:
    """At most `n` of the candidates, none twice. margins: of the candidates, [candidates] in [0, 1]; None: labels are
    too few for them, and typical rows are chosen. The rows drawn at random are drawn first, from all candidates."""
    n = min(n, len(candidates))
    drawn = generator.choice(len(candidates), drawn_at_random(n), replace=False)
    rest = np.setdiff1d(np.arange(len(candidates)), drawn)
    taken, wanted = candidates[drawn], n - len(drawn)
    if margins is None:
        chosen = _centres(gather, np.concatenate([labelled, taken]), candidates[rest], wanted, generator)
    else:
        few = min(TOP * wanted, max(wanted, len(rest) // LARGEST))
        least = rest[np.argsort(margins[rest], kind="stable")[:few]]
        chosen = [Choice(row, MARGIN, size) for row, size in _typical(gather, candidates[least], wanted, generator)]
    return [*chosen, *(Choice(row, RANDOM) for row in taken.tolist())]


def drawn_at_random(n: int) -> int:
    """How many of `n` rows are drawn at random: a tenth, at least one; none where only one row is chosen."""
    return 0 if n < 2 else max(1, round(SHARE * n))


def too_few(counts: NDArray[np.intp]) -> bool:
    """Whether margins mean little yet. counts: the labelled rows of each class, [classes]."""
    present = counts[counts > 0]
    return len(present) < 2 or bool(present.sum() < FEW * len(present))


def margins_of(p: NDArray[np.float64], exclusive: bool) -> NDArray[np.float64]:
    """How far a head is from another answer, [n, classes] -> [n] in [0, 1]: the probability of the first class less
    that of the second; where a row may have several labels, the least distance of a probability to one half, doubled.
    """
    if not exclusive:
        return np.asarray(np.abs(2 * p - 1).min(axis=1))
    if p.shape[1] < 2:
        return np.ones(len(p))
    two = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _centres(gather: Gather, known: Rows, candidates: Rows, wanted: int, generator: np.random.Generator
             ) -> list[Choice]:
    """Typical rows of the largest clusters without a known row; then of the others."""
    candidates, known = _sampled(candidates, SAMPLE, generator), _sampled(known, COVERED, generator)
    labels, distance = _clusters(gather(np.concatenate([candidates, known])), wanted + len(known), generator)
    covered = set(labels[len(candidates):].tolist())
    labels, distance = labels[:len(candidates)], distance[:len(candidates)]
    chosen = [Choice(int(candidates[place]), CENTRE, size) for number, place, size in
              sorted(_nearest(labels, distance), key=lambda each: (each[0] in covered, -each[2]))]
    return _filled(chosen[:wanted], CENTRE, candidates, wanted, generator)


def _typical(gather: Gather, candidates: Rows, wanted: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """The rows nearest to the centres of `wanted` clusters, each with the size of its cluster."""
    labels, distance = _clusters(gather(candidates), wanted, generator)
    chosen = [Choice(int(candidates[place]), MARGIN, size) for _, place, size in _nearest(labels, distance)]
    return [(choice.row, choice.cluster) for choice in _filled(chosen, MARGIN, candidates, wanted, generator)]


def _clusters(x: NDArray[np.float32], k: int, generator: np.random.Generator) -> tuple[Rows, NDArray[np.float64]]:
    """The cluster of each row by k-means, started by k-means++, and its distance to the centre. x: [n, dim]."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    k = min(k, len({row.tobytes() for row in x}))  # k-means warns of more clusters than distinct rows
    if k < 2:
        return np.zeros(len(x), np.intp), np.linalg.norm(x - x.mean(axis=0), axis=1)
    with threadpool_limits(1 if x.size < SMALL else None):  # idle threads spin, which costs more than they gain
        fitted = KMeans(k, n_init=1, max_iter=STEPS, random_state=int(generator.integers(2**31))).fit(x)
    labels = fitted.labels_.astype(np.intp)
    return labels, np.linalg.norm(x - fitted.cluster_centers_[labels], axis=1)


def _nearest(labels: Rows, distance: NDArray[np.float64]) -> list[tuple[int, int, int]]:
    """Of each cluster its number, the place of the row nearest to its centre, and its size."""
    order = np.lexsort((distance, labels))
    numbers, first, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    return list(zip(numbers.tolist(), order[first].tolist(), sizes.tolist(), strict=True))


def _filled(chosen: list[Choice], how: str, candidates: Rows, wanted: int, generator: np.random.Generator
            ) -> list[Choice]:
    """With more of the candidates, where equal features made fewer clusters than rows are wanted."""
    rest = np.setdiff1d(candidates, [choice.row for choice in chosen])
    more = generator.permutation(rest)[:max(0, wanted - len(chosen))]
    return [*chosen, *(Choice(row, how, 1) for row in more.tolist())]


def _sampled(rows: Rows, most: int, generator: np.random.Generator) -> Rows:
    return rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))
