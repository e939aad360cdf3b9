"""Precision, XLA, seed and threads: chosen with a reason, and set by a call. Importing this sets nothing.

TensorFlow is imported inside the functions that need it, so that reading the flags stays quick.
"""

import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kerastl.errors import OptionError

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
KEPT = ("float32", "bfloat16", "int8", "int4")  # what a large network's weights are kept in
XLA = ("auto", "on", "off")


@dataclass(frozen=True)
class Runtime:
    """What a run computes in, and why. `precision` is a Keras policy name, `xla` is whether graphs are compiled."""

    precision: str
    precision_reason: str
    xla: bool
    xla_reason: str
    seed: int
    explicit_precision: bool  # asked for by name, not chosen by us


@cache
def cpu_flags() -> frozenset[str]:
    """Names of the processor's instruction sets, as Linux lists them; empty where it does not."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    lines = (line.partition(":")[2] for line in info.read_text().splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, bfloat16 is slower than float32."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def choose(precision: str = "auto", xla: str = "auto", seed: int = 0, *, gpu: bool, bfloat16_cpu: bool) -> Runtime:
    """Settle `auto`: bfloat16 where the hardware multiplies it, XLA where it was measured to help. On a CPU that is
    nowhere: it slows convolutions, and each length of texts costs 10 s to compile. A pure function of its arguments, so
    that the choice for a GPU is tested without one.

    Raises OptionError for an unknown value.
    """
    for value, known, flag in ((precision, PRECISIONS, "--precision"), (xla, XLA, "--xla")):
        if value not in known:
            raise OptionError(f"{flag} {value}", f"one of {', '.join(known)}", f"leave {flag} out for auto")
    policy, reason = precision, "asked for"
    if precision == "auto":
        if gpu:
            policy, reason = "mixed_float16", "a GPU is present"
        elif bfloat16_cpu:
            policy, reason = "mixed_bfloat16", "the processor multiplies bfloat16"
        else:
            policy, reason = "float32", "no hardware here multiplies a shorter type"
    if xla == "auto":
        return Runtime(policy, reason, gpu, "a GPU is present" if gpu else "on a CPU it gains less than it costs", seed,
                       precision != "auto")
    return Runtime(policy, reason, xla == "on", "asked for", seed, precision != "auto")


def apply(precision: str = "auto", xla: str = "auto", seed: int = 0) -> Runtime:
    """Choose for this machine, seed every generator, and return what was chosen. The Keras policy stays float32:
    what is exported is float32, and training sets its own policy where it runs. precision: also one of `KEPT`, which
    says how a large network keeps its weights (see `backbones.load`), and leaves all else to `auto`."""
    import keras

    precision = "auto" if precision in KEPT[1:] else precision
    chosen = choose(precision, xla, seed, gpu=has_gpu(), bfloat16_cpu=cpu_has_bfloat16())
    random.seed(seed)
    keras.utils.set_random_seed(seed)
    return chosen


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras layers made inside compute in policy `name`; the policy of before comes back after."""
    import keras

    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what native code prints to standard error off the terminal; if the block fails, it is printed after all."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            said.seek(0)
            os.write(2, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without its start-up notes, which no setting of its own turns off."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

        tf.constant(0)  # the first operation has notes of its own


def free_memory() -> int:
    """Bytes of memory that can be had without swapping, and within a container's limit. Where the system does not say
    how much is free, half of what there is; 4 GiB where it does not say that."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min([int(line.split()[1]) * 1024, *container_memory()])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def container_memory(group: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that a container's limit leaves, file pages that it can drop not counted; empty without a limit."""
    limit, used, parts = group / "memory.max", group / "memory.current", group / "memory.stat"
    if not (limit.exists() and used.exists() and parts.exists()) or limit.read_text().strip() == "max":
        return []
    pages = dict(line.split() for line in parts.read_text().splitlines())
    return [max(0, int(limit.read_text()) - int(used.read_text()) + int(pages.get("inactive_file", 0)))]


def machine() -> dict[str, str | int | bool]:
    """The machine a figure came from: processor, cores, bfloat16, Python and platform."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count() or 1,
        "bfloat16": cpu_has_bfloat16(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "system": platform.system(),
    }


class Stopwatch:
    """Seconds since it was made, for a recipe's own record."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start
