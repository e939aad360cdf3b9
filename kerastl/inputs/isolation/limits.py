"""What a worker process may use, and how it gives up what it does not need. Linux only; nothing heavy is imported."""

import ctypes
import math
import os
import platform
import resource
import signal
import struct
import time
from dataclasses import dataclass

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _SECCOMP = 1, 38, 22  # of prctl(2)
_CAPABILITIES = 0x20080522  # version 3 of capset(2)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # of seccomp(2): allow; fail with EPERM
_REFUSED = {  # by machine: its number for seccomp, and its numbers of system calls
    # socket, connect, kill, ptrace, process_vm_readv, process_vm_writev, execve, execveat, pidfd_send_signal
    "x86_64": (0xC000003E, (41, 42, 62, 101, 310, 311, 59, 322, 424)),
    "aarch64": (0xC00000B7, (198, 203, 129, 117, 270, 271, 221, 281, 424)),
}


@dataclass(frozen=True)
class Limits:
    """Of a worker. memory: bytes beyond what it takes when idle; an image of 100 megapixels takes 2 GB. cpu: seconds of
    processor time for an image, or for a batch of the rows of a table. seconds: until a worker is killed that does not
    answer and does not compute; one that computes, on a busy machine, has ten times as long."""

    memory: int = 3 * 2**30
    cpu: int = 30
    seconds: float = 60.0


def leave_network() -> bool:
    """Move this process, which must have one thread, to a network without interfaces. False where the system does not
    permit it; the other limits then still keep it from making connections."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(_NEW_NETWORK) == 0 or libc.unshare(_NEW_USER | _NEW_NETWORK) == 0


def give_up_rights() -> None:
    """Without way back: no capabilities, also for root; no new ones by starting a program; no program, socket, signal
    to another process, or look into its memory. If the process that made this one ends, this one does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.capset(struct.pack("II", _CAPABILITIES, 0), bytes(24))
    _refuse_calls(libc)


def _refuse_calls(libc: ctypes.CDLL) -> None:
    """A filter of system calls: load the machine and compare it, load the number and compare it with each."""
    machine, refused = _REFUSED.get(platform.machine(), (0, ()))
    if not refused:
        return
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    n = len(refused)
    program = [(load, 0, 0, 4), (equal, 0, n + 1, machine), (load, 0, 0, 0),
               *((equal, n - place, 0, number) for place, number in enumerate(refused)),
               (give, 0, 0, _ALLOW), (give, 0, 0, _REFUSE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc.prctl(_SECCOMP, 2, ctypes.byref(filters), 0, 0)


def limit_files() -> None:
    """From here on this process opens nothing, writes to no file and leaves no core dump."""
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))


def address_space() -> int:
    """Bytes of address space that this process has."""
    return int(_about("/proc/self/statm").split()[0]) * os.sysconf("SC_PAGE_SIZE")


def processor_ticks(pid: int) -> int:
    """Processor time that a process has used, in ticks of the system."""
    user, system = _about(f"/proc/{pid}/stat").rpartition(b")")[2].split()[11:13]
    return int(user) + int(system)


def _about(path: str) -> bytes:
    """What Linux tells about a process."""
    number = os.open(path, os.O_RDONLY)
    try:
        return os.read(number, 4096)
    finally:
        os.close(number)


def limit_memory(most: int) -> None:
    """Limit the address space."""
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def limit_cpu(seconds: float) -> None:
    """End this process when it has used so many more seconds of processor time, rounded up."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))
