"""Compute what a space of the cache lacks: the only loop of its kind, for features, raw inputs and a teacher's logits.

Rows are written as they come, in segments, so that a killed run loses at most the last 20 seconds of work.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.compact import Hashes
from kerastl.features.cache import Space

SEGMENT_SECONDS = 20.0
SEGMENT_ROWS = 16_384
SEGMENT_BYTES = 64 * 2**20


class HasNouns(Protocol):
    """What is computed for, in words, such as a modality."""

    @property
    def nouns(self) -> str:
        """Several of them."""


class Items(Protocol):
    """What `fill` needs of examples, or of the words of sentences."""

    @property
    def modality(self) -> HasNouns:
        """What the items are."""

    def take(self, rows: Iterable[int]) -> Self:
        """The same for these rows only."""


T = TypeVar("T", bound=Items)
# items, the reasons of those that cannot be decoded (by place, filled on the way), progress by count -> for each batch
# the places of its items, and their rows [batch, *shape]. An example whose file no longer has the content of its id
# must be among the reasons: its row would be stored under the hash of content that it does not belong to.
Compute = Callable[[T, dict[int, str], Callable[[int], object]], Iterable[tuple[Sequence[int], NDArray[Any]]]]


@dataclass(frozen=True)
class Filled:
    """computed: rows that were not in the cache. refused: of each row that cannot be decoded, the reason."""

    computed: int
    refused: dict[int, str]


def missing(space: Space, keys: Sequence[str], rows: Iterable[int]) -> NDArray[np.intp]:
    """The rows to compute, in this order: the first of each key that the space lacks."""
    rows = _numbers(rows)
    hashes = Hashes.of(keys).take(rows)
    first = hashes.first_of_each()
    return rows[first[~space.has(hashes.take(first))]]


def _numbers(rows: Iterable[int]) -> NDArray[np.intp]:
    return rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.intp)


def fill(space: Space, examples: T, keys: Sequence[str], rows: Iterable[int], compute: Compute[T], *,
         description: str) -> Filled:
    """Compute what the space lacks of these rows, and store it. keys: of all rows, by which the space has them.

    What is computed is stored also when the process is interrupted (Ctrl-C).
    """
    rows = _numbers(rows)
    todo = missing(space, keys, rows)
    if not len(todo):
        return Filled(0, {})
    refused: dict[int, str] = {}
    pending: list[tuple[list[str], NDArray[Any]]] = []
    written, most = time.monotonic(), min(SEGMENT_ROWS, SEGMENT_BYTES // space.key.row_bytes)

    def flush() -> None:
        if pending:
            space.append([key for batch, _ in pending for key in batch], np.concatenate([rows for _, rows in pending]))
            pending.clear()

    unit = f" {examples.modality.nouns}"
    with tqdm(total=len(todo), desc=description, unit=unit) as bar:
        try:
            for places, values in compute(examples.take(todo), refused, bar.update):
                pending.append(([keys[todo[place]] for place in places], values))
                full = sum(len(batch) for batch, _ in pending) >= most
                if full or time.monotonic() - written > SEGMENT_SECONDS:
                    flush()
                    written = time.monotonic()
        finally:
            flush()
    reason_of = {keys[todo[place]]: reason for place, reason in refused.items()}
    if not reason_of:
        return Filled(len(todo), {})
    return Filled(len(todo) - len(reason_of), {row: reason_of[keys[row]] for row in rows.tolist()
                                               if keys[row] in reason_of})
