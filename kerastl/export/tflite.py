"""LiteRT/TFLite files: decoded input in, logits and calibrated probabilities out, in four kinds of arithmetic."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.decision import Activation, Calibration, held, probabilities, tensorflow_backend
from kerastl.errors import OptionError
from kerastl.evaluation.rejection import Detector
from kerastl.export import quantize
from kerastl.export.unknown import OUTPUT, unknown_score
from kerastl.inputs import floats
from kerastl.model import parts_of
from kerastl.runtime import quiet_stderr

CALIBRATION_ROWS = 100  # from which the int8 ranges are taken


class _LiteModule(tf.Module):
    def __init__(self, model: Any, spec: tf.TensorSpec, calibration: Calibration, activation: Activation,
                 detector: Detector | None = None) -> None:
        super().__init__(name="kerastl_lite")
        self.weights = [variable.value for variable in model.variables]

        parts = parts_of(model) if detector else None

        def run(values: tf.Tensor) -> dict[str, tf.Tensor]:
            if parts is None:
                features, logits = None, tf.cast(model(floats(values), training=False), tf.float32)
            else:
                features = parts.backbone(floats(values), training=False)
                logits = tf.cast(parts.logits(features, floats(values)), tf.float32)
            p = probabilities(logits, calibration, activation, tensorflow_backend())
            outputs = {"logits": logits, "probabilities": p}
            if calibration.thresholds:  # of two classes, these sum to 1, so that one class reaches its threshold
                outputs["predicted"] = tf.cast(held(p, calibration.thresholds), tf.float32)
            if detector is not None:
                outputs[OUTPUT] = unknown_score(detector, features, logits)
            return outputs

        self.run = tf.function(run, input_signature=[spec], autograph=False)


def convert(model: Any, spec: tf.TensorSpec, calibration: Calibration, activation: Activation, kinds: Iterable[str],
            ranges: Sequence[NDArray[Any]], detector: Detector | None = None) -> Iterator[tuple[str, bytes]]:
    """The model as TFLite files: pairs of kind and content. It is converted once, and the other kinds are made from
    the float32 file. `int8` is converted anew where some operator would stay in floats, `dynamic` where LiteRT would
    not run it, and both where the quantizer does not know the graph, such as one with a loop.

    spec: what a file takes, `images` [1, size, size, 3] uint8 RGB or `tokens` [1, length] int32. It returns `logits`
    (as trained), `probabilities` (calibrated, by the task's activation) and, if the calibration has thresholds,
    `predicted` (1 for each class whose probability reaches its threshold, else 0): [1, classes] float32; with a
    detector also `unknown_score`, [1] float32, which is computed in floats in every kind. ranges: training rows as
    `spec`, from which the ranges of `int8` are taken. Raises OptionError for a model that cannot be converted.
    """
    module = _LiteModule(model, spec, calibration, activation, detector)
    float32 = _converted(module)

    def int8() -> bytes:
        content = _if_known("int8", lambda: quantize.int8(float32, spec.name, ranges, os.cpu_count() or 1))
        if content is None or quantize.float_operators(content):
            return _converted(module, "int8", spec, ranges)
        return content

    def dynamic() -> bytes:
        content = _if_known("dynamic", lambda: quantize.dynamic(float32))
        return _converted(module, "dynamic") if content is None or not quantize.runs_dynamic(content) else content

    make: dict[str, Callable[[], bytes]] = {
        "fp32": lambda: float32, "fp16": lambda: quantize.float16(float32),
        "dynamic": dynamic, "int8": int8}
    for kind in kinds:
        yield kind, make[kind]()


def _if_known(kind: str, make: Callable[[], bytes]) -> bytes | None:
    """The file, or None where the quantizer fails, which is printed."""
    try:
        return make()
    except Exception as error:  # of many types, for a graph that it does not know
        print(f"the {kind} file is made by TensorFlow's converter, because the quantizer does not know this model "
              f"({_first_line(error)})", flush=True)
        return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:200]


def _converted(module: _LiteModule, kind: str = "fp32", spec: tf.TensorSpec | None = None,
               ranges: Sequence[NDArray[Any]] = ()) -> bytes:
    """By TensorFlow's converter: the float32 file; `int8` of models with operators that the quantizer leaves in floats
    (REVERSE_V2 of ResNet50); `dynamic` of those with weights on the left of a product (DeBERTa)."""
    with tempfile.TemporaryDirectory(prefix="kerastl-") as folder, warnings.catch_warnings(), quiet_stderr():
        # int8 calibration runs TensorFlow's own interpreter, which warns that it is deprecated
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
        tf.saved_model.save(module, folder, signatures={"serving_default": module.run})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if kind != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if spec is not None:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = lambda: ({spec.name: values} for values in ranges)
            if spec.dtype == tf.uint8:  # tokens stay int32
                converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.float32
        try:
            content: bytes = converter.convert()
        except Exception as error:  # of many types
            raise OptionError(f"the model cannot be converted to TFLite, {kind} ({_first_line(error)})",
                              "a model of operations that TFLite has", "set `tflite` to none" if kind == "fp32" else
                              f"omit {kind} in `tflite`") from error
    return content


class Interpreter:
    """A TFLite file, run by LiteRT on `threads` threads."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRT

        with quiet_stderr():
            interpreter = LiteRT(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        self._runner = interpreter.get_signature_runner("serving_default")
        (self._name,) = self._runner.get_input_details()

    @property
    def signature(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Shape and type of each input and output, by name."""
        sides = {"inputs": self._runner.get_input_details(), "outputs": self._runner.get_output_details()}
        return {side: {name: {"shape": [int(size) for size in tensor["shape"]], "type": np.dtype(tensor["dtype"]).name}
                       for name, tensor in sorted(tensors.items())} for side, tensors in sides.items()}

    def __call__(self, values: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """One row's values, [1, ...], to `logits`, `probabilities` and, if there are thresholds, `predicted`, [classes]
        each; and `unknown_score`, a number."""
        return {name: value[0] for name, value in self._runner(**{self._name: values}).items()}
