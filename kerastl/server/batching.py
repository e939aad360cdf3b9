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
    """max_batch_size: rows of a request at most. batch_timeout_micros: how long a request waits for others.
    max_enqueued_batches: full batches that may wait; a request beyond them is refused. num_batch_threads: that compute.
    allowed_batch_sizes: a batch is filled up with copies of a row to the next of these; none: it is not.
    pad_variable_length_inputs: whether arrays of other sizes are padded with their first value.
    enable_large_batch_splitting: whether the rows of a request are computed in several batches, if they are more than
    max_execution_batch_size; 0: than max_batch_size."""

    max_batch_size: int = 32
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def rows(self) -> int:
        """That are computed together at most."""
        return self.max_execution_batch_size or self.max_batch_size


# Without a file of parameters.
DEFAULTS = BatchingParameters(max_batch_size=1000, enable_large_batch_splitting=True, max_execution_batch_size=32)


def rows_of(arrays: Arrays) -> int | None:
    """The number of rows of a request; None where the arrays have no rows, or not equally many."""
    sizes = {len(array) if array.ndim else None for array in arrays.values()}
    return sizes.pop() if len(sizes) == 1 else None


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

    def run(self, signature: Signature, arrays: Arrays, seconds: float) -> Arrays:
        """The outputs of a request, whose arrays have equally many rows. seconds: that it waits at most. Raises
        ServingError for one that is too large, finds the queue full or waits too long."""
        rows, most = rows_of(arrays) or 0, self.parameters.max_batch_size
        if rows > most:
            raise invalid(f"the request has {rows} rows, but a batch has at most {most} (max_batch_size)")
        step, end = self.parameters.rows, time.monotonic() + seconds
        pieces = [{name: array[start:start + step] for name, array in arrays.items()}
                  for start in range(0, max(rows, 1), step)]
        futures = [self.submit(signature, piece) for piece in pieces]
        try:
            parts = [future.result(max(0.0, end - time.monotonic())) for future in futures]
        except TimeoutError as error:
            raise ServingError(Code.DEADLINE_EXCEEDED, f"no answer within {seconds:g} seconds") from error
        if len(parts) == 1:
            return parts[0]
        if list(map(rows_of, parts)) != list(map(rows_of, pieces)):  # such as a sum over the batch
            return self._run(signature, arrays)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def submit(self, signature: Signature, arrays: Arrays) -> "Future[Arrays]":
        """The outputs of rows that fit into a batch, when they are computed. Raises ServingError where the queue is
        full."""
        rows = rows_of(arrays) or 0
        task = Task(signature, arrays, rows, time.monotonic() + self.parameters.batch_timeout_micros / 1e6)
        with self._lock:
            if self._closed:
                raise ServingError(Code.UNAVAILABLE, "the model is being unloaded")
            queue = self._queues.setdefault(self._kind(task), deque())
            if sum(other.rows for other in queue) + rows > self.parameters.max_enqueued_batches * self.parameters.rows:
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
                full = sum(task.rows for task in queue) >= self.parameters.rows
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
        while queue and rows + queue[0].rows <= self.parameters.rows:
            tasks.append(queue.popleft())
            rows += tasks[-1].rows
        return tasks

    def _compute(self, tasks: Sequence[Task]) -> None:
        """Compute tasks together; each alone where that fails or the outputs are not one row for each row, so that no
        task notices another."""
        try:
            joined = self._joined(tasks)
            outputs = self._run(tasks[0].signature, joined)
            if rows_of(outputs) != rows_of(joined):  # such as a sum over the batch
                if rows_of(joined) != tasks[0].rows:
                    self._compute_alone(tasks)
                    return
                parts = [outputs]
            else:
                ends = np.cumsum([task.rows for task in tasks]).tolist()
                parts = [{name: array[end - task.rows:end] for name, array in outputs.items()}
                         for task, end in zip(tasks, ends, strict=True)]
        except Exception as error:
            if len(tasks) > 1:
                for task in tasks:
                    self._compute([task])
            else:
                tasks[0].result.set_exception(error)
            return
        for task, part in zip(tasks, parts, strict=True):
            task.result.set_result(part)

    def _compute_alone(self, tasks: Sequence[Task]) -> None:
        """Compute each task as it is, without others and without rows that fill it up."""
        for task in tasks:
            try:
                task.result.set_result(self._run(task.signature, task.arrays))
            except Exception as error:
                task.result.set_exception(error)

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
