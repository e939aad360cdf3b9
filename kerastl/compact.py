"""Columns for many rows that use little memory: hashes as 16 bytes, repeated texts as a code. To its reader, each is a
sequence of texts."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import index
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

BLOCK = 1 << 16  # rows that are made Python objects at a time
SIZE = 16  # bytes of a hash


class Column(Sequence[T]):
    """A column is equal to every sequence of the same values."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, whose hash it does not have

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, (self[row] for row in range(min(3, len(self))))))
        return f"{type(self).__name__}({shown}{', ...' * (len(self) > 3)}: {len(self):,} rows)"


class Hashes(Column[str]):
    """Hashes in hexadecimal, stored as bytes. raw: [rows, 16] uint8."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw = raw

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Hashes":
        """These texts of 32 hexadecimal digits as a column. Raises ValueError for others."""
        if isinstance(texts, Hashes):
            return texts
        if any(len(text) != 2 * SIZE for text in texts):
            raise ValueError(f"not all of {len(texts)} texts are {2 * SIZE} hexadecimal digits")
        return cls(np.frombuffer(b"".join(map(bytes.fromhex, texts)), np.uint8).reshape(-1, SIZE))

    def take(self, rows: NDArray[np.intp]) -> "Hashes":
        """The same column for these rows only."""
        return Hashes(self.raw[rows])

    def replaced(self, rows: Sequence[int] | NDArray[np.intp], texts: Iterable[str]) -> "Hashes":
        """The same column with the hashes of other texts, one for each of these rows."""
        raw = self.raw.copy()
        for row, text in zip(rows, texts, strict=True):
            raw[row] = np.frombuffer(hashlib.blake2b(text.encode(), digest_size=SIZE).digest(), np.uint8)
        return Hashes(raw)

    def words(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The first and the second half of each hash as numbers, [rows] each, which are ordered as the texts are."""
        halves = np.ascontiguousarray(self.raw).view(">u8")
        return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)

    def order(self) -> NDArray[np.intp]:
        """The rows in ascending order of their hashes; equal ones as they come."""
        return ascending(*self.words())

    def numbers(self) -> NDArray[np.intp]:
        """For each row the number of its hash among the distinct ones in ascending order, [rows]."""
        high, low = self.words()
        order = ascending(high, low)
        numbers = np.empty(len(self), np.intp)
        numbers[order] = np.cumsum(_differs(high[order], low[order])) - 1
        return numbers

    def first_of_each(self) -> NDArray[np.intp]:
        """The row where each distinct hash occurs first, ascending."""
        high, low = self.words()
        order = ascending(high, low)
        return np.sort(order[_differs(high[order], low[order])])

    def __len__(self) -> int:
        return len(self.raw)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            digits = self.raw[start:start + BLOCK].tobytes().hex()
            yield from (digits[i:i + 2 * SIZE] for i in range(0, len(digits), 2 * SIZE))

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Hashes": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "str | Hashes":
        if isinstance(place, slice):
            return Hashes(self.raw[place])
        return self.raw[index(place)].tobytes().hex()


class Codes(Column[str]):
    """Texts of which many are equal. names: the distinct ones; codes: [rows], the number of each row's name, in the
    smallest type that holds it."""

    def __init__(self, names: tuple[str, ...], codes: NDArray[Any]) -> None:
        self.names, self.codes = names, codes.astype(np.min_scalar_type(max(0, len(names) - 1)), copy=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Codes":
        """These texts as a column."""
        numbers: dict[str, int] = {}
        codes = array("q", (numbers.setdefault(text, len(numbers)) for text in texts))
        return cls(tuple(numbers), np.frombuffer(codes, np.int64))

    def take(self, rows: NDArray[np.intp]) -> "Codes":
        """The same column for these rows only."""
        return Codes(self.names, self.codes[rows])

    def count(self, value: Any) -> int:
        """The number of rows with this text."""
        return int((self.codes == self.names.index(value)).sum()) if value in self.names else 0

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            yield from map(self.names.__getitem__, self.codes[start:start + BLOCK].tolist())

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Codes": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "str | Codes":
        if isinstance(place, slice):
            return Codes(self.names, self.codes[place])
        return self.names[self.codes[index(place)]]


def ascending(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The order of hashes by their halves; equal ones as they come."""
    order = np.argsort(high, kind="stable")
    first, second = high[order], low[order]
    if ((first[1:] == first[:-1]) & (second[1:] < second[:-1])).any():  # different hashes that begin alike
        return np.lexsort((low, high))
    return order


def _differs(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each of sorted hashes differs from the one before."""
    new = np.ones(len(high), np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return new


class Places:
    """A number for each of many hashes: 24 bytes, where a dictionary takes about 250. Of equal hashes, the one that was
    added last counts.

    Hashes are kept in sorted runs, each at least twice as long as the next, so that adding some is quick, too.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]] = []

    def add(self, hashes: Hashes, numbers: NDArray[np.int64]) -> None:
        """Add hashes with their numbers, [rows], which are at least 0."""
        if not len(hashes):
            return
        self._runs.append(_run(*hashes.words(), numbers))
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) > len(self._runs[-2][0]):
            newer, older = self._runs.pop(), self._runs.pop()
            high, low, number = (np.concatenate(pair) for pair in zip(older, newer, strict=True))
            self._runs.append(_run(high, low, number))

    def find(self, hashes: Hashes) -> NDArray[np.int64]:
        """The number of each hash, -1 for one that was not added. [rows]"""
        numbers = np.full(len(hashes), -1, np.int64)
        for start in range(0, len(hashes), BLOCK):
            block = numbers[start:start + BLOCK]
            high, low = hashes[start:start + BLOCK].words()
            for run in reversed(self._runs):
                rest = np.flatnonzero(block < 0)
                block[rest] = _found(run, high[rest], low[rest])
        return numbers

    def __len__(self) -> int:
        """The number of hashes; one that was added again later may count twice."""
        return sum(len(high) for high, _, _ in self._runs)


def _run(high: NDArray[np.uint64], low: NDArray[np.uint64], numbers: NDArray[np.int64]
         ) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Sorted, each hash once: the last of equal ones."""
    order = ascending(high, low)
    high, low, numbers = high[order], low[order], numbers[order]
    last = np.append(_differs(high, low)[1:], True)
    return (high, low, numbers) if last.all() else (high[last], low[last], numbers[last])


def _found(run: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]], high: NDArray[np.uint64],
           low: NDArray[np.uint64]) -> NDArray[np.int64]:
    known_high, known_low, numbers = run
    at, last = np.searchsorted(known_high, high), len(known_high) - 1
    while True:  # once, unless different hashes begin alike
        here = np.minimum(at, last)
        alike = (at <= last) & (known_high[here] == high)
        behind = alike & (known_low[here] < low)
        if not behind.any():
            return np.where(alike & (known_low[here] == low), numbers[here], -1)
        at = at + behind
