"""Inputs through a model as a stream: a few batches at a time are read and computed, and the answers keep the order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

A = TypeVar("A")
Run = Callable[[Sequence[Any]], Sequence[A]]  # the answers for some inputs, one for each

AT_A_TIME = 2  # batches: while the network computes one, the next is read and decoded
WINDOW = 16  # batches of texts that are sorted by length together
WINDOW_CHARACTERS = 2**24  # of a window, so that long texts do not fill the memory


@dataclass(frozen=True)
class Batching:
    """How inputs become batches. size: inputs per batch. by_length: whether inputs of similar length share a batch,
    which keeps padding small. at_a_time: batches that are computed at a time."""

    size: int
    by_length: bool = False
    at_a_time: int = AT_A_TIME


@dataclass(frozen=True)
class _Window:
    """Consecutive inputs: their batches, as places in the window, and what each batch consists of."""

    items: list[Any]
    places: list[list[int]]

    def batches(self) -> Iterator[list[Any]]:
        return ([self.items[place] for place in places] for places in self.places)

    def in_order(self, answers: Iterable[Sequence[A]]) -> list[A]:
        """The answers of the batches, in the order of the inputs."""
        of_place = dict(zip(chain.from_iterable(self.places), chain.from_iterable(answers), strict=True))
        return [of_place[place] for place in range(len(self.items))]


def answered(items: Iterable[Any], run: Run[A], batching: Batching) -> Iterator[A]:
    """The answer for each input, in order. Memory does not grow with the number of inputs.

    run: is called with one batch at a time by each of `at_a_time` threads; a single batch is run in this thread.
    """
    windows = _windows(items, batching)
    first = next(windows, None)
    if first is None:
        return
    if len(first.items) <= batching.size or batching.at_a_time < 2:  # nothing would run beside it
        for window in chain([first], windows):
            yield from window.in_order(map(run, window.batches()))
        return
    with ThreadPoolExecutor(min(batching.at_a_time, os.cpu_count() or 1)) as pool:
        ahead: deque[tuple[_Window, list[Future[Sequence[A]]]]] = deque()
        try:
            for window in chain([first], windows):
                ahead.append((window, [pool.submit(run, batch) for batch in window.batches()]))
                while len(ahead) > 1 and sum(len(futures) for _, futures in list(ahead)[1:]) > batching.at_a_time:
                    yield from _finished(*ahead.popleft())
            while ahead:
                yield from _finished(*ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finished(window: _Window, futures: Iterable["Future[Sequence[A]]"]) -> list[A]:
    return window.in_order([future.result() for future in futures])


def _windows(items: Iterable[Any], batching: Batching) -> Iterator[_Window]:
    most = batching.size * (WINDOW if batching.by_length else 1)
    pending: list[Any] = []
    lengths: list[int] = []
    characters = 0
    for item in items:
        length = _length(item) if batching.by_length else 0
        if pending and (len(pending) == most or characters + length > WINDOW_CHARACTERS):
            yield _window(pending, lengths, batching.size)
            pending, lengths, characters = [], [], 0
        pending.append(item)
        lengths.append(length)
        characters += length
    if pending:
        yield _window(pending, lengths, batching.size)


def _window(items: list[Any], lengths: list[int], size: int) -> _Window:
    """Batches of the longest inputs first."""
    order = sorted(range(len(items)), key=lambda place: -lengths[place])
    return _Window(items, [order[start:start + size] for start in range(0, len(order), size)])


def _length(item: Any) -> int:
    """Characters or bytes of a text or a pair, which are close enough to its tokens for sorting; 0 for what is none."""
    if isinstance(item, str | bytes | bytearray):
        return len(item)
    return sum(map(_length, item)) if isinstance(item, list | tuple) else 0
