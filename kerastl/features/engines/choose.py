"""Which engine computes a pass, and in which arithmetic: measured on this machine, remembered, and checked."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from kerastl.backbones import Backbone
from kerastl.devices import has_gpu
from kerastl.errors import CheckFailed, OptionError
from kerastl.features.engines.check import check, engine_of
from kerastl.features.engines.engine import TITLES, Arithmetic, Engine, Values
from kerastl.features.engines.tensorflow import COMPUTE, plain_engine
from kerastl.files import cache_folder, is_writable, read_bytes, write_atomically
from kerastl.runtime import LEAST_GAIN, Runtime, has_openvino, machine

SPEED_FILE = "speed", "engines.json"  # folder in the cache directory, file
SHORT = 10.0  # seconds: a pass that is expected to take less is not worth compiling for
BUDGET = 5.0  # seconds spent on measuring,
FRACTION = 0.03  # or this part of the pass, where that is more
ROUNDS = 3
GRAPHS = 2  # to be raised when an engine's graph changes, so that speeds are measured again

Speeds = dict[str, float]  # of each arithmetic: rows per second


def allowed(runtime: Runtime, all_held_out: bool) -> tuple[tuple[Arithmetic, ...], str]:
    """The arithmetics that a pass may use, the first choice first; and the reason for their types. all_held_out:
    whether every row is held out once, as in cross-validation; then rows are computed in float32, as the exported model
    computes, unless the precision was requested by name. A recorded run that is run again uses its own arithmetic."""
    compute, reason = COMPUTE[runtime.precision], ""
    types: tuple[str, ...]
    if runtime.compute is not None:
        return (Arithmetic(runtime.compute, runtime.engine),), f"{runtime.compute}, as recorded"
    if runtime.explicit_precision or compute != "bfloat16":
        types, reason = (compute,), f"{compute}: {runtime.precision_reason}"
    elif all_held_out:
        types, reason = ("float32",), "float32, to match the exported model"
    else:
        types = ("float32", "bfloat16")
    return tuple(Arithmetic(kind, engine) for engine in _engines(runtime, types) for kind in types), reason


def _engines(runtime: Runtime, types: Sequence[str]) -> tuple[str, ...]:
    """OpenVINO is for processors, and compiles by itself."""
    fits = has_openvino() and not runtime.xla and "float16" not in types
    if runtime.engine == "auto":
        return ("tensorflow", "openvino") if fits and not has_gpu() else ("tensorflow",)
    return (runtime.engine,)


@dataclass(frozen=True)
class Choice:
    """An engine, checked, and why it was chosen, in words."""

    engine: Engine
    reason: str


def choose_engine(backbone: Backbone, batch: Values, candidates: Sequence[Arithmetic], rows: int, runtime: Runtime,
                  cache_dir: Path) -> Choice:
    """The engine for a pass of `rows` rows, of which `batch` is the first part.

    The first candidate computes a short pass. For a longer one, the candidates are measured on a quarter of the batch,
    once for each machine, backbone and version of the packages, and another one is chosen if it is faster by more than
    a tenth. The chosen one is checked on the whole batch against the plain Keras model; where it is inaccurate, the
    next one is tried, and the plain model last. Raises CheckFailed where the user requested an engine by name and
    nothing that it computes is accurate.
    """
    plain = plain_engine(backbone.model)
    expected = plain.run(batch)
    order, reason, rejected = [candidates[0]], "", ""
    if len(candidates) > 1:
        part = _quarter(batch)
        seconds = rows / len(part) * min(_seconds(plain, part) for _ in range(2))
        order, reason, rejected = _by_speed(backbone, batch, candidates, seconds, cache_dir)
    engines = dict.fromkeys(candidate.engine for candidate in candidates)
    for arithmetic in dict.fromkeys([*order, *(Arithmetic("float32", name) for name in engines)]):
        try:
            engine = engine_of(backbone.model, arithmetic, runtime.xla and arithmetic == order[0])
            if engine.graph == "plain" and engine.compute == "float32":
                break
            accurate, nearness = check(engine, batch, expected)
        except OptionError as error:  # it was not measured, or does not fit into memory now
            if runtime.engine == arithmetic.engine:
                raise
            rejected += f"; {error.got}" * (error.got not in rejected)
            continue
        if accurate:
            return Choice(engine, "; ".join(filter(None, [reason, f"{_graph(engine)}, {nearness}"])) + rejected)
        rejected += f"; {_the_graph(engine)} in {engine.compute} is not used because it is inaccurate ({nearness})"
        reason = ""
    if runtime.engine == "openvino":
        raise CheckFailed(f"the features that OpenVINO computes differ from Keras'{rejected}", "equal features but for "
                          "rounding", "set `engine` to tensorflow")
    return Choice(plain, "; ".join(filter(None, [reason, "the plain Keras model"])) + rejected)


def _graph(engine: Engine) -> str:
    return f"{engine.graph} graph" if engine.name == "tensorflow" else f"{TITLES[engine.name]}'s {engine.graph} graph"


def _the_graph(engine: Engine) -> str:
    return f"the {_graph(engine)}" if engine.name == "tensorflow" else _graph(engine)


def _by_speed(backbone: Backbone, batch: Values, candidates: Sequence[Arithmetic], seconds: float, cache_dir: Path
              ) -> tuple[list[Arithmetic], str, str]:
    """The candidates in the order in which they are tried, the reason, and which engines cannot compute the network.
    seconds: that the pass would take. Raises OptionError where none of them can."""
    first, others, failed = candidates[0], "", dict[str, OptionError]()
    if seconds < SHORT:
        return [first], f"{first}: the pass is too short to measure others", ""
    key = _key(backbone, batch)
    speeds = _read(cache_dir).get(key, {})
    unknown = [candidate for candidate in candidates if str(candidate) not in speeds]
    if unknown:
        measured, failed = _measured(backbone, batch, unknown, max(BUDGET, FRACTION * seconds))
        speeds |= measured
        _remember(key, speeds, cache_dir)
    known = [candidate for candidate in candidates if str(candidate) in speeds]
    if not known:
        raise failed[first.engine]
    if any(str(candidate) not in speeds and candidate.engine not in failed for candidate in candidates):
        others = ", the others were not measured for lack of time"
    fastest = max(known, key=lambda candidate: speeds[str(candidate)])
    if speeds[str(fastest)] < LEAST_GAIN * speeds[str(first)]:
        fastest = first
    ranked = sorted(known, key=lambda candidate: -speeds[str(candidate)])
    rates = ", ".join(f"{candidate} {speeds[str(candidate)]:.1f}" for candidate in known)
    return ([fastest, *ranked], f"{fastest}, chosen by rows per second on this machine ({rates}{others})",
            "".join(f"; {error.got}" for error in failed.values()))


def _measured(backbone: Backbone, batch: Values, candidates: Sequence[Arithmetic], budget: float
              ) -> tuple[Speeds, dict[str, OptionError]]:
    """Rows per second of the candidates, as many as the budget, in seconds, allows; of the first one at least. They run
    in turn, so that other work on the machine slows all of them down. Also why engines cannot compute the network."""
    start, part, engines = time.perf_counter(), _quarter(batch), dict[str, Engine]()
    failed: dict[str, OptionError] = {}
    for candidate in candidates:
        spent = time.perf_counter() - start
        if engines and spent + spent / len(engines) > budget:
            break
        if candidate.engine in failed:
            continue
        try:
            engine = engine_of(backbone.model, candidate)
            engine.run(part)  # compiles
            engines[str(candidate)] = engine
        except OptionError as error:
            failed[candidate.engine] = error
    took: dict[str, float] = dict.fromkeys(engines, float("inf"))
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            took[name] = min(took[name], _seconds(engine, part))
    return {name: len(part) / seconds for name, seconds in took.items()}, failed


def _seconds(engine: Engine, part: Values) -> float:
    start = time.perf_counter()
    engine.run(part)
    return time.perf_counter() - start


def _quarter(batch: Values) -> Values:
    return batch[:max(1, len(batch) // 4)]


def _key(backbone: Backbone, batch: Values) -> str:
    """What the speeds depend on. The first batch has the longest texts. A file of the user's may change."""
    here = machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "openvino") if name != "openvino"
                         or has_openvino())
    network = f"{backbone.name} {backbone.spec.file_sha256[:8]}".strip()
    shape = " x ".join(map(str, batch.shape[1:]))
    return (f"{here['processor']}, {here['cores']} cores, {packages}, graphs {GRAPHS}, {network}, {backbone.layer}, "
            f"{shape}")


def _remember(key: str, speeds: Speeds, cache_dir: Path) -> None:
    if is_writable(cache_dir / SPEED_FILE[0]):
        path = cache_folder(cache_dir, SPEED_FILE[0]) / SPEED_FILE[1]
        write_atomically(path, json.dumps(_read(cache_dir, warn=False) | {key: speeds}, indent=1))


def _read(cache_dir: Path, *, warn: bool = True) -> dict[str, Speeds]:
    """The speeds that are known, by key. A file that is damaged is replaced when speeds are measured again. warn:
    whether that is printed."""
    path = cache_dir / SPEED_FILE[0] / SPEED_FILE[1]
    if not path.exists():
        return {}
    try:
        known: dict[str, Speeds] = json.loads(read_bytes(path))
        whole = all(math.isfinite(speed) and speed > 0 for speeds in known.values() for speed in speeds.values())
    except (ValueError, TypeError, AttributeError):  # no JSON, or of another form
        whole = False
    if not whole and warn:
        print(f"{path} is damaged: the speeds of engines are measured again", flush=True)
    return known if whole else {}
