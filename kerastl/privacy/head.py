"""A private head: the noised numbers that leave the data, and the Keras layers made of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.privacy.record import Payment
from kerastl.privacy.rows import Array, unit


@dataclass(frozen=True)
class PrivateHead:
    """All that a fitter releases about its training rows; everything else in a version follows from it or is public.

    groups: the noised number of training groups. projection: [dim, k], public. centre: [k]; kernel: [k, classes]; bias:
    [classes]. A row's logits are its projection, divided by its norm, minus the centre, divided by its norm, times the
    kernel, plus the bias. payments: of the releases.
    """

    name: str
    groups: float
    projection: Array
    centre: Array
    kernel: Array
    bias: Array
    payments: tuple[Payment, ...]

    def logits(self, x: Array) -> Array:
        """Features [n, dim] -> logits [n, classes]."""
        return np.asarray(unit(unit(x @ self.projection) - self.centre) @ self.kernel + self.bias)

    def model(self) -> Any:
        """The same as a keras.Model: features [batch, dim] float32 -> logits [batch, classes] float32."""
        import keras

        dim, k = self.projection.shape
        model = keras.Sequential([
            keras.Input((dim,), name="features"),
            keras.layers.Dense(k, use_bias=False, dtype="float32", name="projection"),
            keras.layers.UnitNormalization(dtype="float32", name="unit"),
            keras.layers.Normalization(mean=self.centre.tolist(), variance=[1.0] * k, dtype="float32", name="centre"),
            keras.layers.UnitNormalization(dtype="float32", name="centred"),
            keras.layers.Dense(self.kernel.shape[1], dtype="float32", name="logits"),
        ], name=self.name)
        model.get_layer("projection").set_weights([self.projection.astype(np.float32)])
        model.get_layer("logits").set_weights([self.kernel.astype(np.float32), self.bias.astype(np.float32)])
        return model


def centred(x: Array, projection: Array, centre: Array) -> Array:
    """Features [n, dim] -> rows [n, k] of norm 1, as the kernel takes them."""
    return unit(unit(x @ projection) - centre)
