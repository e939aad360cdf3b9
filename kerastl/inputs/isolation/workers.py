"""The worker processes, as the process that uses them sees them: bytes of a file in, pixels or a reason out."""

import fcntl
import mmap
import os
import queue
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from kerastl.display import visible_cell
from kerastl.errors import KerastlError
from kerastl.inputs.isolation.forker import command
from kerastl.inputs.isolation.limits import Limits, processor_ticks
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
from kerastl.inputs.refusals import MAX_PIXELS
from kerastl.runtime import available_cores

Decoded = NDArray[np.uint8] | str
START = 300.0  # seconds in which a forker must have imported TensorFlow
PATIENCE = 10  # times `Limits.seconds` that a worker has that computes
LONGEST_REASON = 1000  # bytes
KEPT = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")  # of the environment, in which passwords may be
SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL  # a worker cannot take its memory away


@dataclass(frozen=True)
class _Worker:
    pid: int
    client: socket.socket
    shared: mmap.mmap


@dataclass(frozen=True)
class _Failure:
    """A worker that gave no answer. again: whether the file may be innocent."""

    reason: str
    again: bool


class Workers:
    """As many processes as there are cores, which any number of threads use. `close` ends them."""

    def __init__(self, limits: Limits, count: int | None = None) -> None:
        self.limits, self.count = limits, count or available_cores()
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.count):
            self._idle.put(None)  # one that is not started yet
        self._running: dict[int, _Worker] = {}
        self._lock = threading.Lock()  # of what follows
        self._forker: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._log: IO[bytes] | None = None
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Of all processes that run, the forker first."""
        return [*([self._forker.pid] if self._forker else []), *self._running]

    def decode(self, data: bytes, size: int, accept_truncated: bool = False) -> Decoded:
        """As `images.decoder(size, accept_truncated)(data)`: pixels, or a reason. A worker that ended is replaced. The
        file gets a second chance, since something else may have ended the worker, unless it took too long. Raises
        KerastlError where no worker can be started."""
        result = self._attempt(data, size, accept_truncated)
        if isinstance(result, _Failure) and result.again:
            result = self._attempt(data, size, accept_truncated)
        return result.reason if isinstance(result, _Failure) else result

    def start(self) -> None:
        """Start the process that makes workers, which takes seconds, before the first image is sent. Raises
        KerastlError where it cannot be started."""
        with self._lock:
            self._running_forker()

    def close(self) -> None:
        """End all processes, and wait until they are gone. What is being decoded gets no answer."""
        with self._lock:
            self._closed = True
            self._end_forker()
        for _ in range(self._idle.qsize()):
            idle = self._idle.get()
            if idle is not None:
                idle.client.close()
                idle.shared.close()
        for _ in range(self.count):
            self._idle.put(None)  # whoever asks from now on is refused

    def _attempt(self, data: bytes, size: int, accept_truncated: bool) -> Decoded | _Failure:
        worker, answered = self._idle.get(), False
        try:
            if worker is None:
                worker = self._started()
            result = self._asked(worker, data, size, accept_truncated)
            answered = True
            return result
        except TimeoutError:
            return _Failure(f"took more than {self.limits.seconds:g} seconds to decode", again=False)
        except (EOFError, ConnectionError, FileNotFoundError, ProcessLookupError):  # it has gone
            if self._closed or worker is None:
                raise self._unstarted("the processes were ended") from None
            reason, again = self._reason(self._ended(worker))
            worker = None
            return _Failure(reason, again)
        finally:
            if worker is not None and (not answered or self._closed):  # it may still be at work on this file
                self._ended(worker)
                answered = False
            self._idle.put(worker if answered else None)

    def _asked(self, worker: _Worker, data: bytes, size: int, accept_truncated: bool) -> Decoded:
        client = worker.client
        client.settimeout(self.limits.seconds)
        client.sendall(REQUEST.pack(len(data), size, accept_truncated) + data)  # at once: the worker wakes up once
        self._await_reply(worker)
        end = time.monotonic() + self.limits.seconds
        kind, height, width, length = REPLY.unpack(received(client, REPLY.size, end))
        if kind == WAIT:
            self._await_reply(worker)
            end = time.monotonic() + self.limits.seconds
            kind, height, width, length = REPLY.unpack(received(client, REPLY.size, end))
        if kind == REASON and length <= LONGEST_REASON:
            return visible_cell(received(client, length, end).decode("utf-8", "replace"))
        fits = (height, width) == (size, size) if size else 0 < height * width <= MAX_PIXELS
        if not fits or length != height * width * 3 or kind not in (SHARED, SENT) or (kind == SHARED and length > ROOM):
            raise ConnectionError("no answer of the decoder's")
        if kind == SENT:
            return np.frombuffer(received(client, length, end), np.uint8).reshape(height, width, 3)
        return np.frombuffer(worker.shared, np.uint8, length).reshape(height, width, 3).copy()

    def _await_reply(self, worker: _Worker) -> None:
        """Wait while a worker computes. Raises TimeoutError for one that does not, or that takes far too long."""
        poll, used = select.poll(), processor_ticks(worker.pid)
        poll.register(worker.client, select.POLLIN)
        for _ in range(PATIENCE):
            if poll.poll(1000 * self.limits.seconds):
                return
            before, used = used, processor_ticks(worker.pid)
            if used == before:
                break
        raise TimeoutError

    def _reason(self, status: int) -> tuple[str, bool]:
        """Why a worker ended, by the status that the system gives, and whether the file may be innocent."""
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if number == signal.SIGXCPU:
            return f"took more than {self.limits.cpu} seconds of processor time to decode", False
        name = f"by {signal.Signals(number).name}" if number else f"with code {os.WEXITSTATUS(status)}"
        memory = self.limits.memory // 2**20
        return (f"ended the process that decoded it, {name}: the file is damaged, made to do this, or takes more than "
                f"{memory:,} MiB of memory", True)

    def _started(self) -> _Worker:
        with self._lock:
            for _ in range(2):  # a forker that was killed is replaced
                try:
                    return self._forked(self._running_forker())
                except (EOFError, ConnectionError, TimeoutError):
                    self._end_forker()
            raise self._unstarted("the process that starts them has ended")

    def _forked(self, control: socket.socket) -> _Worker:
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, ROOM)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALED)
            socket.send_fds(control, [FORK], [theirs.fileno(), memory])
            pid, = NUMBER.unpack(received(control, NUMBER.size, time.monotonic() + START))
            worker = self._running[pid] = _Worker(pid, ours, mmap.mmap(memory, ROOM, access=mmap.ACCESS_READ))
            return worker
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory)

    def _running_forker(self) -> socket.socket:
        """The socket of the forker, which is started where there is none."""
        if self._closed:
            raise self._unstarted("they were ended")
        if self._socket is None:
            ours, theirs = socket.socketpair()
            self._log = tempfile.TemporaryFile()
            environment = {name: value for name, value in os.environ.items()
                           if name in KEPT or name.startswith(("LC_", "PYTHON", "TF_", "OMP_"))}
            with theirs:
                self._forker = subprocess.Popen(
                    command(theirs.fileno(), self.limits), pass_fds=[theirs.fileno()], start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log,
                    env={**environment, "CUDA_VISIBLE_DEVICES": "-1", "OPENBLAS_NUM_THREADS": "1",
                         "TMPDIR": tempfile.gettempdir()})
            self._socket = ours
            try:
                received(ours, len(FORK), time.monotonic() + START)  # it is ready
            except (EOFError, ConnectionError, TimeoutError):
                raise self._unstarted(self._said()) from None
        return self._socket

    def _said(self) -> str:
        """The last line that a forker printed."""
        if self._log is None:
            return "it printed nothing"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

    def _ended(self, worker: _Worker) -> int:
        """End a worker, if it has not ended itself. Returns its status, by `waitpid`; 0 if the forker has ended."""
        with self._lock:
            worker.client.close()
            worker.shared.close()
            if self._running.pop(worker.pid, None) is None or self._socket is None:
                return 0
            try:
                os.kill(worker.pid, signal.SIGKILL)  # one that is ending keeps its own status
                self._socket.sendall(STATUS + NUMBER.pack(worker.pid))
                return int(NUMBER.unpack(received(self._socket, NUMBER.size, time.monotonic() + START))[0])
            except (EOFError, OSError):  # the forker was killed, and its workers with it
                return 0

    def _end_forker(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._forker is not None:
            try:
                self._forker.wait(10)
            except subprocess.TimeoutExpired:
                self._forker.kill()  # its workers are killed with it
                self._forker.wait()
        if self._log is not None:
            self._log.close()
        for worker in self._running.values():
            worker.client.shutdown(socket.SHUT_RDWR)  # a thread may be waiting for it
        self._running.clear()
        self._socket = self._forker = self._log = None

    @staticmethod
    def _unstarted(why: str) -> KerastlError:
        return KerastlError(f"no process to decode images in: {why}", "processes with limits",
                            "set `isolate` to off, and decode only files that you trust")
