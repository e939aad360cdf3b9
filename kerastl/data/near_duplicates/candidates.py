"""Pairs of rows that have a band of their hashes in common: by sorting, without comparing all pairs."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
BLOCK = 1 << 18  # pairs that are returned at a time


def sharing_a_band(bands: NDArray[np.uint64], most: int) -> Iterator[tuple[Rows, Rows, int]]:
    """Blocks of pairs whose rows have the same value in a band, each pair once, with their distance in sorted order.

    bands: [n, bands]. most: of rows with the same value each is paired with at most so many following ones, which are
    sorted by the next bands, so that the most similar are neighbours. Distances ascend within each band.
    """
    count = bands.shape[1]
    for number in range(count):
        keys = [bands[:, (number + shift) % count] for shift in range(min(3, count))]
        order = np.lexsort(keys[::-1])
        key = bands[order, number]
        places = np.arange(len(order) - 1)
        for distance in range(1, most + 1):
            places = places[places + distance < len(order)]
            places = places[key[places] == key[places + distance]]
            if not len(places):
                break
            for start in range(0, len(places), BLOCK):
                block = places[start:start + BLOCK]
                left, right = order[block], order[block + distance]
                if number:
                    new = ~(bands[left, :number] == bands[right, :number]).any(axis=1)
                    left, right = left[new], right[new]
                if len(left):
                    yield left, right, distance


def crowded(bands: NDArray[np.uint64], most: int) -> int:
    """The number of rows of which more than `most` others have the same value in a band."""
    rows: set[int] = set()
    for number in range(bands.shape[1]):
        _, member, sizes = np.unique(bands[:, number], return_inverse=True, return_counts=True)
        if (sizes > most + 1).any():
            rows |= set(np.flatnonzero(sizes[member] > most + 1).tolist())
    return len(rows)
