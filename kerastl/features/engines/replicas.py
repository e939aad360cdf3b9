"""The feature pass on several devices: a copy of the network on each, and batches dealt to them in turn."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import tensorflow as tf

from kerastl.errors import CheckFailed
from kerastl.features.engines.check import check, engine_of
from kerastl.features.engines.choose import Choice
from kerastl.features.engines.engine import Model, Rows, Values
from kerastl.features.engines.tensorflow import in_policy, plain_engine

AHEAD = 2  # batches of a device that are computed or wait, so that it need not wait for the next one

Run = Callable[[Values], Rows]


def on_devices(choice: Choice, model: Model, batch: Values, devices: Sequence[str]) -> Choice:
    """The same engine with a copy of the network on each of the devices; the first one keeps what it has. Engines of
    other libraries, and those that stream, stay as they are. batch: on which each copy is compared with the first.

    Raises CheckFailed where a device computes something else.
    """
    engine = choice.engine
    if engine.name != "tensorflow" or engine.stream is not None:
        return choice
    expected = engine.run(batch)
    runs = [_placed(engine.run, devices[0])]
    for device in devices[1:]:
        with tf.device(device):
            copy = in_policy(model, "float32")
            other = plain_engine(copy) if engine.graph == "plain" and engine.compute == "float32" else \
                engine_of(copy, engine.arithmetic, engine.graph == "xla")
        run = _placed(other.run, device)
        accurate, nearness = check(replace(other, run=run), batch, expected)
        if not accurate:
            raise CheckFailed(f"the features that {device} computes differ from those of {devices[0]} ({nearness})",
                              "equal features but for rounding", "set `devices` to 1, and check that device")
        runs.append(run)
    return Choice(replace(engine, stream=lambda values: dealt(runs, values)),
                  f"{choice.reason}; batches divided among {', '.join(devices)}")


def _placed(run: Run, device: str) -> Run:
    def on_device(batch: Values) -> Rows:
        with tf.device(device):
            return run(batch)

    return on_device


def dealt(runs: Sequence[Run], values: Iterable[Values]) -> Iterator[Rows]:
    """What the runs compute for batches, in order: the first run computes the first batch, the next one the next, each
    in a thread of its own. At most AHEAD batches a run are taken before the result of the earliest is."""
    waiting: deque[Future[Rows]] = deque()
    with ExitStack() as stack:
        threads = [ThreadPoolExecutor(1) for _ in runs]
        for thread in threads:
            stack.callback(thread.shutdown, cancel_futures=True)
        for number, batch in enumerate(values):
            turn = number % len(runs)
            waiting.append(threads[turn].submit(runs[turn], batch))
            if len(waiting) >= AHEAD * len(runs):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
