"""The feature pass in OpenVINO, a compiler for Intel's and compatible processors (https://docs.openvino.ai). It is
imported here and nowhere else."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.errors import OptionError
from kerastl.features.engines.engine import Engine, Model, Rows, Values
from kerastl.features.engines.tensorflow import call_of, spec_of, takes_tokens

TYPES = {"float32": "f32", "bfloat16": "bf16"}
# Compiled kernels of this many shapes stay in memory: of texts, each length is a shape.
SHAPES = 64


def make_engine(model: Model, compute: str = "float32", threads: int | None = None) -> Engine:
    """An engine for a backbone. compute: float32 or bfloat16. threads: default, as many as there are cores.

    A batch is divided among requests that run side by side, each on some of the cores; that is quicker than one request
    on all of them. Raises OptionError, here or when it runs, for a network that OpenVINO cannot compute.
    """
    compiled = compile_model(model, compute, threads)
    count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
    requests = [compiled.create_infer_request() for _ in range(count)]

    def run(batch: Values) -> Rows:
        parts = np.array_split(np.ascontiguousarray(batch), max(1, min(count, len(batch))))
        used = requests[:len(parts)]
        with _explained():
            for request, part in zip(used, parts, strict=True):
                request.start_async([part], share_inputs=True)
            for request in used:
                request.wait()
            return np.concatenate([np.asarray(request.get_output_tensor(0).data, np.float32) for request in used])

    return Engine(run, compute, "fused" if takes_tokens(model) else "folded", name="openvino")


def compile_model(model: Model, compute: str, threads: int | None = None) -> Any:
    """The graph of a backbone as an `openvino.CompiledModel` for this processor. threads: see `make_engine`."""
    from kerastl.features.engines.fusable import fusable  # here, because it imports KerasHub

    model = fusable(model)
    function = tf.function(call_of(model), input_signature=[spec_of(model)], autograph=False)
    return compile_function(function.get_concrete_function(), compute, requests=True, threads=threads)


def compile_function(function: Any, compute: str, *, requests: bool = False, threads: int | None = None) -> Any:
    """A concrete function as an `openvino.CompiledModel` for this processor. requests: whether several requests will
    run side by side, each on some of the cores. threads: see `make_engine`. Raises OptionError for one that it cannot
    convert."""
    with _explained():
        openvino, core = _imported()
        return core.compile_model(
            openvino.convert_model(function), "CPU",
            {"INFERENCE_PRECISION_HINT": TYPES[compute], "PERFORMANCE_HINT": "THROUGHPUT" if requests else "LATENCY",
             "ENABLE_CPU_PINNING": False,  # the threads that decode images use the same cores
             "CPU_RUNTIME_CACHE_CAPACITY": SHAPES,
             **({"INFERENCE_NUM_THREADS": threads} if threads else {})})


@contextmanager
def _explained() -> Iterator[None]:
    """Within, an error of OpenVINO is an OptionError with its reason in one line."""
    try:
        yield
    except Exception as error:  # of any type: its converter fails in many ways
        text = str(error).strip()
        unknown = [*re.findall(r"No conversion rule found for operations: (.+)", text),
                   *re.findall(r"-- (\w+) with a message", text)]  # which one it knows, but not on such inputs
        reason = f"unknown operations: {', '.join(unknown)}" if unknown else (text or repr(error)).splitlines()[0][:200]
        raise OptionError(f"OpenVINO cannot compute this network ({reason})", "",
                          "omit `engine`, or choose another one") from error


@cache
def _imported() -> tuple[Any, Any]:
    """The package, and its one `Core`.

    The import would start telemetry, for which a missing answer counts as consent, so the module that sends it cannot
    be imported. Each `Core` gives the main thread another stack for signals, and restores the former one when it ends.
    Of two that end in the order in which they were made, the second restores the stack of the first, which is gone: the
    next signal then ends the process.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino, openvino.Core()
