"""Runs the command line in processes of their own, which wait at a chosen place until a signal ends them.

They are forked from one process that has imported TensorFlow, which takes ten seconds, and has done nothing with it.
"""

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NEW_MOUNTS, UNMOUNTED = 0x00020000, 77  # Linux' CLONE_NEWNS; an exit code
NO_DISKS: dict[Path, str] = {}
AS_HERE: dict[str, str | None] = {}
SECONDS = 600  # until a process counts as hanging, also on a busy machine
PLACES = {  # where a process waits: in a function, once it was called so many times
    "features": ("kerastl.features.cache", "Space.append", 2),
    "epoch": ("kerastl.training.fine_tuning.checkpoints", "Checkpoints.on_epoch_end", 2),
    "export": ("kerastl.export.export", "write_split", 1),
    "head": ("kerastl.training.fitters.gradient", "_train", 1),
    "journal": ("kerastl.studies.journal", "Journal.add", 2)}
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")  # audit events before changes to files


@dataclass(frozen=True)
class Ended:
    """How a process ended. code: as subprocess gives it, negative for a signal that was not handled."""

    code: int
    out: str
    err: str


class Server:
    """Forks a process for every run. folder: for their output, and for temporary files, in `tmp`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        (folder / "tmp").mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "TF_CPP_MIN_LOG_LEVEL": "3"})
        self.pid = self._process.pid

    def start(self, words: Sequence[Any], place: str = "", disks: dict[Path, str] = NO_DISKS, limit: int = 0, *,
              environment: Mapping[str, str | None] = AS_HERE, clock: float = 0.0, die_at: int = 0) -> "Run":
        """Run the command in a new process. place: where it waits for ever, one of PLACES. disks: folders that are
        `read-only` for it, or on a disk of so many bytes. limit: of the bytes of a file that it writes. environment:
        variables that are different, None for those that are not set. clock: seconds by which its clock is ahead.
        die_at: it kills itself before its change to files of this number; 0: it does not."""
        self.count += 1
        files = [str(self.folder / f"{self.count}.{name}") for name in ("out", "err", "there", "changes")]
        pid = self._ask({"words": [str(word) for word in words], "place": place, "files": files, "limit": limit,
                         "disks": {str(folder): disk for folder, disk in disks.items()}, "clock": clock,
                         "environment": dict(environment), "die_at": die_at})
        return Run(self, pid, [Path(file) for file in files])

    def run(self, *words: Any, disks: dict[Path, str] = NO_DISKS, limit: int = 0, **more: Any) -> Ended:
        """Run the command to its end. Skips the test where disks are asked for and nothing can be mounted. more: as
        `start` takes it."""
        ended = self.start(words, disks=disks, limit=limit, **more).end()
        if ended.code == UNMOUNTED:
            pytest.skip("nothing can be mounted here")
        return ended

    def code_of(self, pid: int) -> int | None:
        """The exit code of a process; None while it runs."""
        code: int | None = self._ask({"wait": pid})
        return code

    def strays(self) -> list[int]:
        """Processes of runs, and those that they started: what is left over where all runs have ended."""
        mark = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = []
        for about in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables = (about / "environ").read_bytes().split(b"\0")
                if any(variable.startswith(mark) for variable in variables) and int(about.name) != self.pid:
                    found.append(int(about.name))
        return found

    def close(self) -> None:
        """End the process that forks."""
        self._process.communicate(timeout=60)

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from descendants(child)


def command_of(pid: int) -> str:
    """The command line of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return "gone"


class Run:
    """A process that was started. files: standard output, standard error, one that exists while it waits, and one with
    the number of its changes to files."""

    def __init__(self, server: Server, pid: int, files: list[Path]) -> None:
        self.server, self.pid, self.files = server, pid, files

    def reach(self) -> None:
        """Wait until the process is at its place."""
        deadline = time.monotonic() + SECONDS
        while not self.files[2].exists():
            code = self.server.code_of(self.pid)
            assert code is None and time.monotonic() < deadline, (code, self.files[1].read_text())
            time.sleep(0.02)

    def go_on(self) -> "Run":
        """Let the process leave its place."""
        self.files[2].unlink()
        return self

    def stop(self, number: int) -> Ended:
        """Send a signal to the process at its place, and wait for its end."""
        self.reach()
        os.kill(self.pid, number)
        return self.end()

    def kill_after(self, seconds: float, patience: float = SECONDS) -> Ended:
        """Kill the process after so many seconds, unless it has ended before."""
        moment = time.monotonic() + seconds
        while time.monotonic() < moment and not self.files[3].exists():
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.end(patience)

    def end(self, seconds: float = SECONDS) -> Ended:
        """Wait for the end, and so many seconds at most."""
        deadline = time.monotonic() + seconds
        while (code := self.server.code_of(self.pid)) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        return Ended(code, self.files[0].read_text(), self.files[1].read_text())

    def changes(self) -> int:
        """How many changes to files the process made that has ended by itself."""
        return int(self.files[3].read_text())


def wait_at(place: str, there: str) -> None:
    """Make this process wait in the function of a place, once it was called for the last time that counts."""
    module, path, calls = PLACES[place]
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function, left = getattr(owner, name), [calls]

    def waiting(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        left[0] -= 1
        if left[0] == 0:
            Path(there).touch()
            end = time.monotonic() + 10 * SECONDS
            while os.path.exists(there) and time.monotonic() < end:
                time.sleep(0.05)
        return result

    setattr(owner, name, waiting)


def count_changes(die_at: int) -> list[int]:
    """Count this process's changes to files from here on, in a list of one number, and kill it before one of them."""
    count = [0]

    def changed(event: str, details: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(details[2], int) and details[2] & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            count[0] += 1
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(changed)
    return count


def set_clock(ahead: float) -> None:
    """Let Python's clock be ahead in this process. The times of files are not."""
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + ahead
    time.time_ns = lambda: nanoseconds() + int(1e9 * ahead)


def child(request: dict[str, Any]) -> int:
    """The command of a request, in the process that was forked for it."""
    import resource

    from kerastl.cli import main
    from kerastl.features import fill

    for number, file in enumerate(request["files"][:2], 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o644), number)
    for name, value in request["environment"].items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    fill.SEGMENT_SECONDS = 0.0  # a segment for each batch
    if request["place"]:
        wait_at(request["place"], request["files"][2])
    if request["disks"]:
        mount(request["disks"])
    if request["limit"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"],) * 2)
    if request["clock"]:
        set_clock(request["clock"])
    changes = count_changes(request["die_at"])
    code = main(request["words"])
    Path(request["files"][3]).write_text(str(changes[0]))
    return code


def mount(disks: dict[str, str]) -> None:
    """Give this process disks of its own. Ends it where that is not possible."""
    commands = [["--make-rprivate", "/"]]
    for folder, disk in disks.items():
        commands += [["--bind", folder, folder], ["-o", "remount,ro,bind", folder]] if disk == "read-only" else [
            ["-t", "tmpfs", "-o", f"size={disk}", "tmpfs", folder]]
    if ctypes.CDLL(None).unshare(NEW_MOUNTS) or any(
            subprocess.run(["mount", *command], capture_output=True).returncode for command in commands):
        os._exit(UNMOUNTED)


def fork(request: dict[str, Any]) -> int:
    """The id of a process that runs the command of a request."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child(request)
        except BaseException:
            traceback.print_exc()
        finally:
            weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # as at the end of any process
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def serve() -> None:
    """Fork a process for each line of standard input that asks for one."""
    import conftest  # noqa: F401  brings the tiny backbone
    import keras_hub  # noqa: F401

    import kerastl

    for name in kerastl.__all__:
        getattr(kerastl, name)  # imports what is behind it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests behind lets it be ignored
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        else:
            print(fork(request), flush=True)


if __name__ == "__main__":
    serve()
