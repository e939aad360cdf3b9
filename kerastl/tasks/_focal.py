"""The focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002): cross-entropy, weighted by (1 - p) ** gamma,
where p is the probability of what is true. Rows that are predicted well count little.

Keras' own focal losses clip probabilities, so that the most confident mistakes have no gradient. These are computed
from logits; with gamma 0 they are the cross-entropy.
"""

from collections.abc import Callable
from typing import Any

LEAST = 1e-7  # of 1 - p: the gradient of a power below 1 is not finite at 0

Loss = Callable[[Any, Any], Any]  # truth or soft targets, logits: [n, classes] each -> [n]


def of_classes(gamma: float, label_smoothing: float = 0.0) -> Loss:
    """The loss of rows that have one class each."""
    import tensorflow as tf

    def loss(truth: Any, logits: Any) -> Any:
        logits = tf.cast(logits, tf.float32)
        truth = _smoothed(tf.cast(truth, tf.float32), label_smoothing, 1 / logits.shape[-1])
        return tf.reduce_sum(_focal(truth, tf.nn.log_softmax(logits), gamma), axis=-1)

    return loss


def of_labels(gamma: float, label_smoothing: float = 0.0, *, summed: bool = True) -> Loss:
    """The loss of rows with several labels, of which each is true or not. summed: over the labels; otherwise their
    mean, as Keras' binary cross-entropy is."""
    import tensorflow as tf

    def loss(truth: Any, logits: Any) -> Any:
        logits = tf.cast(logits, tf.float32)
        truth = _smoothed(tf.cast(truth, tf.float32), label_smoothing, 0.5)
        each = (_focal(truth, tf.math.log_sigmoid(logits), gamma)
                + _focal(1 - truth, tf.math.log_sigmoid(-logits), gamma))
        return tf.reduce_sum(each, axis=-1) if summed else tf.reduce_mean(each, axis=-1)

    return loss


def _focal(truth: Any, log_p: Any, gamma: float) -> Any:
    import tensorflow as tf

    return -truth * tf.maximum(-tf.math.expm1(log_p), LEAST) ** gamma * log_p


def _smoothed(truth: Any, share: float, even: float) -> Any:
    return truth * (1 - share) + share * even
