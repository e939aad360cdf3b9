"""Batches of texts in which every row is padded to a length of its own, whatever the other rows are.

A row that is padded to the longest of its batch has other features, by rounding, in every other batch: 4e-7 in float32
and 4e-3 in bfloat16 for MiniLM. Then they would depend on the batch size, on the other rows, and on what the cache had.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kerastl.inputs import Batch

STEP = 8  # tokens: rows are padded to a multiple of this


@dataclass
class _Pending:
    """Texts of one length that wait for their batch to be full. pieces: of each, [pieces, length]."""

    places: list[int] = field(default_factory=list)
    pieces: list[NDArray[np.int32]] = field(default_factory=list)

    def batch(self, owned: bool) -> Batch:
        owners = np.repeat(np.arange(len(self.pieces)), [*map(len, self.pieces)]).astype(np.int32)
        return Batch(self.places, np.concatenate(self.pieces), owners if owned else None)


def by_length(batches: Iterable[Batch], batch_size: int, pad: int, step: int = STEP, most: int | None = None
              ) -> Iterator[Batch]:
    """The same texts in batches of `batch_size`, each of one length: that of the longest piece of its texts, rounded up
    to a multiple of `step`, or `most`, where a network takes no more. pad: the id that pads. Batches come in the order
    in which they become full; those that do not are last, the longest texts first."""
    pending: dict[int, _Pending] = {}
    owned = False
    for batch in batches:
        owned = batch.owners is not None
        used = (batch.values != pad)[:, ::-1].argmax(1)
        ends = np.where((batch.values != pad).any(1), batch.values.shape[1] - used, 1)
        owners = np.arange(len(batch.values)) if batch.owners is None else batch.owners
        for number, place in enumerate(batch.places):
            mine = np.flatnonzero(owners == number) if owned else np.array([number])
            longest = int(ends[mine].max())
            length = -(-longest // step) * step
            length = length if most is None else max(longest, min(length, most))
            waiting = pending.setdefault(length, _Pending())
            waiting.places.append(place)
            waiting.pieces.append(_fitted(batch.values[mine], length, pad))
            if len(waiting.places) == batch_size:
                yield pending.pop(length).batch(owned)
    for length in sorted(pending, reverse=True):
        yield pending[length].batch(owned)


def _fitted(values: NDArray[np.int32], length: int, pad: int) -> NDArray[np.int32]:
    """[pieces, n] -> [pieces, length]: padded, or without padding that is more."""
    more = length - values.shape[1]
    return np.pad(values, ((0, 0), (0, more)), constant_values=pad) if more > 0 else values[:, :length]
