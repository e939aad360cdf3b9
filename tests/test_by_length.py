"""Texts are padded to lengths of their own, so that their features do not depend on what shares their batch."""

import numpy as np
import pytest

from kerastl.inputs import Batch
from kerastl.inputs.by_length import by_length

PAD = 0


def row(length: int, width: int) -> list[int]:
    return [*range(1, length + 1), *[PAD] * (width - length)]


def decoded(lengths: list[int], size: int) -> list[Batch]:
    """As a tokenizer gives them: padded to the longest of their batch."""
    batches = []
    for start in range(0, len(lengths), size):
        part = lengths[start:start + size]
        values = np.array([row(length, max(part)) for length in part], np.int32)
        batches.append(Batch([*range(start, start + len(part))], values))
    return batches


def test_every_text_has_the_same_tokens_and_width_in_batches_of_every_size() -> None:
    lengths = [40, 33, 32, 31, 17, 16, 16, 9, 8, 3, 1]
    widths = []
    for size in (1, 2, 3, 11):
        width_of, seen = {}, []
        for batch in by_length(decoded(lengths, size), size, PAD, most=38):
            assert len(batch.places) <= size and batch.values.shape[1] <= 40
            for place, values in zip(batch.places, batch.values, strict=True):
                assert values.tolist() == row(lengths[place], batch.values.shape[1])
                width_of[place] = batch.values.shape[1]
                seen.append(place)
        assert sorted(seen) == [*range(len(lengths))]
        widths.append(width_of)
    assert all(each == widths[0] for each in widths)
    assert [widths[0][place] for place in range(len(lengths))] == [40, 38, 32, 32, 24, 16, 16, 16, 8, 8, 8]


def test_the_windows_of_a_text_stay_together_and_a_full_batch_does_not_wait() -> None:
    values = np.array([row(8, 8), row(8, 8), row(2, 8), row(5, 8), row(8, 8), row(8, 8)], np.int32)
    batch = Batch([0, 1, 2], values, np.array([0, 0, 0, 1, 2, 2], np.int32))
    made = [*by_length([batch], 2, PAD)]
    assert [each.places for each in made] == [[0, 1], [2]]
    first, second = made
    assert first.owners is not None and first.owners.tolist() == [0, 0, 0, 1]
    assert first.values.tolist() == values[:4].tolist() and second.values.tolist() == values[4:].tolist()
    merged = first.merged(np.array([[1.0], [2.0], [3.0], [10.0]], np.float32))
    assert merged.tolist() == [[2.0], [10.0]]


@pytest.mark.parametrize("step", [8, 32])
def test_a_text_without_tokens_is_not_lost(step: int) -> None:
    batch = Batch([0], np.zeros((1, 4), np.int32))
    [made] = by_length([batch], 32, PAD, step)
    assert made.places == [0] and made.values.shape == (1, step)
