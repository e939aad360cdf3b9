"""The network's part of a model, in one graph, for any number of heads: each fold of a cross-validation has its own."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.explanation.exact import averaged_map
from kerastl.inputs import Batch, Input, floats
from kerastl.model import Parts

Array = NDArray[np.float32]


class Network:
    """parts: of the model that ships. source: what it takes."""

    def __init__(self, parts: Parts, source: Input) -> None:
        self.parts, self.source = parts, source
        self.maps = averaged_map(parts.backbone)
        network = parts.backbone if self.maps is None else self.maps
        self._run = tf.function(lambda values: tf.cast(network(floats(values), training=False), tf.float32),
                                input_signature=[source.spec], autograph=False)

    def outputs(self, values: NDArray[Any]) -> Array:
        """The maps that the network averages, [n, height, width, dim], or else its features. values: as `source`
        decodes them."""
        return np.asarray(self._run(tf.constant(values)), np.float32)

    def features(self, outputs: Array) -> Array:
        """The features of `outputs`."""
        return outputs if self.maps is None else np.asarray(tf.reduce_mean(outputs, [1, 2]))

    def logits(self, batch: Batch, *heads: Any) -> list[Array]:
        """The logits of each head for a batch, [rows, classes] each. heads: keras.Models that take this network's
        features, and the raw input if they have two inputs."""
        values = tf.constant(batch.values)
        needed = not all(map(takes_only_raw, heads))
        features = batch.merged(self.features(self.outputs(batch.values))) if needed else np.zeros(
            (len(batch.places), *(size or 1 for size in heads[0].input_shape[0][1:])), np.float32)
        return [self.head_logits(head, features, values) for head in heads]

    def head_logits(self, head: Any, features: Array, values: Any) -> Array:
        """The logits of a head. values: of the rows whose features these are."""
        raw_branch = self.parts.raw_branch if len(head.inputs) > 1 else None
        parts = Parts(self.parts.backbone, head, raw_branch)
        return np.asarray(parts.logits(features, floats(values)), np.float32)

    def plain_logits(self, plain: Any, values: NDArray[Any]) -> Array:
        """What the plain features add to the logits: [n, classes]. plain: as `exact.plain_part` returns it."""
        return np.asarray(plain(self.parts.raw_branch(floats(tf.constant(values)), training=False), training=False),
                          np.float32)


def takes_only_raw(head: Any) -> bool:
    """Whether the features have no effect on a head's logits."""
    import keras

    if len(head.inputs) < 2:
        return False
    try:
        keras.Model(head.inputs[1], head.output)
    except ValueError:  # the logits also need the features
        return False
    return True
