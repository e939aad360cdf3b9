"""A stream of inputs: the answers keep the order, texts of one length share a batch, and few inputs are read ahead."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from kerastl.serving.stream import WINDOW, WINDOW_CHARACTERS, Batching, answered


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 63, 64, 65, 1000])
def test_every_answer_belongs_to_its_input(count: int, by_length: bool) -> None:
    texts = [f"{i} " + "x" * (i * 7919 % 50) for i in range(count)]

    def run(batch: Sequence[str]) -> list[str]:
        assert 0 < len(batch) <= 4
        time.sleep(len(batch[0]) % 3 / 2000)  # so that batches finish in another order than they began
        return [text.upper() for text in batch]

    assert list(answered(iter(texts), run, Batching(4, by_length))) == [text.upper() for text in texts]


def test_texts_of_similar_length_share_a_batch_within_a_window() -> None:
    lengths = [i * 7919 % 97 for i in range(64)]
    seen: list[list[int]] = []
    list(answered(["x" * n for n in lengths], lambda batch: seen.append([*map(len, batch)]) or batch,
                  Batching(4, by_length=True, at_a_time=1)))
    assert [n for batch in seen for n in batch] == sorted(lengths, reverse=True)
    padding = sum(max(batch) * len(batch) for batch in seen) - sum(lengths)
    assert padding < sum(lengths) / 10
    pairs = [("a" * 9, "b"), ("a", "b"), 3, b"abc"]  # an input that is no text has no length, and keeps its place
    assert list(answered(pairs, lambda batch: batch, Batching(2, by_length=True))) == pairs


def test_few_inputs_are_read_ahead_and_few_batches_are_computed_at_a_time() -> None:
    read, most_ahead, running, most_running = 0, 0, 0, 0
    lock = threading.Lock()

    def items() -> Iterator[int]:
        nonlocal read
        while read < 1000:
            read += 1
            yield read

    def run(batch: Sequence[int]) -> Sequence[int]:
        nonlocal running, most_running
        with lock:
            running += 1
            most_running = max(most_running, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return batch

    for answer in answered(items(), run, Batching(4)):
        most_ahead = max(most_ahead, read - answer)
    assert answer == 1000 and most_ahead <= 6 * 4 and most_running <= 2


def test_a_window_of_long_texts_is_short() -> None:
    windows: list[int] = []
    texts = ["x" * (WINDOW_CHARACTERS // 3)] * 12
    list(answered(texts, lambda batch: windows.append(len(batch)) or batch, Batching(32, by_length=True)))
    assert max(windows) == 3 and WINDOW * 32 > 12


def test_an_error_ends_the_stream_and_a_stream_may_be_left() -> None:
    def run(batch: Sequence[int]) -> Sequence[int]:
        if 40 in batch:
            raise OSError("the disk is gone")
        return batch

    with pytest.raises(OSError, match="disk is gone"):
        list(answered(range(100), run, Batching(4)))
    stream = answered(range(10**9), lambda batch: batch, Batching(4))
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    stream.close()
