"""Predictions of a spliced model, and its latency for a single row."""

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kerastl.inputs import Batch, Input, floats
from kerastl.model.assembly import parts_of

T = TypeVar("T")

WARM_UP = 3  # single rows that are not timed: the first one builds the graph


class Predictor:
    """A spliced model in one graph for batches of any size and length: Keras' own `predict` builds one for each."""

    def __init__(self, model: Any) -> None:
        import tensorflow as tf

        self._parts = parts_of(model)
        backbone = self._parts.backbone
        spec = [tf.TensorSpec(backbone.input_shape, backbone.inputs[0].dtype)]
        self._features = tf.function(lambda values: backbone(values, training=False), input_signature=spec,
                                     autograph=False)

    def __call__(self, batch: Batch) -> NDArray[np.float32]:
        """Logits of a batch of examples, [rows, outputs]. The features of a row in several pieces are averaged before
        the head."""
        return self.logits(batch, self.features(batch))

    def features(self, batch: Batch) -> NDArray[np.float32]:
        """What the head takes, [rows, ...]."""
        return batch.merged(np.asarray(self._features(floats(batch.values)), np.float32))

    def logits(self, batch: Batch, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a batch whose features are known."""
        return np.asarray(self._parts.logits(features, floats(batch.values)), np.float32)


def predict_logits(model: Any, inputs: Any, batch_size: int = 1024) -> NDArray[np.float32]:
    """A model's outputs for many inputs, batch by batch. inputs: [n, ...], or a list of such for a head that takes
    several -> [n, outputs] float32."""
    arrays = inputs if isinstance(inputs, list) else [inputs]
    outputs = []
    for i in range(0, len(arrays[0]), batch_size):
        batch = [array[i:i + batch_size] for array in arrays]
        outputs.append(np.asarray(model(batch if len(batch) > 1 else batch[0], training=False), np.float32))
    return np.concatenate(outputs) if outputs else np.zeros((0, model.output_shape[-1]), np.float32)


def timed(call: Callable[[Any], T], rows: Iterable[Any]) -> tuple[list[T], float]:
    """What `call` returns for each row, and the median number of milliseconds that one call takes in this process. It
    is the one way in which latency is measured."""
    outputs, seconds = [], []
    for row in rows:
        start = time.perf_counter()
        outputs.append(call(row))
        seconds.append(time.perf_counter() - start)
    return outputs, 1000 * median(seconds)


def single_row_latency(model: Any, source: Input, items: Sequence[Any], *,
                       features_of: Callable[[Any], Any] | None = None, warm_up: int = WARM_UP) -> float:
    """The median number of milliseconds that a model takes for a row by itself, decoded already, in this process.

    The whole model runs in one graph. items: the rows, one after another; the first `warm_up` of them are run once more
    before, untimed. features_of: for a head without its backbone, what computes the features of decoded values; its
    time counts. Raises ValueError where no item can be decoded.
    """
    import tensorflow as tf

    spec = [tf.TensorSpec(model.input_shape, model.inputs[0].dtype)]
    predict = tf.function(lambda values: model(values, training=False), input_signature=spec, autograph=False)
    values = [floats(batch.values) for batch in source.batches(items, 1, {}, in_order=True)]
    if not values:
        raise ValueError("none of the rows to time can be decoded")

    def run(row: Any) -> NDArray[np.float32]:  # as an array, so that a GPU has finished
        return np.asarray(predict(features_of(row) if features_of else row))

    for row in values[:warm_up]:
        run(row)
    return timed(run, values)[1]
