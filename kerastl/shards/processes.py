"""Workers as processes on this machine."""

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from kerastl.runtime import available_cores, python
from kerastl.shards.store import Shard
from kerastl.shards.team import Died, Stopped, Team
from kerastl.shards.worker import Reply, environment

LOG_BYTES = 2000  # of a worker's messages that an error shows


def process_team(folder: Path, workers: int) -> Team:
    """So many worker processes, which share the cores of this machine."""
    threads = threads_each(workers)
    return Team(lambda: Process(folder, threads), workers, threads)


def threads_each(workers: int) -> int:
    """The threads of each of so many worker processes."""
    return max(1, available_cores() // workers)


class Process:
    """One worker process. In a session of its own, so that Ctrl-C ends only the process that started it; which ends
    its workers, or leaves them an input that has ended."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            python(f"from kerastl.shards.worker import main; main({str(folder.absolute())!r})"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True,
            env={**os.environ, **environment(threads), "TMPDIR": tempfile.gettempdir()})  # it is killed at the end

    def start(self, stopped: Stopped) -> Reply:
        """Wait until the network is loaded."""
        return self._reply()

    def compute(self, shard: Shard) -> Reply:
        """Have a shard computed and written. Raises Died."""
        pipe = self._process.stdin
        try:
            print(json.dumps({"name": shard.name, "task": shard.task}), file=pipe, flush=True)
        except BrokenPipeError as error:
            raise Died(self._cause()) from error
        return self._reply()

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and close its pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            try:
                pipe.close()  # type: ignore[union-attr]
            except BrokenPipeError:  # of a line that it did not read
                continue

    def _reply(self) -> Reply:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise Died(self._cause())
        reply: Reply = json.loads(line)
        return reply

    def _cause(self) -> str:
        code = self._process.wait()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        words = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
        return ": ".join([words, *last])
