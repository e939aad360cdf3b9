"""The process that makes the workers: it imports TensorFlow once, and then forks a worker in a moment.

It has one thread, and starts nothing of TensorFlow's, so that forking is safe. It ends, and its workers with it, when
its socket is closed: by the process that started it, or because that process has ended.
"""

import mmap
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kerastl.inputs.isolation.limits import (
    Limits,
    address_space,
    give_up_rights,
    leave_network,
    limit_cpu,
    limit_files,
    limit_memory,
)
from kerastl.inputs.isolation.messages import (
    FORK,
    NUMBER,
    REASON,
    REPLY,
    REQUEST,
    ROOM,
    SENT,
    SHARED,
    STATUS,
    WAIT,
    received,
)
from kerastl.runtime import python

TRACING = 120  # seconds of processor time to trace a graph, which depends on no file
LOOKS = 1.0  # seconds between two looks at the process that started this one
FAILED = 70  # exit code of a worker that raised an exception


def main(number: int, memory: int, cpu: int, parent: int) -> None:
    """Serve the socket of this number until it is closed. parent: the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the process that started this one closes the socket
    leave_network()  # before NumPy starts threads
    with _ending_with(parent):
        from kerastl.inputs import images, quick  # noqa: F401  TensorFlow is imported here, once for all workers

    control = socket.socket(fileno=number)
    control.sendall(FORK)  # ready
    workers: set[int] = set()
    while True:
        request, numbers, _, _ = socket.recv_fds(control, 1, 2)
        if request == FORK:
            pid = os.fork()
            if not pid:
                _as_worker(control, numbers, Limits(memory, cpu))
            workers.add(pid)
            for descriptor in numbers:
                os.close(descriptor)
            control.sendall(NUMBER.pack(pid))
        elif request == STATUS:
            pid = NUMBER.unpack(received(control, NUMBER.size))[0]
            control.sendall(NUMBER.pack(os.waitpid(pid, 0)[1] if pid in workers else 0))
            workers.discard(pid)
        else:
            break
    _end(workers)


@contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """Within, this process ends soon after the one that started it. Importing takes long, and sees no socket close."""
    def look(number: int, frame: object) -> None:
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOKS, LOOKS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _end(workers: Iterable[int]) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)


def _as_worker(control: socket.socket, numbers: list[int], limits: Limits) -> None:
    """Give up what decoding does not need, then decode until the socket is closed. Never returns."""
    code = FAILED
    try:
        control.close()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what the decoders print; a regular file would have no room
        give_up_rights()
        shared = mmap.mmap(numbers[1], ROOM)
        worker = Worker(socket.socket(fileno=numbers[0]), shared, limits)
        limit_memory(address_space() + limits.memory)
        limit_files()
        worker.work()
        code = 0
    finally:
        os._exit(code)


class Worker:
    """Decodes what comes through its socket. shared: memory in which the other side finds the pixels."""

    def __init__(self, client: socket.socket, shared: mmap.mmap, limits: Limits) -> None:
        import numpy as np
        import tensorflow as tf

        self._client, self._limits = client, limits
        self._pixels = np.frombuffer(shared, np.uint8)
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.constant(0)  # starts TensorFlow, which opens files

    def work(self) -> None:
        """Answer until the other side ends."""
        from kerastl.inputs.images import decoder

        while True:
            try:
                length, size, accept_truncated = REQUEST.unpack(received(self._client, REQUEST.size))
            except EOFError:
                return
            data = bytes(received(self._client, length))
            decode = decoder(size, accept_truncated)
            limit_cpu(self._limits.cpu)
            try:
                result: Any = decode.by_kernels(data)
                if result is None:
                    if not decode.is_traced:
                        self._client.sendall(REPLY.pack(WAIT, 0, 0, 0))
                        limit_cpu(TRACING)
                        decode.trace()
                        limit_cpu(self._limits.cpu)
                    result = decode.by_graph(data)
            except MemoryError:
                result = too_large(self._limits.memory)
            self._answer(too_large(self._limits.memory) if isinstance(result, str) and "OOM when" in result else result)

    def _answer(self, result: object) -> None:
        import numpy as np

        if isinstance(result, str):
            reason = result.encode()
            self._client.sendall(REPLY.pack(REASON, 0, 0, len(reason)) + reason)
            return
        pixels = np.ascontiguousarray(result)
        kind = SHARED if pixels.nbytes <= ROOM else SENT
        if kind == SHARED:
            self._pixels[:pixels.size] = pixels.ravel()
        self._client.sendall(REPLY.pack(kind, *pixels.shape[:2], pixels.nbytes))
        if kind == SENT:
            self._client.sendall(pixels.data)


def too_large(memory: int) -> str:
    """The reason for an image that takes too much memory."""
    return f"takes more than {memory // 2**20:,} MiB of memory to decode: resize it"


def command(number: int, limits: Limits) -> list[str]:
    """What starts a forker, with the modules that this process has."""
    return python(f"from {__name__} import main; main({number}, {limits.memory}, {limits.cpu}, {os.getpid()})")
