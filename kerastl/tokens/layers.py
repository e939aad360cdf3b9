"""Layers that heads on tokens share."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerastl")
class ScalarMix(keras.layers.Layer):
    """A weighted sum of the states of several layers, with weights by softmax and one factor (Peters et al. 2018,
    https://arxiv.org/abs/1802.05365, equation 1). [batch, words, layers, dim] -> [batch, words, dim]."""

    def build(self, shape: Any) -> None:
        """Equal weights at the start."""
        self.scores = self.add_weight(shape=(shape[-2],), initializer="zeros", name="scores")
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, states: Any) -> Any:
        """See the class."""
        # Keras warns of a softmax over one layer, which is as it should be here.
        weights = ops.expand_dims(ops.exp(self.scores - ops.logsumexp(self.scores)), -1)
        return self.factor * ops.sum(states * weights, axis=-2)

    def compute_output_shape(self, shape: Any) -> Any:
        """Without the axis of the layers."""
        return (*shape[:-2], shape[-1])
