"""Maps and token states, as heads that look at single places take them."""

from typing import Any

HIDDEN = 1e9  # taken off a score, it leaves nothing of it after a softmax


def in_a_row(features: Any) -> tuple[Any, Any]:
    """Features as one row of places, [batch, places, dim], and `hidden`, [batch, places, 1] float32: HIDDEN where a
    token is padding, 0 elsewhere. features: a map [batch, height, width, dim], or token states [batch, length, dim]
    that are zero where a token is padding."""
    from keras import layers, ops

    if len(features.shape) == 4:
        _, height, width, dim = features.shape
        x = layers.Reshape((height * width, dim), name="places")(features)
        return x, 0.0
    empty = ops.all(ops.equal(features, 0.0), axis=-1, keepdims=True)
    return features, ops.cast(empty, "float32") * HIDDEN
