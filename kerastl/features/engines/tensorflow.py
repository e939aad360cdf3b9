"""The feature pass's graph: of images with the weights folded in as constants, in bfloat16 where that is quick.

The first batch is compared with the plain Keras model; where they differ, the plain graph is used, and said.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerastl.backbones import Large
from kerastl.inputs import floats

Values = NDArray[Any]  # [batch, size, size, 3] uint8, or [batch, length] int32
Rows = NDArray[np.float32]  # [batch, dim], or maps or token states

FOLD_LIMIT = 150_000_000  # bytes of weights: folded ones take many times their memory when the graph is made
LEAST_COSINE = 0.999
COMPUTE = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


@dataclass(frozen=True)
class Engine:
    """A graph for the pass. `run` takes pixels or tokens, [batch, ...], and gives [batch, dim] float32."""

    run: Callable[[Values], Rows]
    compute: str  # float32 | bfloat16 | float16; of a large network also what its weights are kept in
    graph: str  # folded | xla | plain | streamed
    stream: Callable[[Iterable[Values]], Iterator[Rows]] | None = None

    def through(self, values: Iterable[Values]) -> Iterator[Rows]:
        """Batch after batch; a streamed network takes many at a time."""
        return self.stream(values) if self.stream else map(self.run, values)


@contextmanager
def _bfloat16_graphs() -> Iterator[None]:
    """Within: TensorFlow rewrites CPU graphs to multiply in bfloat16. The option is global, so it is put back."""
    name = "auto_mixed_precision_onednn_bfloat16"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def make_engine(model: Any, precision: str = "float32", xla: bool = False) -> Engine:
    """The quickest graph for a backbone. precision: a Keras policy name; xla: compile the graph with XLA.

    model: as `backbones.Network` says.
    """
    compute = COMPUTE[precision]
    gpu = bool(tf.config.list_physical_devices("GPU"))
    if xla or compute == "float16" or (gpu and compute != "float32"):
        twin = model if compute == "float32" else in_policy(model, precision)
        function = tf.function(_call(twin), input_signature=[_spec(model)], jit_compile=xla, autograph=False)
        return Engine(lambda batch: np.asarray(function(batch), np.float32), compute, "xla" if xla else "plain")
    function = tf.function(_call(model), input_signature=[_spec(model)], autograph=False).get_concrete_function()
    graph = convert_variables_to_constants_v2(function) if folds(model) else function

    def run(batch: Values) -> Rows:
        if compute == "float32":
            return _rows(graph(tf.constant(batch)))
        with _bfloat16_graphs():
            return _rows(graph(tf.constant(batch)))

    return Engine(run, compute, "folded" if folds(model) else "plain")


def plain_engine(model: Any) -> Engine:
    """The Keras model as it is, in one graph for every shape, float32."""
    function = tf.function(_call(model), input_signature=[_spec(model)], autograph=False)
    return Engine(lambda batch: np.asarray(function(batch), np.float32), "float32", "plain")


def large_engine(model: Any, large: Large | None) -> Engine:
    """Of a large network (see `backbones.Large`), which computes as its weights are kept; of one that is not, where
    there is memory for it whole, the plain one."""
    if large is None:
        return plain_engine(model)
    if not hasattr(model, "through"):
        return replace(plain_engine(model), compute=large.compute)
    return Engine(lambda batch: next(model.through([batch])), large.compute, "streamed", model.through)


def _rows(answer: Any) -> Rows:
    """What a graph gave, which may come in a list of one."""
    return np.asarray(answer[0] if isinstance(answer, list | tuple) else answer, np.float32)


def checked_engine(model: Any, first: Values, precision: str, xla: bool) -> tuple[Engine, str]:
    """`make_engine`, checked on a first batch against the plain model; with a word on how it went.

    Where a row's cosine is under 0.999 the folded float32 graph is tried, then the plain model, and the word says so.
    """
    plain = plain_engine(model)
    wanted = plain.run(first)
    trouble = ""
    for one in dict.fromkeys([(precision, xla), ("float32", False)]):
        engine = make_engine(model, *one)
        if engine.graph == "plain" and engine.compute == "float32":
            break
        worst = least_cosine(engine.run(first), wanted)
        if worst >= LEAST_COSINE:
            return engine, f"{engine.graph} graph, cosine to the plain Keras model >= {worst:.5f}{trouble}"
        trouble += f"; the {engine.graph} graph in {engine.compute} was off (cosine {worst:.5f}) and is not used"
    return plain, "the plain Keras model" + trouble


def speed_ratio(model: Any, first: Values, runs: int = 3) -> float:
    """How many times as fast the bfloat16 graph runs here as the float32 one: the best of a few runs of each.

    A processor may list bfloat16 instructions and still gain nothing by them, so this is measured, not looked up."""
    best = {}
    for precision in ("float32", "mixed_bfloat16"):
        engine = make_engine(model, precision)
        engine.run(first)  # compiles
        took = []
        for _ in range(runs):
            start = time.perf_counter()
            engine.run(first)
            took.append(time.perf_counter() - start)
        best[precision] = min(took)
    return best["float32"] / best["mixed_bfloat16"]


def least_cosine(a: Rows, b: Rows) -> float:
    """The smallest cosine between rows of the same place; 1 where both are zero, 0 where a number is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    same = np.where(norms > 0, (x * y).sum(axis=1) / np.where(norms > 0, norms, 1), (x == y).all(axis=1))
    return float(same.min())


def in_policy(model: Any, policy: str) -> Any:
    """A twin of a model that computes in another Keras policy, with the same weights."""
    import keras

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # bare operations, as of a text's mask, have no type of their own
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    twin = keras.models.clone_model(model, clone_function=clone, recursive=True)
    twin.set_weights(model.get_weights())
    return twin


def _call(model: Any) -> Callable[[Any], Any]:
    return lambda values: tf.cast(model(floats(values), training=False), tf.float32)


def _spec(model: Any) -> tf.TensorSpec:
    """Of pixels for a network that takes floats, of tokens for one that takes integers."""
    dtype = tf.as_dtype(model.inputs[0].dtype)
    return tf.TensorSpec([None, *model.input_shape[1:]], dtype if dtype.is_integer else tf.uint8)


def folds(model: Any) -> bool:
    """Whether folding a network's weights into the graph pays. It merges convolutions with their BatchNorm. A text
    network has none: MiniLM ran no quicker folded, took 9 s to fold and kept new copies of its weights."""
    return not tf.as_dtype(model.inputs[0].dtype).is_integer and _bytes(model) <= FOLD_LIMIT


def _bytes(model: Any) -> int:
    return sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
