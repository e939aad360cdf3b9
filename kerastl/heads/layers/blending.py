"""The layers of the `blend` head. Importing this registers them, so that Keras can load a saved model that has them."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

LEARNED = ("learned", "channel")
BASE = 2**8
BUCKETS = BASE**2  # token numbers and pairs of them are hashed to so many
FIRST, SECOND = 7919, 5939  # primes; with 250,000 tokens, as in the largest vocabularies, products stay below 2^31
NORM = 10.0  # of a text's row of weights: about the norm of the standardised features that it is added to


@keras.saving.register_keras_serializable("kerastl")
class Standard(keras.layers.Layer):
    """(features - mean) / scale, both of the training rows; until these are set, the features exactly as they are.
    [batch, dim] -> [batch, dim]."""

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        self.centre = self.add_weight(name="centre", shape=shape[-1:], initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones", trainable=False)

    def call(self, features: Any) -> Any:
        """Called by Keras."""
        return (features - self.centre) / self.scale


@keras.saving.register_keras_serializable("kerastl")
class Mix(keras.layers.Layer):
    """theta * flow + lambda * side, both [batch, dim]. how: `fixed` and `scheduled` are numbers; `learned` is twice the
    sigmoid of a weight, so in (0, 2); `channel` is one such weight per channel."""

    def __init__(self, how: str, theta: float, side: float, **more: Any) -> None:
        super().__init__(**more)
        self.how, self.start = how, (theta, side)

    def build(self, shapes: Any) -> None:
        """Called by Keras."""
        shape = tuple(shapes[0][-1:]) if self.how == "channel" else ()
        learned = self.how in LEARNED
        initial = [float(np.log(value / (2 - value))) if learned else value for value in self.start]
        self.theta, self.side = (
            self.add_weight(name=name, shape=shape, initializer=keras.initializers.Constant(value), trainable=learned)
            for name, value in zip(("theta", "lambda"), initial, strict=True))

    def shares(self) -> tuple[Any, Any]:
        """theta and lambda: numbers, or [dim]."""
        if self.how in LEARNED:
            return 2 * ops.sigmoid(self.theta), 2 * ops.sigmoid(self.side)
        return ops.convert_to_tensor(self.theta), ops.convert_to_tensor(self.side)

    def call(self, inputs: Any) -> Any:
        """Called by Keras."""
        flow, side = inputs
        theta, share = self.shares()
        return theta * flow + share * side

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), "how": self.how, "theta": self.start[0], "side": self.start[1]}


def buckets_of(tokens: Any) -> tuple[Any, Any]:
    """The hashed bucket of each token and of each pair of neighbouring tokens, and whether it is one and not padding:
    [batch, length] int32 -> [batch, 2 x length] each."""
    tokens = ops.cast(tokens, "int32")
    following = ops.concatenate([tokens[:, 1:], ops.zeros_like(tokens[:, :1])], axis=1)
    single = _hashed(tokens, FIRST)
    pairs = (single + _hashed(following, SECOND)) % BUCKETS
    present = ops.not_equal(tokens, 0)
    both = ops.logical_and(present, ops.not_equal(following, 0))
    return ops.concatenate([single, pairs], axis=1), ops.concatenate([present, both], axis=1)


def _hashed(tokens: Any, prime: int) -> Any:
    """tokens * prime % BUCKETS, of the upper and the lower digits apart: no product reaches 2^24, since OpenVINO takes
    remainders in float32, which is exact only up to there."""
    return (tokens // BASE * prime % BASE * BASE + tokens % BASE * prime) % BUCKETS


@keras.saving.register_keras_serializable("kerastl")
class Ngrams(keras.layers.Layer):
    """A linear map of hashed TF-IDF: tokens and pairs of neighbouring tokens are hashed, weighted by their inverse
    document frequency, and divided by the norm of the row. tokens: [batch, length] int32, 0 where there is padding ->
    [batch, width].

    What no training row had has weight 0. The norm is over occurrences, which damps repeated tokens."""

    def __init__(self, width: int, **more: Any) -> None:
        super().__init__(**more)
        self.width = width

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        self.idf = self.add_weight(name="idf", shape=(BUCKETS,), initializer="ones", trainable=False)
        self.table = self.add_weight(name="table", shape=(BUCKETS, self.width), initializer="zeros")

    def count(self, blocks: Any) -> None:
        """Set the inverse document frequencies from these rows, blocks of [n, length] int32."""
        rows, frequency = 0, np.zeros(BUCKETS)
        for block in blocks:
            buckets, present = (np.asarray(array) for array in buckets_of(block))
            ordered = np.sort(np.where(present, buckets, BUCKETS), axis=1)
            first = np.concatenate([np.ones((len(ordered), 1), bool), np.diff(ordered, axis=1) > 0], axis=1)
            frequency += np.bincount(ordered[first], minlength=BUCKETS + 1)[:BUCKETS]
            rows += len(block)
        self.idf.assign(np.where(frequency > 0, np.log((1 + rows) / (1 + frequency)) + 1, 0))

    def call(self, tokens: Any) -> Any:
        """Called by Keras."""
        buckets, present = buckets_of(tokens)
        weights = ops.take(self.idf, buckets) * ops.cast(present, self.idf.dtype)
        norm = ops.sqrt(ops.sum(weights**2, axis=1, keepdims=True)) + 1e-6
        return ops.einsum("bn,bnw->bw", weights * (NORM / norm), ops.take(self.table, buckets, axis=0))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), "width": self.width}


def shares_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """theta and lambda at each place where the head mixes: `theta_features`, `lambda_flow`, ..."""
    places = {layer.name.removeprefix("mix_"): layer for layer in model.layers if isinstance(layer, Mix)}
    return {f"{name}_{place}": np.asarray(value) for place, layer in places.items()
            for name, value in zip(("theta", "lambda"), layer.shares(), strict=True)}
