"""`unknown_score` in a graph: what a detector makes of features and logits."""

from typing import Any

import tensorflow as tf

from kerastl.evaluation.rejection import Detector, tensorflow_ops

OUTPUT = "unknown_score"
SCOPE = "rejection/unknown"  # of its operators: quantized TFLite files keep these in floats


def unknown_score(detector: Detector, features: Any, logits: tf.Tensor) -> tf.Tensor:
    """[n] float32. features: as the head takes them; maps and token states are averaged over places. logits: [n,
    classes]."""
    with tf.name_scope(SCOPE):
        means = tf.zeros(()) if detector.distances is None else mean_over_places(tf.cast(features, tf.float32))
        return tf.identity(detector.scores(means, logits, tensorflow_ops()))


def mean_over_places(features: tf.Tensor) -> tf.Tensor:
    """[n, dim]: pooled features unchanged; the mean of a map, or of the token states that are not padding, as
    `features.means` computes it."""
    if len(features.shape) == 4:
        return tf.reduce_mean(features, axis=(1, 2))
    if len(features.shape) == 2:
        return features
    present = tf.cast(tf.reduce_max(tf.abs(features), axis=2) > 0, tf.float32)
    return tf.reduce_sum(features, axis=1) / tf.maximum(tf.reduce_sum(present, axis=1, keepdims=True), 1.0)
