"""The forker of a task and its workers, as the process that uses them sees them: started, ended, waited for."""

import fcntl
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from kerastl.errors import KerastlError
from kerastl.inputs.isolation.forker import command
from kerastl.inputs.isolation.limits import Limits, processor_ticks
from kerastl.inputs.isolation.messages import FORK, NUMBER, STATUS, received

START = 300.0  # seconds in which a forker must have imported what its workers need
PATIENCE = 10  # times `Limits.seconds` that a worker has that computes
SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
KEPT = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")  # of the environment, in which passwords may be


@dataclass(frozen=True)
class Worker:
    """A worker that was started. client: the socket through which it is asked."""

    pid: int
    client: socket.socket


class Team:
    """A process that makes workers, started when the first is wanted, and the workers. Any number of threads may use
    it. `close` ends them all. task: the name of a module, see `forker`. verb, noun: what the workers do with which
    files, for messages."""

    def __init__(self, task: str, verb: str, noun: str, limits: Limits) -> None:
        self._task, self._verb, self._noun, self.limits = task, verb, noun, limits
        self._running: dict[int, Worker] = {}
        self._lock = threading.Lock()  # of what follows
        self._forker: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._log: IO[bytes] | None = None
        self.closed = False

    @property
    def pids(self) -> list[int]:
        """Of all processes that run, the forker first."""
        return [*([self._forker.pid] if self._forker else []), *self._running]

    def start(self) -> None:
        """Start the process that makes workers, which takes seconds. Raises KerastlError where it cannot be started."""
        with self._lock:
            self._running_forker()

    def started(self, *descriptors: int) -> Worker:
        """A new worker. descriptors: of files that it is given; the caller closes its own. Raises KerastlError where no
        worker can be started."""
        with self._lock:
            for _ in range(2):  # a forker that was killed is replaced
                try:
                    return self._forked(self._running_forker(), descriptors)
                except (EOFError, ConnectionError, TimeoutError):
                    self._end_forker()
            raise self.unstarted("the process that starts them has ended")

    def ended(self, worker: Worker) -> int:
        """End a worker, if it has not ended itself. Returns its status, by `waitpid`; 0 if the forker has ended."""
        with self._lock:
            worker.client.close()
            if self._running.pop(worker.pid, None) is None or self._socket is None:
                return 0
            try:
                os.kill(worker.pid, signal.SIGKILL)  # one that is ending keeps its own status
                self._socket.sendall(STATUS + NUMBER.pack(worker.pid))
                return int(NUMBER.unpack(received(self._socket, NUMBER.size, time.monotonic() + START))[0])
            except (EOFError, OSError):  # the forker was killed, and its workers with it
                return 0

    def close(self) -> None:
        """End all processes, and wait until they are gone. Who waits for a worker gets no answer."""
        with self._lock:
            self.closed = True
            self._end_forker()

    def unstarted(self, why: str) -> KerastlError:
        """The error where there is no worker."""
        return KerastlError(f"no process to {self._verb} {self._noun} in: {why}", "processes with limits",
                            f"set `isolate` to off, and {self._verb} only files that you trust")

    def _forked(self, control: socket.socket, descriptors: Sequence[int]) -> Worker:
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(control, [FORK], [theirs.fileno(), *descriptors])
            pid, = NUMBER.unpack(received(control, NUMBER.size, time.monotonic() + START))
            worker = self._running[pid] = Worker(pid, ours)
            return worker
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _running_forker(self) -> socket.socket:
        """The socket of the forker, which is started where there is none."""
        if self.closed:
            raise self.unstarted("they were ended")
        if self._socket is None:
            ours, theirs = socket.socketpair()
            self._log = tempfile.TemporaryFile()
            environment = {name: value for name, value in os.environ.items()
                           if name in KEPT or name.startswith(("LC_", "PYTHON", "TF_", "OMP_"))}
            with theirs:
                self._forker = subprocess.Popen(
                    command(self._task, theirs.fileno(), self.limits), pass_fds=[theirs.fileno()],
                    start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    stderr=self._log, env={**environment, "CUDA_VISIBLE_DEVICES": "-1", "OPENBLAS_NUM_THREADS": "1",
                         "TMPDIR": tempfile.gettempdir()})
            self._socket = ours
            try:
                received(ours, len(FORK), time.monotonic() + START)  # it is ready
            except (EOFError, ConnectionError, TimeoutError):
                raise self.unstarted(self._said()) from None
        return self._socket

    def _said(self) -> str:
        """The last line that a forker printed."""
        if self._log is None:
            return "it printed nothing"
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"

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


def shared_memory(size: int) -> int:
    """The descriptor of memory, all zeros, that a worker can be given, and cannot take away by making it smaller."""
    number = os.memfd_create("shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(number, size)
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, SEALED)
    except BaseException:
        os.close(number)
        raise
    return number


def await_reply(worker: Worker, seconds: float) -> None:
    """Wait while a worker computes. seconds: until one that does not compute is given up. Raises TimeoutError for that
    one, and for one that takes far too long."""
    poll, used = select.poll(), processor_ticks(worker.pid)
    poll.register(worker.client, select.POLLIN)
    for _ in range(PATIENCE):
        if poll.poll(1000 * seconds):
            return
        before, used = used, processor_ticks(worker.pid)
        if used == before:
            break
    raise TimeoutError
