"""Precision, XLA and seed: chosen with a reason, and set by a call. Importing this module sets nothing.

TensorFlow is imported inside the functions that need it, so that light commands stay fast.
"""

import importlib
import importlib.util
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from kerastl.devices import devices_for, has_gpu, limit_devices, number_of
from kerastl.errors import OptionError, expect

PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
KEPT = ("float32", "bfloat16", "int8", "int4")  # types of a large network's weights
XLA = ("auto", "on", "off")
RAY = "ray"  # an engine that says where features are computed, on a Ray cluster; in which library is chosen as by auto
ENGINES = ("auto", "tensorflow", "openvino", RAY)
LEAST_GAIN = 1.1  # of speed, for which another engine than TensorFlow is used


@dataclass(frozen=True)
class Runtime:
    """The precision of a run, and why. precision: a Keras policy name. xla: whether graphs are compiled with XLA.
    explicit_precision: whether the user requested it by name. engine: what computes features: auto, tensorflow or
    openvino. compute: the type in which features of training rows are computed, where it is not chosen but that of a
    recorded run (see `as_recorded`). workers: how many processes compute features; 0: this one; with `ray`, how many
    workers of a Ray cluster; 0: one on each of its machines. devices: the names of two or more GPUs that share the
    work; empty for one or none, where TensorFlow places everything itself."""

    precision: str
    precision_reason: str
    xla: bool
    xla_reason: str
    seed: int
    explicit_precision: bool
    engine: str = "auto"
    compute: str | None = None
    workers: int = 0
    ray: bool = False
    devices: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether workers compute features, and not this process."""
        return self.ray or self.workers > 0


_RECORDED: ContextVar[Runtime | None] = ContextVar("recorded", default=None)


@contextmanager
def as_recorded(runtime: Runtime) -> Iterator[None]:
    """Within, `apply` chooses nothing: it returns this runtime, that of a run which is run again, with its own seed."""
    token = _RECORDED.set(runtime)
    try:
        yield
    finally:
        _RECORDED.reset(token)


@cache
def cpu_flags() -> frozenset[str]:
    """The names of the CPU's instruction sets, as Linux lists them; empty on other systems."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    lines = (line.partition(":")[2] for line in info.read_text().splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; without them, bfloat16 is slower than float32."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def has_openvino() -> bool:
    """Whether the package `openvino` is there. It has no wheels for some platforms."""
    return _has("openvino")


def _has(package: str) -> bool:
    """A folder of that name in the current folder is no package."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def require_openvino() -> None:
    """Raises OptionError where the package `openvino` is not installed."""
    if not has_openvino():
        raise OptionError("the package openvino is not installed", "", "run `pip install openvino`, or omit `engine`")


def require_ray() -> None:
    """Raises OptionError where the package `ray` is not installed."""
    if not _has(RAY):
        raise OptionError("`engine` is ray, but the package ray is not installed", "",
                          "run `pip install kerastl[ray]`, or set `workers` for processes on this machine")


def choose(precision: str = "auto", xla: str = "auto", seed: int = 0, engine: str = "auto", workers: int = 0, *,
           gpu: bool, bfloat16_cpu: bool) -> Runtime:
    """Resolve `auto`: a 16-bit type where the hardware supports one, XLA where it was measured to help. It does not on
    a CPU: it slows convolutions down, and compiling takes 10 s for each length of texts. A pure function of its
    arguments, so that the choice for a GPU is tested without one.

    Raises OptionError for an unknown value, for the engine OpenVINO with XLA or float16, and where the engine is not
    installed.
    """
    if workers < 0:
        raise OptionError(f"`workers` must be at least 0 (got {workers})")
    for value, known, name in ((precision, PRECISIONS, "precision"), (xla, XLA, "xla"), (engine, ENGINES, "engine")):
        if value not in known:
            raise OptionError(f"`{name}` is {value!r}", f"one of {', '.join(known)}", "auto is the default")
    ray = engine == RAY
    if ray:
        require_ray()
        engine = "auto"
    if engine == "openvino":
        _check_openvino(precision, xla)
        gpu = False  # it computes on the processor
    policy, reason = precision, "as requested"
    if precision == "auto":
        if gpu:
            policy, reason = "mixed_float16", "a GPU is available"
        elif bfloat16_cpu:
            policy, reason = "mixed_bfloat16", "the CPU supports bfloat16"
        else:
            policy, reason = "float32", "the CPU does not support bfloat16"
    if xla == "auto":
        return Runtime(policy, reason, gpu, "a GPU is available" if gpu else "XLA does not pay off on CPU", seed,
                       precision != "auto", engine, None, workers, ray)
    return Runtime(policy, reason, xla == "on", "as requested", seed, precision != "auto", engine, None, workers, ray)


def _check_openvino(precision: str, xla: str) -> None:
    for wrong, name, value in ((xla == "on", "xla", xla), (precision == "mixed_float16", "precision", precision)):
        if wrong:
            raise OptionError(f"`engine` is openvino and `{name}` is {value}", "only one of the two",
                              f"omit `{name}`, or set `engine` to tensorflow")
    require_openvino()


def apply(precision: str = "auto", xla: str = "auto", seed: int = 0, engine: str = "auto", workers: int = 0,
          devices: int | str = "auto") -> Runtime:
    """Choose for this machine, seed every generator, and return the choice. The Keras policy stays float32: what is
    exported is float32, and training sets its own policy where it runs. precision: also one of `KEPT`, the type of a
    large network's weights (see `backbones.load`); everything else is then `auto`. engine: `auto`, `tensorflow` or
    `openvino`, which computes features; or `ray`, for a Ray cluster. workers: how many processes compute features; 0:
    this one, or with `ray` one on each machine. devices: `auto`, all GPUs that TensorFlow sees; a number of them; or
    `cpu`, none, which must be said before TensorFlow starts. Two or more GPUs share the feature pass and fine-tuning.
    Inside `as_recorded`, the runtime of that run is returned instead, on at most as many GPUs as it had.

    Raises OptionError for what `choose` refuses, for more GPUs than there are, and for several with workers.
    """
    import keras

    expect(int, "an integer", seed=seed, workers=workers)
    if (number_of(devices) or 0) > 1 and (workers or engine == RAY):
        raise OptionError(f"`devices` is {devices}, and workers compute the features", "only one of the two",
                          "omit `workers` and the engine ray, or set `devices` to auto, cpu or 1")
    precision = "auto" if precision in KEPT[1:] else precision
    if (recorded := _RECORDED.get()) is not None:
        number = len(recorded.devices) or 1
        here = devices_for("cpu" if number_of(devices) == 0 else "auto")[:number]
        chosen = replace(recorded, seed=seed, workers=workers, ray=engine == RAY, devices=here if len(here) > 1 else ())
    else:
        shared = devices_for(devices)  # before it is asked for a GPU
        chosen = replace(choose(precision, xla, seed, engine, workers, gpu=has_gpu(), bfloat16_cpu=cpu_has_bfloat16()),
                         devices=shared)
    random.seed(seed)
    keras.utils.set_random_seed(seed)
    return chosen


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras layers made inside compute in the policy `name`; the previous policy is restored afterwards."""
    import keras

    before = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what native code prints to standard error; if the block fails, it is printed after all, unless it was only
    interrupted."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 2)
        try:
            yield
        except KeyboardInterrupt:  # which nothing in the output explains
            raise
        except BaseException:
            os.dup2(terminal, 2)
            output.seek(0)
            os.write(2, output.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


@contextmanager
def without_keras() -> Iterator[None]:
    """Within, importing TensorFlow or TF.Text does not import Keras, which takes a third of the time, with scikit-learn
    and much of SciPy. TensorFlow imports it only to register its optimizers, and passes over an ImportError; TF.Text
    for layers that nothing here uses. Whatever needs Keras imports it afterwards, whole."""
    layers, optimizers = "tensorflow_text.python.keras", "keras.src.optimizers"
    if "keras" in sys.modules:
        yield
        return
    text_first = "tensorflow_text" not in sys.modules
    if text_first:
        sys.modules[layers] = ModuleType(layers)
    sys.modules[optimizers] = None  # type: ignore[assignment]  # Python's way to say that there is no such module
    try:
        yield
    finally:
        del sys.modules[optimizers]
        if text_first:
            del sys.modules[layers]
            if "tensorflow_text" in sys.modules:
                _import_when_used(sys.modules["tensorflow_text"], "keras", layers)


def _import_when_used(package: ModuleType, name: str, module: str) -> None:
    """Make an attribute of a package a module that is imported when it is first used."""
    def attribute(wanted: str) -> ModuleType:
        if wanted != name:
            raise AttributeError(f"module {package.__name__!r} has no attribute {wanted!r}")
        setattr(package, name, importlib.import_module(module))
        found: ModuleType = vars(package)[name]
        return found

    vars(package).pop(name, None)
    vars(package)["__getattr__"] = attribute


def import_tensorflow_quietly(devices: int | str = "auto") -> None:
    """Import TensorFlow without its start-up messages, which none of its settings turns off, and without Keras. It
    starts here, so that `devices` is settled."""
    number_of(devices)  # an error is printed alone
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr(), without_keras():
        import tensorflow as tf

        limit_devices(devices)
        tf.constant(0)  # the first operation prints messages of its own


def free_memory() -> int:
    """Bytes of memory that can be allocated without swapping, within the container's limit. Where the system does not
    report free memory, half of all memory; where it does not report that either, 4 GiB."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min([int(line.split()[1]) * 1024, *container_memory()])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # macOS
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def container_memory(group: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that are left of the container's limit, counting file pages that can be dropped as free; empty without a
    limit. group: the cgroup's folder."""
    limit, used, details = group / "memory.max", group / "memory.current", group / "memory.stat"
    if not (limit.exists() and used.exists() and details.exists()) or limit.read_text().strip() == "max":
        return []
    pages = dict(line.split() for line in details.read_text().splitlines())
    return [max(0, int(limit.read_text()) - int(used.read_text()) + int(pages.get("inactive_file", 0)))]


def available_cores() -> int:
    """The cores that this process may use, which libraries start as many threads for."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int | bool]:
    """The machine that a figure was measured on: CPU, cores, bfloat16, Python and platform."""
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


def python(code: str) -> list[str]:
    """The command that runs code in another process of this Python, with the modules that this process has. `-m` and
    `-c` alone would look for modules in the current folder first, where the data may be."""
    path = [str(Path(place).absolute()) for place in sys.path if isinstance(place, str)]
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}"]


class Stopwatch:
    """Seconds since it was created, for a recipe's record."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start
