"""The task of the workers that read tables, for `inputs.isolation.forker`. It imports no TensorFlow."""

import importlib
import io
import mmap
import pkgutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kerastl.data.apart import READERS
from kerastl.data.apart.frames import (
    END,
    ERROR,
    LAYOUT,
    MEMORY,
    RECORD,
    ROOM,
    Sender,
    TooLargeError,
    layout_of,
    of_error,
    of_layout,
    receive,
    send,
)
from kerastl.data.spool import BUFFER, Reader
from kerastl.errors import DataError
from kerastl.inputs.isolation.limits import Limits, limit_cpu

PER_SIZE = 2**24  # bytes of a file, for each of which opening it has as much processor time as a batch


def prepare() -> None:
    """Import what the readers may need, and let each read a table: a worker opens no files, and so imports nothing."""
    import pyarrow

    _load_time_zones(pyarrow)
    _load_encodings()
    columns: dict[str, Any] = {"text": ["a"], "number": [1]}
    file = io.BytesIO()
    importlib.import_module("pyarrow.parquet").write_table(pyarrow.table(columns), file)
    _try("parquet", file)
    try:
        from openpyxl import Workbook
    except ImportError:  # it is optional: the reader says so
        return
    file, book = io.BytesIO(), Workbook()
    book.active.append(list(columns))
    book.save(file)
    _try("excel", file)


def _try(kind: str, file: io.BytesIO) -> None:
    layout_of_table, batches_of = READERS[kind]

    def opener() -> io.BytesIO:
        return io.BytesIO(file.getvalue())

    for _ in batches_of(Path(kind), opener, layout_of_table(Path(kind), opener), None):
        pass


def _load_time_zones(pyarrow: Any) -> None:
    """Arrow reads the file of a time zone when the first date of it becomes a text."""
    import zoneinfo

    for name in zoneinfo.available_timezones():
        try:
            pyarrow.array([0], pyarrow.timestamp("s", name)).cast(pyarrow.string())
        except pyarrow.ArrowException:
            continue  # the system has its file, but Arrow does not know it


def _load_encodings() -> None:
    """Names inside archives and XML may have any."""
    import encodings

    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem"):  # of Windows
            importlib.import_module(f"encodings.{module.name}")


def worker(client: socket.socket, descriptors: Sequence[int], limits: Limits) -> Callable[[], None]:
    """What sends what the first frame asks for. descriptors: of the file of a table, and of the shared memory."""
    table, memory = descriptors
    shared = mmap.mmap(memory, ROOM)
    return lambda: _answer(client, table, shared, limits)


def _answer(client: socket.socket, table: int, shared: mmap.mmap, limits: Limits) -> None:
    """Send the layout, or batches and `END`, or `ERROR`. Ends early where the other side does."""
    _, request, _ = receive(client)
    try:
        try:
            _read(client, table, shared, limits, request)
        except DataError as error:
            if isinstance(error.__cause__, MemoryError):  # Arrow's own is one
                raise MemoryError from error
            send(client, ERROR, of_error(error))
    except (BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        send(client, ERROR, MEMORY)
    except TooLargeError:
        send(client, ERROR, RECORD)
    except Exception as error:
        send(client, ERROR, of_error(DataError(
            f"{request['path']} cannot be read: {type(error).__name__}: {error}", "a valid table",
            "write the file again")))


def _read(client: socket.socket, table: int, shared: mmap.mmap, limits: Limits, request: dict[str, Any]) -> None:
    layout_of_table, batches_of = READERS[request["kind"]]
    path = Path(request["path"])
    size = Reader(table).seek(0, io.SEEK_END)

    def opener() -> Any:
        return io.BufferedReader(Reader(table), BUFFER)

    limit_cpu(limits.cpu * (1 + size // PER_SIZE))
    if request["layout"] is None:
        send(client, LAYOUT, of_layout(layout_of_table(path, opener)))
        return
    sender = Sender(client, shared)
    for batch in batches_of(path, opener, layout_of(request["layout"]), request["only"]):
        sender.send(batch)
        limit_cpu(limits.cpu)
    send(client, END, None)


