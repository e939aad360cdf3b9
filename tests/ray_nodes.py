"""A Ray cluster on this machine: nodes that are processes of their own, with their own resources, to be killed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

STORE_BYTES = 2**30  # of a node's object store; Ray reserves it in /dev/shm


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Nodes:
    """A head without processors, and nodes with one each."""

    def __init__(self, count: int, store_bytes: int = 100 * 2**20) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="kr-")  # sockets need a short path
        self.store_bytes = store_bytes
        self.address = f"127.0.0.1:{free_port()}"
        self.token = secrets.token_hex(32)
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.head = self._start("--head", f"--port={self.address.partition(':')[2]}", "--num-cpus=0",
                                "--include-dashboard=false", f"--temp-dir={self.folder.name}", "--disable-usage-stats")
        self.add(count)

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        for node in [*self.nodes, *([self.head] if hasattr(self, "head") else [])]:
            self.end(node)
        self.folder.cleanup()

    def add(self, count: int = 1) -> None:
        """So many more nodes."""
        for _ in range(count):
            self.nodes.append(self._start(f"--address={self.address}", "--num-cpus=1"))

    def kill_node(self, number: int) -> None:
        """End a machine: all of its processes, without notice."""
        self.end(self.nodes.pop(number))

    def end(self, node: "subprocess.Popen[bytes]") -> None:
        for pid in [node.pid, *descendants(node.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait()
        node.stdout.close()  # type: ignore[union-attr]

    def workers(self) -> list[int]:
        """The processes of kerastl's actors."""
        return [pid for node in self.nodes for pid in descendants(node.pid) if b"ray::Actor" in command(pid)]

    @property
    def variables(self) -> dict[str, str]:
        """Of a process that uses the cluster."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def _start(self, *words: str) -> "subprocess.Popen[bytes]":
        """A node, once it says that it runs."""
        program = Path(sys.executable).with_name("ray")
        node = subprocess.Popen([program, "start", "--block", "--node-ip-address=127.0.0.1",
                                 f"--object-store-memory={self.store_bytes}", *words],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                env={**os.environ, **self.variables, "RAY_USAGE_STATS_ENABLED": "0",
                                     "RAY_raylet_start_wait_time_s": "300"})
        seen = b""
        while b"--block" not in seen.rpartition(b"\n")[0]:
            line = node.stdout.readline()  # type: ignore[union-attr]
            if not line:
                self.__exit__(None, None, None)
                raise RuntimeError(f"a node did not start:\n{seen.decode()}")
            seen += line
        return node


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parent_of = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found, below = list[int](), {pid}
    while below := {child for child, parent in parent_of.items() if parent in below}:
        found += below
    return found


def command(pid: int) -> bytes:
    """The command of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
