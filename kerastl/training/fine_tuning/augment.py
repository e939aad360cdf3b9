"""Augmentation of batches, by Keras' layers in the data pipeline.

It runs there, on the threads that also decode, and not in the network: XLA cannot compile the affine transformations,
and a network that trains in bfloat16 would round the pixels first. What an image gets follows from the seed and the
number of its batch, so that a run that was killed goes on as it would have without.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerastl.training.augmentation import Augmentation, Operation

RANGE = (0, 255)
DRAWS = 64  # numbers that one layer draws for one batch, at most
NAMED = 1009  # a prime: seeds of layers of one run differ from those of the next seed
Layers = keras.layers


def layer_of(operation: Operation, seed: int) -> Any:
    """The Keras layer of an operation; see `Operation` for its amounts. Contrast and shear are symmetric;
    thresholds of solarisation begin at 0, because Keras takes a lower end for a grey level."""
    low, high = operation.low, operation.high
    share = (low / 100, high / 100)
    build: dict[str, Callable[[], Any]] = {
        "flip": lambda: Layers.RandomFlip("horizontal", seed=seed),
        "rotation": lambda: Layers.RandomRotation((low / 360, high / 360), seed=seed),
        "shift": lambda: Layers.RandomTranslation(share, share, seed=seed),
        "zoom": lambda: Layers.RandomZoom(share, seed=seed),
        "brightness": lambda: Layers.RandomBrightness(share, value_range=RANGE, seed=seed),
        "contrast": lambda: Layers.RandomContrast(high / 100, value_range=RANGE, seed=seed),
        "shear": lambda: Layers.RandomShear(high / 100, high / 100, seed=seed),
        "loss of colour": lambda: Layers.RandomColorDegeneration(share, value_range=RANGE, seed=seed),
        "sharpening": lambda: Layers.RandomSharpness(share, value_range=RANGE, seed=seed),
        "posterisation to": lambda: Layers.RandomPosterization(int(high), value_range=RANGE, seed=seed),
        "solarisation above": lambda: Layers.Solarization(threshold_factor=high / 100, value_range=RANGE, seed=seed),
        "automatic contrast": lambda: Layers.AutoContrast(value_range=RANGE),
        "equalisation": lambda: Layers.Equalization(value_range=RANGE),
    }
    return build[operation.name]()


def augmenter(augmentation: Augmentation, seed: int) -> Callable[[Any, Any], Any]:
    """A function of images, [n, size, size, 3] float32 in [0, 255], and the number of their batch, to augmented images
    of the same shape, type and range. The same seed and number give the same images.

    RandAugment (Cubuk et al. 2019, https://arxiv.org/abs/1909.13719) is put together here from Keras' layers: the layer
    of that name draws its operations for a whole batch, computes all of them for all images (20 times the work), and
    ties the ranges of all operations to one number.
    """
    with tf.init_scope():
        layers = [layer_of(operation, seed) for operation in augmentation.operations]
        pool = [layer_of(operation, seed) for operation in augmentation.pool]
    generators = [layer.generator for layer in (*layers, *pool) if hasattr(layer, "generator")]

    def augment(images: Any, number: Any) -> Any:
        shape = images.shape
        for place, generator in enumerate(generators):
            state = generator.state
            start = tf.stack([tf.cast(seed * NAMED + place, tf.int64), tf.cast(number, tf.int64) * DRAWS])
            state.assign(tf.cast(start, state.dtype))
        for layer in layers:
            images = layer(images, training=True)
        for turn in range(augmentation.drawn):
            images = _drawn(images, pool, tf.stack([seed * NAMED + turn, tf.cast(number, tf.int32)]))
        return tf.ensure_shape(tf.clip_by_value(images, *map(float, RANGE)), shape)

    return augment


def _drawn(images: Any, pool: Sequence[Any], seed: Any) -> Any:
    """Each image through one of the layers."""
    n = tf.shape(images)[0]
    chosen = tf.random.stateless_uniform([n], seed, 0, len(pool), tf.int32)
    parts = tf.dynamic_partition(images, chosen, len(pool))
    places = tf.dynamic_partition(tf.range(n), chosen, len(pool))
    # no layer sees an empty batch: not all of them take one
    changed = [tf.cond(tf.shape(part)[0] > 0, lambda layer=layer, part=part: layer(part, training=True),
                       lambda part=part: part) for layer, part in zip(pool, parts, strict=True)]
    return tf.dynamic_stitch(places, changed)
