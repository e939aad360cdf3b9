"""Keras' optimizers, without what TensorFlow would keep of each training until the process ends.

On one device as on several, Keras sums gradients by an `all_reduce` that has a gradient of its own. TensorFlow
registers such gradients for good when the step is traced, and with them the graph and all variables of the step: the
moments of the optimizer, and any copy of the network that was trained.
"""

from typing import Any

import keras
import tensorflow as tf


class _Unsummed:
    """An optimizer for which the gradients of a single device are their own sum."""

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        """Called by Keras."""
        if tf.distribute.has_strategy():
            return super()._all_reduce_sum_gradients(grads_and_vars)  # type: ignore[misc]
        return grads_and_vars


class Adam(_Unsummed, keras.optimizers.Adam):
    """As `keras.optimizers.Adam`."""


class AdamW(_Unsummed, keras.optimizers.AdamW):
    """As `keras.optimizers.AdamW`."""
