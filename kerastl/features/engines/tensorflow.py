"""The feature pass in a TensorFlow graph: for images with the weights folded in as constants, for texts with the
encoder rewritten, in bfloat16 where that is faster.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from kerastl.backbones import Large
from kerastl.devices import has_gpu
from kerastl.features.engines.engine import Engine, Model, Rows, Values
from kerastl.inputs import floats

FOLD_LIMIT = 150_000_000  # bytes of weights: folding takes many times their memory while the graph is made
COMPUTE = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
POLICY = {compute: policy for policy, compute in COMPUTE.items()}


@contextmanager
def _bfloat16_graphs() -> Iterator[None]:
    """Inside, TensorFlow rewrites CPU graphs to multiply in bfloat16. The option is global, so it is restored."""
    name = "auto_mixed_precision_onednn_bfloat16"
    before = tf.config.optimizer.get_experimental_options().get(name, False)
    tf.config.optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def make_engine(model: Model, precision: str = "float32", xla: bool = False) -> Engine:
    """The fastest graph for a backbone. precision: a Keras policy name; xla: compile the graph with XLA."""
    compute = COMPUTE[precision]
    if xla or compute == "float16" or (has_gpu() and compute != "float32"):
        twin = model if compute == "float32" else in_policy(model, precision)
        function = tf.function(call_of(twin), input_signature=[spec_of(model)], jit_compile=xla, autograph=False)
        return Engine(lambda batch: np.asarray(function(batch), np.float32), compute, "xla" if xla else "plain")
    from kerastl.features.engines.fusable import fusable  # here, because it imports KerasHub

    rewritten = fusable(model)
    function = tf.function(call_of(rewritten), input_signature=[spec_of(model)], autograph=False)
    concrete = function.get_concrete_function()
    graph = convert_variables_to_constants_v2(concrete) if folds(model) else concrete

    def run(batch: Values) -> Rows:
        if compute == "float32":
            return _rows(graph(tf.constant(batch)))
        with _bfloat16_graphs():
            return _rows(graph(tf.constant(batch)))

    return Engine(run, compute, "folded" if folds(model) else "plain" if rewritten is model else "fused")


def plain_engine(model: Model) -> Engine:
    """The Keras model unchanged, in one graph for every shape, in float32."""
    function = tf.function(call_of(model), input_signature=[spec_of(model)], autograph=False)
    return Engine(lambda batch: np.asarray(function(batch), np.float32), "float32", "plain")


def large_engine(model: Model, large: Large | None) -> Engine:
    """The engine of a large network (see `backbones.Large`), which computes in the type of its weights. For other
    networks, and where a large one fits into memory, the plain one."""
    if large is None:
        return plain_engine(model)
    if not hasattr(model, "through"):
        return replace(plain_engine(model), compute=large.compute)
    return Engine(lambda batch: next(model.through([batch])), large.compute, "streamed", model.through)


def in_policy(model: Model, policy: str) -> Model:
    """A twin of a model that computes in another Keras policy, with the same weights."""
    import keras

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # bare operations, such as those of a text's mask, have no type
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    twin = keras.models.clone_model(model, clone_function=clone, recursive=True)
    twin.set_weights(model.get_weights())
    return twin


def takes_tokens(model: Model) -> bool:
    """Whether a network takes tokens, as those for texts do, instead of pixels."""
    return bool(tf.as_dtype(model.inputs[0].dtype).is_integer)


def folds(model: Model) -> bool:
    """Whether folding a network's weights into the graph pays off. It merges convolutions with their BatchNorm. A text
    network has none: MiniLM ran no faster folded, took 9 s to fold and kept new copies of its weights."""
    size = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    return not takes_tokens(model) and size <= FOLD_LIMIT


def _rows(output: Any) -> Rows:
    """The output of a graph, which may be a list of one tensor."""
    return np.asarray(output[0] if isinstance(output, list | tuple) else output, np.float32)


def call_of(model: Model) -> Callable[[Any], Any]:
    """A function from pixels or tokens to features."""
    return lambda values: tf.cast(model(floats(values), training=False), tf.float32)


def spec_of(model: Model) -> tf.TensorSpec:
    """Of pixels for a network that takes floats, of tokens for one that takes integers."""
    dtype = model.inputs[0].dtype if takes_tokens(model) else tf.uint8
    return tf.TensorSpec([None, *model.input_shape[1:]], dtype)
