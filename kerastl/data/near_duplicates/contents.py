"""What a search for near-duplicates needs to know of contents, whatever their modality."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


def first_equal(digests: NDArray[np.uint8]) -> NDArray[np.intp]:
    """For each digest, [n, 16], the number of the first one that is equal to it."""
    names = np.ascontiguousarray(digests).view("V16").ravel()
    _, first, member = np.unique(names, return_index=True, return_inverse=True)
    return np.asarray(first[member])


class Contents(Protocol):
    """Contents that can be compared, by number. threshold: the similarity from which two are near-duplicates. loose:
    the least similarity that a group may have inside. notes: what was not compared, and why, in words."""

    threshold: float
    loose: float
    notes: list[str]

    def equal(self) -> NDArray[np.intp]:
        """For each content the number of the first one that is equal to it, as exact pixels or normalised text."""

    def candidates(self) -> Iterator[tuple[Rows, Rows]]:
        """Blocks of pairs that may be near-duplicates: their left and right numbers."""

    def similarity(self, left: Rows, right: Rows, at_least: float = 0.0, enough: float = 1.0) -> NDArray[np.float64]:
        """The similarity of each pair, in [0, 1]. It is exact between `at_least` and `enough`. Below, the result may be
        too large, but is below `at_least`; above, it may be too small, but is at least `enough`. [pairs]"""

    def every_pair(self, members: Rows, at_least: float) -> NDArray[np.float64]:
        """The similarities of all pairs of many members in the order of `np.triu_indices`, perhaps estimated; below
        `at_least` as in `similarity`. [m * (m - 1) / 2]"""

    def alike(self, members: Rows, least: float) -> bool:
        """Whether a quick look shows that no pair of these is less similar than `least`."""
