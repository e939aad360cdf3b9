"""A task of workers, beside `data.apart.worker`, whose Parquet reader fails as the name of the table says, behind its
first batch. What fails is real: the signal, the limit of the system, the bytes in the socket."""

import ctypes
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kerastl.data.apart import READERS
from kerastl.data.apart import worker as real
from kerastl.data.apart.frames import BATCH, HEAD
from kerastl.data.layout import Batch, Layout, Opener
from kerastl.inputs.isolation.limits import Limits

CLIENT: list[socket.socket] = []


def _segfault() -> None:
    ctypes.string_at(0)


def _compute() -> None:
    while True:
        pass


def _lie() -> None:
    text = b'{"rows":1,"lines":null,"names":["text"],"columns":[["pickle",[1]]],"broken":[]}'
    CLIENT[0].sendall(HEAD.pack(BATCH, len(text), 0) + text)


def _boast() -> None:
    CLIENT[0].sendall(HEAD.pack(BATCH, 2**60, 0))


def _raise() -> None:
    raise LookupError("no such thing")


WAYS: dict[str, Callable[[], object]] = {
    "segfault": _segfault, "compute": _compute, "lie": _lie, "boast": _boast, "raise": _raise,
    "memory": lambda: bytearray(2**33), "leave": lambda: CLIENT[0].shutdown(socket.SHUT_RDWR)}


def prepare() -> None:
    """As the real task."""
    real.prepare()
    layout_of, batches_of = READERS["parquet"]

    def failing(path: Path, opener: Opener, layout: Layout, only: Sequence[str] | None) -> Iterator[Batch]:
        batches = batches_of(path, opener, layout, only)
        yield next(batches)
        WAYS[path.stem]()
        yield from batches

    READERS["parquet"] = layout_of, failing


def worker(client: socket.socket, descriptors: Sequence[int], limits: Limits) -> Callable[[], None]:
    """As the real task."""
    CLIENT.append(client)
    return real.worker(client, descriptors, limits)
