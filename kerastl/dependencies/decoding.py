"""Trees from the scores of arcs: the best tree with one root, and the best head of each word for comparison."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError

Scores = NDArray[np.floating]


def best_tree(scores: Scores) -> NDArray[np.int64]:
    """The tree with the highest sum of scores in which exactly one word depends on the root.

    scores: [n, n + 1], finite; row d holds the scores of the heads of word d + 1, and column 0 is the root. A word's
    own column is ignored. Returns the heads, [n] in 0..n. Of equally good trees, any.

    The maximum spanning tree of Chu and Liu (1965) and Edmonds (1967), in O(n^3) at worst. That there is one root is
    reached by lowering the scores of all arcs from the root by more than a tree can gain elsewhere: then each further
    root costs more than it can be worth. Raises OptionError for scores of another shape, or that are not finite.
    """
    square = _square(scores)
    n = len(square) - 1
    heads = square.argmax(1)
    heads[0] = 0
    if (heads[1:] == 0).sum() == 1 and _cycle(heads) is None:  # no tree can be better
        return heads[1:]
    finite = square[1:][np.isfinite(square[1:])]
    square[1:, 0] -= n * (finite.max() - finite.min()) + 1
    return _spanning(square)[1:]


def best_heads(scores: Scores) -> NDArray[np.int64]:
    """The best head of each word by itself, which may make cycles, no root or several. scores: as in `best_tree`."""
    return _square(scores).argmax(1)[1:]


def is_tree(heads: NDArray[np.integer]) -> bool:
    """Whether every word reaches the root, and one word alone depends on it. heads: [n]."""
    return int((heads == 0).sum()) == 1 and _cycle(np.concatenate([[0], heads])) is None


def _square(scores: Scores) -> NDArray[np.float64]:
    """[n + 1, n + 1] float64 with a row for the root that is never read, and -inf where a word would be its own
    head."""
    n = len(scores)
    if scores.shape != (n, n + 1) or not n:
        raise OptionError(f"`scores` has the shape {scores.shape}", "(n, n + 1) with n above 0: the root is column 0",
                          "give the scores of one sentence")
    square = np.zeros((n + 1, n + 1), np.float64)
    square[1:] = scores
    if not np.isfinite(square).all():
        raise OptionError("`scores` are not all finite", "finite numbers", "check the features of the sentence")
    np.fill_diagonal(square, -np.inf)
    return square


@dataclass(frozen=True)
class _Contraction:
    """How a cycle became one node, the last of the next smaller graph. kept: nodes outside of the cycle. cycle: its
    nodes. heads: before it was contracted. leaving: for each kept node, the best head within the cycle. entering: for
    each kept node, the word of the cycle that it would be the head of."""

    kept: NDArray[np.int64]
    cycle: NDArray[np.int64]
    heads: NDArray[np.int64]
    leaving: NDArray[np.int64]
    entering: NDArray[np.int64]


def _spanning(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The maximum spanning tree from node 0. scores: [m, m], row = dependent. Returns the head of each node."""
    contractions: list[_Contraction] = []
    while True:
        heads = scores.argmax(1)
        heads[0] = 0
        cycle = _cycle(heads)
        if cycle is None:
            break
        scores, contraction = _contracted(scores, heads, cycle)
        contractions.append(contraction)
    for step in reversed(contractions):
        heads = _expanded(heads, step)
    return heads


def _contracted(scores: NDArray[np.float64], heads: NDArray[np.int64], cycle: NDArray[np.int64]
                ) -> tuple[NDArray[np.float64], _Contraction]:
    outside = np.ones(len(scores), bool)
    outside[cycle] = False
    kept = np.flatnonzero(outside)
    smaller = np.full((len(kept) + 1, len(kept) + 1), -np.inf)
    smaller[:-1, :-1] = scores[np.ix_(kept, kept)]
    out = scores[np.ix_(kept, cycle)]  # a kept word that depends on the cycle
    smaller[:-1, -1] = out.max(1)
    into = scores[np.ix_(cycle, kept)] - scores[cycle, heads[cycle]][:, None]  # what breaking the cycle there costs
    smaller[-1, :-1] = into.max(0)
    return smaller, _Contraction(kept, cycle, heads, cycle[out.argmax(1)], cycle[into.argmax(0)])


def _expanded(heads: NDArray[np.int64], step: _Contraction) -> NDArray[np.int64]:
    """The heads of the larger graph from those of the smaller one."""
    node = len(step.kept)  # that of the cycle
    larger = step.heads.copy()
    outside = heads[:node]
    larger[step.kept] = np.where(outside == node, step.leaving, step.kept[np.minimum(outside, node - 1)])
    entry = int(heads[node])
    larger[step.entering[entry]] = step.kept[entry]
    larger[0] = 0
    return larger


def _cycle(heads: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The nodes of a cycle, ascending; None where every node reaches node 0."""
    seen = np.zeros(len(heads), np.int64)  # the walk in which a node was first met; 0: in none
    seen[0] = -1
    for start in range(1, len(heads)):
        node = start
        while not seen[node]:
            seen[node] = start
            node = int(heads[node])
        if seen[node] == start:
            cycle, following = [node], int(heads[node])
            while following != node:
                cycle.append(following)
                following = int(heads[following])
            return np.sort(np.array(cycle))
    return None
