"""What the signature `explain` returns: the parts that the logits of an image are the sum of."""

from typing import Any

import tensorflow as tf

from kerastl.explanation.exact import ActivationMaps
from kerastl.inputs import floats
from kerastl.model import Parts


def exact_parts(maps: ActivationMaps, parts: Parts, places: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """In the graph: for each row the contributions of all places, and the plain logits if the head adds any, in one
    vector. places: what `maps.network` returns for `values` -> [batch, height * width * classes (+ classes)]."""
    flat = tf.reshape(maps.contributions(places), [tf.shape(places)[0], _size(maps)])
    if maps.plain is None:
        return flat
    plain = maps.plain(parts.raw_branch(floats(values), training=False), training=False)
    return tf.concat([flat, tf.cast(plain, tf.float32)], 1)


def named_parts(maps: ActivationMaps, flat: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of the signature by name. flat: of all rows, as `exact_parts` returns them."""
    _, height, width, _ = maps.network.output_shape
    classes, size, rows = maps.dense.units, _size(maps), tf.shape(flat)[0]
    contributions = tf.reshape(flat[:, :size], [rows, height, width, classes])
    bias = tf.tile(tf.convert_to_tensor(maps.dense.bias)[tf.newaxis], [rows, 1])
    named: dict[str, Any] = {"maps": contributions, "bias": bias}
    if maps.plain is not None:
        named["plain"] = flat[:, size:]
    return {**named, "logits": tf.add_n([tf.reduce_sum(contributions, [1, 2]), *list(named.values())[1:]])}


def _size(maps: ActivationMaps) -> int:
    _, height, width, _ = maps.network.output_shape
    return int(height * width * maps.dense.units)
