"""Pairs of near-duplicates joined to groups, without chains: a group is no larger and no looser than it may be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.data.near_duplicates.contents import Contents, Rows

SHARE = 0.01  # of the contents: a larger group is split unless all of it is alike
SMALL = 20  # contents up to which a group is not too large
EXACT = 40  # contents of a group up to which all its pairs are compared exactly
LARGEST = 4000  # contents of a group up to which all its pairs are compared; of a larger one, only equal ones stay
SHOWN = 12  # pairs on either side of the threshold
BLOCK = 1024  # pairs that are compared at a time: what these connect need not be compared later
TOLERANCE = 1e-9  # of similarities

Pair = tuple[int, int, float]  # the numbers of two contents, and their similarity


@dataclass(frozen=True)
class Grouping:
    """label: for each content the number of a member of its group, [n]. nearest: the confirmed pairs that are nearest
    to the threshold; rejected: the candidates that are nearest below it. split_up: of each chain that was split, its
    contents and the number of groups that it became."""

    label: NDArray[np.intp]
    nearest: tuple[Pair, ...]
    rejected: tuple[Pair, ...]
    split_up: tuple[tuple[int, int], ...]


def grouped(contents: Contents) -> Grouping:
    """Groups of near-duplicates: equal contents, and what confirmed pairs connect. A group of more than 1% of the
    contents, or with two members that are less similar than `contents.loose`, is a chain, and is split by complete
    linkage."""
    equal = contents.equal()
    components = _Components(len(equal))
    label = components.label
    nearest, rejected = list[Pair](), list[Pair]()
    for left, right in _blocks(contents.candidates()):
        apart = label[left] != label[right]  # what is connected need not be compared
        left, right = left[apart], right[apart]
        # Similarities need to be exact only where the pair may be shown.
        at_least = -rejected[-1][2] if len(rejected) == SHOWN else 0.0
        enough = nearest[-1][2] if len(nearest) == SHOWN else 1.0
        similarity = contents.similarity(left, right, at_least, enough)
        near = similarity >= contents.threshold
        components.join(left[near], right[near])
        nearest = _least(nearest, left[near], right[near], similarity[near])
        rejected = _least(rejected, left[~near], right[~near], -similarity[~near])
    unique = np.flatnonzero(equal == np.arange(len(equal)))
    split_up = _split_chains(contents, label, unique)
    return Grouping(label[equal], tuple(nearest), tuple((a, b, -value) for a, b, value in rejected), tuple(split_up))


def _blocks(candidates: Iterable[tuple[Rows, Rows]]) -> Iterator[tuple[Rows, Rows]]:
    for left, right in candidates:
        for start in range(0, len(left), BLOCK):
            yield left[start:start + BLOCK], right[start:start + BLOCK]


class _Components:
    """Components of a graph that grows. label: for each node the number of one of its component, always up to date."""

    def __init__(self, n: int) -> None:
        self.label = np.arange(n)
        self._members: dict[int, list[int]] = {}

    def join(self, left: Rows, right: Rows) -> None:
        """Connect pairs. The smaller component gets the label of the larger one."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            small, large = int(self.label[a]), int(self.label[b])
            if small == large:
                continue
            of_small, of_large = self._members.pop(small, [small]), self._members.pop(large, [large])
            if len(of_small) > len(of_large):
                small, large, of_small, of_large = large, small, of_large, of_small
            self.label[of_small] = large
            of_large += of_small
            self._members[large] = of_large


def _least(known: list[Pair], left: Rows, right: Rows, value: NDArray[np.float64]) -> list[Pair]:
    order = np.argsort(value, kind="stable")[:SHOWN]
    new = zip(left[order].tolist(), right[order].tolist(), value[order].tolist(), strict=True)
    distinct = {pair[:2]: pair for pair in (*known, *new)}
    return sorted(distinct.values(), key=lambda pair: (pair[2], pair))[:SHOWN]


def _split_chains(contents: Contents, label: NDArray[np.intp], unique: Rows) -> list[tuple[int, int]]:
    """Split, in place, the groups that are too large or too loose. Returns their sizes and how many they became."""
    order = unique[np.argsort(label[unique], kind="stable")]
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    most, split_up = max(SMALL, int(SHARE * len(label))), []
    for members in np.split(order, starts[1:]):
        if len(members) < 3:
            continue
        large = len(members) > most
        parts = _parts(contents, members, contents.threshold if large else contents.loose)
        if (count := len(set(parts.tolist()))) > 1:
            split_up.append((len(members), count))
            for part in set(parts.tolist()):
                label[members[parts == part]] = members[parts == part].min()
    return split_up


def _parts(contents: Contents, members: Rows, least: float) -> NDArray[np.intp]:
    """The part of each member when a group is split so that no pair of a part is less similar than `least`."""
    if contents.alike(members, least):
        return np.zeros(len(members), np.intp)
    if len(members) > LARGEST:
        return np.arange(len(members))
    from scipy.cluster.hierarchy import fcluster, linkage

    # Complete linkage up to a distance does not depend on how much larger the larger distances are.
    at_least = least - 2 * TOLERANCE
    if len(members) > EXACT:
        distance = 1 - contents.every_pair(members, at_least)
    else:
        left, right = np.triu_indices(len(members), 1)
        distance = 1 - contents.similarity(members[left], members[right], at_least)
    if distance.max() <= 1 - least + TOLERANCE:
        return np.zeros(len(members), np.intp)
    return np.asarray(fcluster(linkage(distance, "complete"), 1 - least + TOLERANCE, "distance"), np.intp)
