"""The task of the workers that decode images, for `forker`."""

import mmap
import socket
from collections.abc import Callable, Sequence
from typing import Any

from kerastl.inputs.isolation.limits import Limits, limit_cpu
from kerastl.inputs.isolation.messages import REASON, REPLY, REQUEST, ROOM, SENT, SHARED, WAIT, received

TRACING = 120  # seconds of processor time to trace a graph, which depends on no file


def prepare() -> None:
    """Import TensorFlow, once for all workers. Nothing of it is started, so that forking is safe."""
    from kerastl.inputs import images, quick  # noqa: F401


def worker(client: socket.socket, descriptors: Sequence[int], limits: Limits) -> Callable[[], None]:
    """What decodes the images that come through a socket. descriptors: that of the memory in which the other side finds
    the pixels."""
    memory, = descriptors
    return Worker(client, mmap.mmap(memory, ROOM), limits).work


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
