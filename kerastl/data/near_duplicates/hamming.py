"""Pairs of 64-bit hashes that differ in few bits: an exact search that compares a small share of all pairs.

Two hashes that differ in at most 4 bits agree in at least 4 of their 8 bytes. So for each of the 70 choices of 4 bytes
the hashes are sorted by these bytes, and those that agree in them are compared (Manku, Jain, Das Sarma 2007). Fewer and
wider bands need fewer sorts, but compare many more pairs where bits are skewed, as those of perceptual hashes are.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kerastl.data.near_duplicates.contents import Rows

DISTANCE = 4  # bits in which a pair may differ
BYTES = 8  # of a hash
BLOCK = 1 << 18  # pairs that are compared at a time
_CHOICES = tuple(combinations(range(BYTES), BYTES - DISTANCE))
# For each set of equal bytes (bit i: byte i is equal) the first choice that is part of it: the one that finds the pair.
_FIRST = np.array([next((number for number, choice in enumerate(_CHOICES) if all(equal >> byte & 1 for byte in choice)),
                        len(_CHOICES)) for equal in range(1 << BYTES)])


def similar_hashes(hashes: NDArray[np.uint64], wanted: int, most: int) -> Iterator[tuple[Rows, Rows, int]]:
    """Blocks of pairs that differ in at most DISTANCE bits, each pair once, and the number of pairs that were passed
    over. hashes: distinct ones, [n]. wanted: the second of a pair may be any, the first is one of the first `wanted`.
    most: with how many of those that agree in the same 4 bytes each is compared."""
    places = np.arange(len(hashes), dtype=np.uint64)
    parts = np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, BYTES)
    for number, choice in enumerate(_CHOICES):
        key = np.ascontiguousarray(parts[:, choice]).view(np.uint32).ravel().astype(np.uint64)
        order = np.sort(key << np.uint64(32) | places)  # within a key by place, so that wanted ones come first
        order, key = (order & np.uint64(0xFFFFFFFF)).astype(np.intp), order >> np.uint64(32)
        for left, right, passed in following(key, order < wanted, most):
            a, b = order[left], order[right]
            differ = hashes[a] ^ hashes[b]
            near = np.bitwise_count(differ) <= DISTANCE
            a, b, differ = a[near], b[near], differ[near]
            equal = np.packbits(differ.view(np.uint8).reshape(-1, BYTES) == 0, axis=1, bitorder="little")[:, 0]
            first = _FIRST[equal] == number
            yield a[first], b[first], passed


def following(key: NDArray[np.uint64], wanted: NDArray[np.bool_], most: int) -> Iterator[tuple[Rows, Rows, int]]:
    """Blocks of places of equal keys: each wanted place with those that follow it, at most `most`, and the number of
    pairs that were passed over for it. key: ascending, [n]. wanted: [n]."""
    ends = np.append(np.flatnonzero(np.diff(key)) + 1, len(key))
    end = np.repeat(ends, np.diff(ends, prepend=0))
    places = np.flatnonzero(wanted)
    every = end[places] - places - 1
    places, every = places[every > 0], every[every > 0]
    counts = np.minimum(every, most)
    for part in blocks(counts):
        left, number = spread(places[part], counts[part])
        yield left, left + 1 + number, int((every[part] - counts[part]).sum())


def blocks(counts: Rows) -> Iterator[slice]:
    """Slices of items that have at most BLOCK pairs together, or are single. counts: the pairs of each item, [n]."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + BLOCK, "right")))
        yield slice(start, stop)
        start = stop


def spread(items: Rows, counts: Rows) -> tuple[Rows, Rows]:
    """Each item `counts` times, and a number from 0 for each of these. [n], [n] -> [sum of counts] twice."""
    starts = np.cumsum(counts) - counts
    return np.repeat(items, counts), np.arange(int(counts.sum())) - np.repeat(starts, counts)
