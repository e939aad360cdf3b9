"""The process that makes the workers of one task: it imports what they need once, and then forks a worker in a moment.

A task is a module with two functions. `prepare()` imports what the workers need; it leaves this process without threads
that a fork would miss. `worker(client, descriptors, limits)` returns the function that answers the socket `client`
until the other side ends; it is called before the worker may open no files any more. This process ends, and its workers
with it, when its socket is closed: by the process that started it, or because that process has ended.
"""

import gc
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from kerastl.inputs.isolation.limits import (
    Limits,
    address_space,
    give_up_rights,
    leave_network,
    limit_files,
    limit_memory,
)
from kerastl.inputs.isolation.messages import FORK, NUMBER, STATUS, received
from kerastl.runtime import python

LOOKS = 1.0  # seconds between two looks at the process that started this one
MOST_FILES = 3  # that a worker is given, its socket among them
FAILED = 70  # exit code of a worker that raised an exception


def main(task: str, number: int, memory: int, cpu: int, parent: int) -> None:
    """Serve the socket of this number until it is closed. task: the name of its module. parent: the process that
    started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the process that started this one closes the socket
    leave_network()  # before NumPy starts threads
    with _ending_with(parent):
        module = import_module(task)
        module.prepare()
    gc.collect()
    gc.freeze()  # a worker that collects garbage looks at its own objects, and copies no memory of this process

    control = socket.socket(fileno=number)
    control.sendall(FORK)  # ready
    workers: set[int] = set()
    while True:
        request, numbers, _, _ = socket.recv_fds(control, 1, MOST_FILES)
        if request == FORK:
            pid = os.fork()
            if not pid:
                _as_worker(module, control, numbers, Limits(memory, cpu))
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


def _as_worker(task: ModuleType, control: socket.socket, numbers: list[int], limits: Limits) -> None:
    """Give up what the task does not need, then work until the socket is closed. Never returns."""
    code = FAILED
    try:
        control.close()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # what decoders print; a regular file would have no room
        give_up_rights()
        work = task.worker(socket.socket(fileno=numbers[0]), numbers[1:], limits)
        limit_memory(address_space() + limits.memory)
        limit_files()
        work()
        code = 0
    finally:
        os._exit(code)


def command(task: str, number: int, limits: Limits) -> list[str]:
    """What starts a forker, with the modules that this process has."""
    arguments = f"{task!r}, {number}, {limits.memory}, {limits.cpu}, {os.getpid()}"
    return python(f"from {__name__} import main; main({arguments})")
