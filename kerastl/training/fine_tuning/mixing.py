"""MixUp and CutMix: in training, images and their targets are mixed in pairs."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def mixer(mixing: str, seed: int) -> Callable[[Any, Any, Any], tuple[Any, Any, Any]]:
    """A map over (images [n, size, size, 3] float32, targets [n, classes], weights [n]) that mixes each image with
    another of its batch, by a share of its own, drawn from Beta(alpha, alpha).

    mixup: pixel by pixel (Zhang et al. 2018, https://arxiv.org/abs/1710.09412), with BiT's alpha of 0.1. cutmix: a
    rectangle of the other image is pasted in (Yun et al. 2019, https://arxiv.org/abs/1905.04899), with their alpha of
    1; the targets' share is that of the rectangle before it is rounded to pixels. The loss is that of both rows by
    their shares and weights.
    """
    layer = keras.layers.MixUp(alpha=0.1, seed=seed) if mixing == "mixup" else \
        keras.layers.CutMix((1.0, 1.0), seed=seed)

    def mix(images: Any, targets: Any, weights: Any) -> tuple[Any, Any, Any]:
        labels = tf.concat([targets * weights[:, None], weights[:, None]], axis=1)  # one share mixes both
        mixed = layer({"images": images, "labels": labels}, training=True)
        weight = mixed["labels"][:, -1:]
        # targets that sum to 1: the gradient of TensorFlow's cross-entropy takes that for granted
        return tf.ensure_shape(mixed["images"], images.shape), mixed["labels"][:, :-1] / weight, weight[:, 0]

    return mix
