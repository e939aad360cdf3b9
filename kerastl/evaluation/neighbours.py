"""A vote of the nearest neighbours on each row's label: a second opinion that trains nothing.

Zhu et al. 2022, SimiFeat, https://arxiv.org/abs/2110.06283.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
VOTERS = 20_000  # rows that vote, at most; of more rows, these are drawn
BLOCK = 8_000_000  # numbers that are in memory at a time: similarities, and features that are read

Array = NDArray[np.float32]


def neighbour_votes(rows: Callable[[NDArray[np.intp]], Array], labels: NDArray[np.int64], clusters: Sequence[str],
                    classes: int, k: int = NEIGHBOURS) -> Array:
    """The share of each class among the k nearest neighbours of each row, by cosine similarity: [n, classes], each row
    adds up to 1; zeros for a row that has no neighbour.

    A row does not vote on itself, and rows of its cluster, such as near-duplicates, do not either: they are likely to
    share its error. rows: [m] row numbers -> [m, ..., dim] features, of which the mean over the axes between is taken.
    labels: [n] class numbers. Memory does not grow with the square of n: similarities are computed block by block, and
    at most 20,000 rows vote.
    """
    n, step = len(labels), max(1, BLOCK // max(1, rows(np.arange(1)).size))
    voters = np.sort(np.random.default_rng(0).permutation(n)[:VOTERS])
    unit = np.concatenate([_unit(rows(voters[i:i + step])) for i in range(0, len(voters), step)])
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.argsort(cluster[voters], kind="stable")  # the places of the voters, cluster by cluster
    first = np.searchsorted(cluster[voters][order], np.arange(cluster.max() + 2))
    votes, of_voter, k = np.zeros((n, classes), np.float32), labels[voters], min(k, len(voters))
    step = max(1, min(step, BLOCK // len(voters)))
    for start in range(0, n, step):
        block = np.arange(start, min(start + step, n))
        similarity = _unit(rows(block)) @ unit.T
        for place, own in enumerate(cluster[block].tolist()):
            similarity[place, order[first[own]:first[own + 1]]] = -np.inf
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        places, columns = np.nonzero(np.isfinite(np.take_along_axis(similarity, nearest, axis=1)))
        np.add.at(votes, (block[places], of_voter[nearest[places, columns]]), 1)
    return np.asarray(votes / np.maximum(1, votes.sum(axis=1, keepdims=True)), np.float32)


def _unit(rows: Array) -> Array:
    """[m, ..., dim] -> [m, dim], vectors of length 1."""
    mean = rows.reshape(len(rows), -1, rows.shape[-1]).mean(axis=1, dtype=np.float32)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), np.float32)
