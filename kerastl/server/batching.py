"""Dynamic batching: rows of several requests are computed together, and each request gets its own rows back.

The parameters are those of TF Serving's `batching_parameters_file`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.server.bodies import Arrays
from kerastl.server.signatures import Signature
from kerastl.server.status import Code, ServingError, invalid

FULL = "The batch scheduling queue to which this task was submitted is full"


@dataclass(frozen=True)
class BatchingParameters:
    """max_batch_size: rows that are computed together at most. batch_timeout_micros: how long a request waits for
    others. max_enqueued_batches: full batches that may wait; a request beyond them is refused. num_batch_threads: that
    compute. allowed_batch_sizes: a batch is filled up with copies of a row to the next of these; none: it is not.
    pad_variable_length_inputs: whether arrays of other sizes are padded with their first value."""

    max_batch_size: int = 32
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False


@dataclass
class Task:
    """The rows of a request that wait. deadline: when they are computed at the latest, by `time.monotonic`."""

    signature: Signature
    arrays: Arrays
    rows: int
    deadline: float
    result: "Future[Arrays]" = field(default_factory=Future)


class Batcher:
    """Collects tasks of the same kind, and computes them together in threads of its own."""

    def __init__(self, parameters: BatchingParameters, run: Callable[[Signature, Arrays], Arrays]) -> None:
        self.parameters, self._run = parameters, run
        self._queues: dict[Hashable, deque[Task]] = {}
        self._lock = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
                         for number in range(parameters.num_batch_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, signature: Signature, arrays: Arrays) -> "Future[Arrays]":
        """The outputs of a request, when they are computed. Raises ServingError for one that is too large or finds the
        queue full."""
        rows, most = len(next(iter(arrays.values()))), self.parameters.max_batch_size
        if rows > most:
            raise invalid(f"the request has {rows} rows, but a batch has at most {most} (max_batch_size)")
        task = Task(signature, arrays, rows, time.monotonic() + self.parameters.batch_timeout_micros / 1e6)
        with self._lock:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, "the model is being unloaded")
            queue = self._queues.setdefault(self._kind(task), deque())
            if sum(other.rows for other in queue) + rows > self.parameters.max_enqueued_batches * most:
                raise ServingError(Code.UNAVAILABLE, FULL)
            queue.append(task)
            self._lock.notify()
        return task.result

    def close(self) -> None:
        """Compute what waits, and end the threads."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()

    def _kind(self, task: Task) -> Hashable:
        """Tasks of the same kind can be computed together."""
        pad = self.parameters.pad_variable_length_inputs
        return (task.signature.name, *sorted((name, array.ndim if pad else array.shape[1:])
                                             for name, array in task.arrays.items()))

    def _work(self) -> None:
        while True:
            with self._lock:
                tasks = self._next()
                if tasks is None:
                    return
            self._compute(tasks)

    def _next(self) -> list[Task] | None:
        """The tasks that are computed next, in the order they came; waits for them. None at the end."""
        while True:
            now, wait = time.monotonic(), None
            for kind, queue in list(self._queues.items()):
                if not queue:
                    del self._queues[kind]
                    continue
                full = sum(task.rows for task in queue) >= self.parameters.max_batch_size
                if full or queue[0].deadline <= now or self._closed:
                    return self._taken(queue)
                left = queue[0].deadline - now
                wait = left if wait is None else min(wait, left)
            if self._closed:
                return None
            self._lock.wait(wait)

    def _taken(self, queue: "deque[Task]") -> list[Task]:
        tasks = [queue.popleft()]
        rows = tasks[0].rows
        while queue and rows + queue[0].rows <= self.parameters.max_batch_size:
            tasks.append(queue.popleft())
            rows += tasks[-1].rows
        return tasks

    def _compute(self, tasks: Sequence[Task]) -> None:
        """Compute tasks together; where that fails, each alone, so that none fails for another."""
        try:
            outputs = self._run(tasks[0].signature, self._joined(tasks))
            start = 0
            parts = []
            for task in tasks:
                parts.append({name: array[start:start + task.rows] for name, array in outputs.items()})
                start += task.rows
        except Exception as error:
            if len(tasks) == 1:
                tasks[0].result.set_exception(error)
                return
            for task in tasks:
                self._compute([task])
            return
        for task, part in zip(tasks, parts, strict=True):
            task.result.set_result(part)

    def _joined(self, tasks: Sequence[Task]) -> Arrays:
        joined: Arrays = {}
        for name in tasks[0].arrays:
            arrays = [task.arrays[name] for task in tasks]
            if self.parameters.pad_variable_length_inputs:
                shape = tuple(np.max([array.shape[1:] for array in arrays], axis=0, initial=0))
                arrays = [_padded(array, shape) for array in arrays]
            joined[name] = np.concatenate(arrays)
        rows = sum(task.rows for task in tasks)
        allowed = next((size for size in self.parameters.allowed_batch_sizes if size >= rows), rows)
        if allowed > rows:
            joined = {name: np.concatenate([array, np.repeat(array[:1], allowed - rows, axis=0)])
                      for name, array in joined.items()}
        return joined


def _padded(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array with each dimension but the first filled up with the array's first value, as TF Serving does it."""
    if array.shape[1:] == shape or not array.size:
        return array
    full = np.full((len(array), *shape), array.flat[0], array.dtype)
    full[(slice(None), *(slice(size) for size in array.shape[1:]))] = array
    return full
