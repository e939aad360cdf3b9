"""Tables that other processes read, as the process that wants their records sees them."""

import mmap
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from kerastl.data.apart.frames import (
    BATCH,
    END,
    ERROR,
    LAYOUT,
    MEMORY,
    MORE,
    MOST_JSON,
    RECORD,
    REFUSED,
    REQUEST,
    ROOM,
    SHARED,
    Frame,
    batch_of,
    error_of,
    layout_of,
    of_layout,
    receive,
    send,
)
from kerastl.data.layout import Batch, Layout
from kerastl.data.source import Source
from kerastl.errors import DataError
from kerastl.inputs.isolation.team import Team, Worker, await_reply, shared_memory


def layout_apart(team: Team, source: Source) -> Layout:
    """The layout of a table, see `READERS`. Raises DataError as its reader does, and where that process ends, hangs or
    returns no layout."""
    reading = _Reading(team, source)
    with closing(reading.frames(None, None)) as frames:
        for kind, document, _ in frames:
            if kind == LAYOUT:
                with reading.checked():
                    return layout_of(document)
            break
    raise reading.nonsense()


def batches_apart(team: Team, source: Source, layout: Layout, only: Sequence[str] | None) -> Iterator[Batch]:
    """The batches of a table, see `READERS`. Raises DataError as its reader does, and where that process ends, hangs or
    returns no records: what it returned before is not the whole table."""
    reading = _Reading(team, source)
    with closing(reading.frames(layout, only)) as frames:
        for kind, document, behind in frames:
            if kind == END:
                return
            if kind not in (BATCH, SHARED):
                break
            with reading.checked():
                batch = batch_of(document, behind, layout, only)
            reading.rows += batch.rows
            yield batch
    raise reading.nonsense()


class _Reading:
    """One reading of a table by a worker. rows: how many the worker has returned."""

    def __init__(self, team: Team, source: Source) -> None:
        self._team, self._source = team, source
        self.rows = 0

    def frames(self, layout: Layout | None, only: Sequence[str] | None) -> Generator[Frame]:
        """What a worker sends. It ends with this iterator, however that ends."""
        memory = shared_memory(ROOM)
        try:
            shared = memoryview(mmap.mmap(memory, ROOM, access=mmap.ACCESS_READ))
            worker = self._started(memory)
        finally:
            os.close(memory)
        try:
            request: dict[str, Any] | None = {"kind": self._source.kind, "path": str(self._source.path),
                                              "only": None if only is None else list(only),
                                              "layout": None if layout is None else of_layout(layout)}
            while True:
                frame = self._received(worker, request, shared)
                request = None
                yield frame
                if frame[0] == SHARED:
                    with suppress(BrokenPipeError, ConnectionResetError):  # one that has gone is met below
                        worker.client.sendall(MORE)
        finally:
            self._team.ended(worker)

    def _started(self, memory: int) -> Worker:
        with self._source.opener() as file:
            descriptor = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)  # one that cannot be written to
        try:
            return self._team.started(descriptor, memory)
        finally:
            os.close(descriptor)

    def _received(self, worker: Worker, request: dict[str, Any] | None, shared: memoryview) -> Frame:
        seconds = self._team.limits.seconds
        try:
            if request is not None:
                send(worker.client, REQUEST, request)
            await_reply(worker, seconds)
            with self.checked():
                frame = receive(worker.client, seconds, shared)
        except TimeoutError:
            raise self._failed(f"gave no answer for {seconds:g} seconds") from None
        except (EOFError, ConnectionError, FileNotFoundError, ProcessLookupError):  # it has gone
            if self._team.closed:
                raise self._team.unstarted("the processes were ended") from None
            raise self._ended(self._team.ended(worker)) from None
        if frame[0] == ERROR:
            with self.checked():
                raise self._told(frame[1])
        return frame

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Within, what a worker sent is taken apart. Raises DataError where it is not what its reader sends."""
        try:
            yield
        except REFUSED as error:
            raise self._failed("returned what no reader of tables returns") from error

    def nonsense(self) -> DataError:
        """The error for a frame of another kind than the wanted one."""
        return self._failed("returned what no reader of tables returns")

    def _told(self, document: Any) -> DataError:
        """The error that a worker sent. Raises one of REFUSED for anything else."""
        memory = self._team.limits.memory // 2**20
        if document == MEMORY:
            return self._failed(f"needed more than {memory:,} MiB of memory")
        if document == RECORD:
            return self._failed(f"found a record of more than {MOST_JSON // 2**20} MiB")
        return error_of(document)

    def _ended(self, status: int) -> DataError:
        """The error for a worker that has ended by itself, by the status that the system gives."""
        limits = self._team.limits
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if number == signal.SIGXCPU:
            return self._failed(f"took more than {limits.cpu} seconds of processor time for a batch of rows")
        name = f"by {signal.Signals(number).name}" if number else f"with code {os.WEXITSTATUS(status)}"
        return self._failed(f"ended {name}: the file is damaged, made to do this, or takes more than "
                            f"{limits.memory // 2**20:,} MiB of memory")

    def _failed(self, what: str) -> DataError:
        place = f"behind row {self.rows:,}" if self.rows else "before its first row"
        return DataError(f"{self._source.path} cannot be read: the process that read it {what}; it was {place}",
                         "a table that can be read within the limits of `isolate`", "write the file again, or as .csv; "
                         "if you trust it, set `isolate` to off")
