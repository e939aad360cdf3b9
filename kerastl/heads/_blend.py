"""Layers of the `blend` head. Importing this registers them, so that Keras can load a model that has them."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

LEARNED = ("learned", "channel")
BUCKETS = 2**16  # that token numbers and pairs of them are hashed to
FIRST, SECOND = 7919, 5939  # primes; with 250,000 tokens, as the largest vocabularies have, products stay below 2^31
LENGTH = 10.0  # of a text's row of weights: about that of standardised features, which it is added to


@keras.saving.register_keras_serializable("kerastl")
class Standard(keras.layers.Layer):
    """Features less the training rows' mean, over their scale; until these are set, the features as they are, to the
    bit. [batch, dim] -> [batch, dim]."""

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        self.centre = self.add_weight(name="centre", shape=shape[-1:], initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones", trainable=False)

    def call(self, features: Any) -> Any:
        """Called by Keras."""
        return (features - self.centre) / self.scale


@keras.saving.register_keras_serializable("kerastl")
class Mix(keras.layers.Layer):
    """theta * flow + lambda * side, both [batch, dim]. how: `fixed` and `scheduled` numbers; `learned`, twice a sigmoid
    of a weight, so in (0, 2); `channel`, one such a channel."""

    def __init__(self, how: str, theta: float, side: float, **more: Any) -> None:
        super().__init__(**more)
        self.how, self.start = how, (theta, side)

    def build(self, shapes: Any) -> None:
        """Called by Keras."""
        shape = tuple(shapes[0][-1:]) if self.how == "channel" else ()
        learned = self.how in LEARNED
        first = [float(np.log(value / (2 - value))) if learned else value for value in self.start]
        self.theta, self.side = (
            self.add_weight(name=name, shape=shape, initializer=keras.initializers.Constant(value), trainable=learned)
            for name, value in zip(("theta", "lambda"), first, strict=True))

    def shares(self) -> tuple[Any, Any]:
        """theta and lambda: numbers, or [dim]."""
        if self.how in LEARNED:
            return 2 * ops.sigmoid(self.theta), 2 * ops.sigmoid(self.side)
        return ops.convert_to_tensor(self.theta), ops.convert_to_tensor(self.side)

    def call(self, given: Any) -> Any:
        """Called by Keras."""
        flow, side = given
        theta, share = self.shares()
        return theta * flow + share * side

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), "how": self.how, "theta": self.start[0], "side": self.start[1]}


@keras.saving.register_keras_serializable("kerastl")
class Ngrams(keras.layers.Layer):
    """Tokens and pairs of neighbours, hashed, each with its inverse document frequency, the row divided by its length:
    a linear map of hashed TF-IDF. tokens: [batch, length] int32, 0 where there is padding -> [batch, width].

    What the training rows never had weighs nothing. A row's length is taken over occurrences, which holds down those
    that are repeated."""

    def __init__(self, width: int, **more: Any) -> None:
        super().__init__(**more)
        self.width = width

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        self.idf = self.add_weight(name="idf", shape=(BUCKETS,), initializer="ones", trainable=False)
        self.table = self.add_weight(name="table", shape=(BUCKETS, self.width), initializer="zeros")

    def numbers(self, tokens: Any) -> tuple[Any, Any]:
        """Each occurrence's bucket, and whether it is one and not padding: [batch, 2 x length] each."""
        tokens = ops.cast(tokens, "int32")
        following = ops.concatenate([tokens[:, 1:], ops.zeros_like(tokens[:, :1])], axis=1)
        alone = tokens * FIRST % BUCKETS
        pairs = (alone + following * SECOND % BUCKETS) % BUCKETS
        there = ops.not_equal(tokens, 0)
        both = ops.logical_and(there, ops.not_equal(following, 0))
        return ops.concatenate([alone, pairs], axis=1), ops.concatenate([there, both], axis=1)

    def count(self, blocks: Any) -> None:
        """Take the document frequencies of these rows, blocks of [n, length] int32."""
        rows, frequency = 0, np.zeros(BUCKETS)
        for block in blocks:
            buckets, there = (np.asarray(part) for part in self.numbers(block))
            found = np.sort(np.where(there, buckets, BUCKETS), axis=1)
            first = np.concatenate([np.ones((len(found), 1), bool), np.diff(found, axis=1) > 0], axis=1)
            frequency += np.bincount(found[first], minlength=BUCKETS + 1)[:BUCKETS]
            rows += len(block)
        self.idf.assign(np.where(frequency > 0, np.log((1 + rows) / (1 + frequency)) + 1, 0))

    def call(self, tokens: Any) -> Any:
        """Called by Keras."""
        buckets, there = self.numbers(tokens)
        weights = ops.take(self.idf, buckets) * ops.cast(there, self.idf.dtype)
        length = ops.sqrt(ops.sum(weights**2, axis=1, keepdims=True)) + 1e-6
        return ops.einsum("bn,bnw->bw", weights * (LENGTH / length), ops.take(self.table, buckets, axis=0))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), "width": self.width}


def shares_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """theta and lambda of each place where a head mixes: `theta_features`, `lambda_flow`, ..."""
    places = {layer.name.removeprefix("mix_"): layer for layer in model.layers if isinstance(layer, Mix)}
    return {f"{name}_{place}": np.asarray(value) for place, layer in places.items()
            for name, value in zip(("theta", "lambda"), layer.shares(), strict=True)}
