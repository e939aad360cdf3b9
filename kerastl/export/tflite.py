"""LiteRT/TFLite files: pixels or tokens in, logits and calibrated probabilities out, in four kinds of arithmetic."""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import OptionError
from kerastl.inputs import floats
from kerastl.runtime import quiet_stderr

KINDS = ("fp32", "fp16", "dynamic", "int8")
# Of BERT and its kin full int8 keeps too little: real MiniLM's features have a cosine of 0.3 to the true ones.
USUAL = {"image": KINDS, "text": KINDS[:3]}
CALIBRATION = 100  # rows that the int8 ranges are taken from


def parse_kinds(text: str, kind: str = "image") -> tuple[str, ...]:
    """`fp32,int8` to its kinds; `all` stands for those that serve a model of `kind`, image or text; `none` for none.

    Raises OptionError for others.
    """
    if text in ("all", "none", ""):
        return USUAL[kind] if text == "all" else ()
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        raise OptionError(f"--tflite {text}: unknown kind {wrong[0]!r}", f"some of {', '.join(KINDS)}, or none",
                          "separate them by commas")
    return kinds


class _Lite(tf.Module):
    def __init__(self, model: Any, one: tf.TensorSpec, temperature: float, multi_label: bool) -> None:
        super().__init__(name="kerastl_lite")
        self.weights = [variable.value for variable in model.variables]

        def run(values: tf.Tensor) -> dict[str, tf.Tensor]:
            logits = tf.cast(model(floats(values), training=False), tf.float32)
            scaled = logits / temperature
            return {"logits": logits, "probabilities": tf.sigmoid(scaled) if multi_label else tf.nn.softmax(scaled)}

        self.run = tf.function(run, input_signature=[one], autograph=False)


def convert(model: Any, one: tf.TensorSpec, temperature: float, multi_label: bool, kinds: Iterable[str],
            calibration: Sequence[NDArray[Any]]) -> Iterator[tuple[str, bytes]]:
    """The model as TFLite files: pairs of kind and content.

    one: what a file takes, `images` [1, size, size, 3] uint8 RGB or `tokens` [1, length] int32. Outputs `logits` (as
    trained) and `probabilities` (calibrated): [1, classes] float32. calibration: training rows' values as `one`, for
    the ranges of `int8`.
    """
    with tempfile.TemporaryDirectory(prefix="kerastl-") as folder:
        lite = _Lite(model, one, temperature, multi_label)
        tf.saved_model.save(lite, folder, signatures={"serving_default": lite.run})
        for kind in kinds:
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
            if kind != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            if kind == "int8":
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.representative_dataset = lambda: ({one.name: values} for values in calibration)
                if one.dtype == tf.uint8:  # tokens stay int32
                    converter.inference_input_type = tf.uint8
                converter.inference_output_type = tf.float32
            with warnings.catch_warnings(), quiet_stderr():
                # int8 calibration runs TensorFlow's own interpreter, which says that it is deprecated
                warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is deprecated")
                content = converter.convert()
            yield kind, content


class Interpreter:
    """A TFLite file, run by LiteRT on as many threads as asked for."""

    def __init__(self, content: bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRT

        with quiet_stderr():
            interpreter = LiteRT(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
        self._runner = interpreter.get_signature_runner("serving_default")
        (self._name,) = self._runner.get_input_details()

    def __call__(self, values: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """One row's values, [1, ...], to `logits` and `probabilities`, [classes] each."""
        return {name: value[0] for name, value in self._runner(**{self._name: values}).items()}
