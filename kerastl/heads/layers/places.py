"""Feature maps and token states as one sequence of places, for heads that look at single places."""

from typing import Any

HIDDEN = 1e9  # subtracted from a score, it leaves a softmax share of 0


def as_sequence(features: Any) -> tuple[Any, Any]:
    """The places of an example in one sequence, [batch, places, dim], and `hidden`, [batch, places, 1] float32: HIDDEN
    where a token is padding, else 0. features: a map [batch, height, width, dim], or token states [batch, length, dim]
    that are zero where a token is padding."""
    from keras import layers, ops

    if len(features.shape) == 4:
        _, height, width, dim = features.shape
        return layers.Reshape((height * width, dim), name="places")(features), 0.0
    padding = ops.all(ops.equal(features, 0.0), axis=-1, keepdims=True)
    return features, ops.cast(padding, "float32") * HIDDEN
