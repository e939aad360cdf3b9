"""The logits of `linear` and of `plain` added, each times a share. Both are solved, and so are the shares, on rows that
neither was fitted on; so it takes seconds, where `blend` is trained by gradient descent."""

from typing import Any

from kerastl.heads import Head, Raw, Shape
from kerastl.heads.plain import plain_logits


def build(shape: Shape, outputs: int, raw: Raw) -> Any:
    """features: [batch, dim] float32, and raw rows as `heads.Raw` describes -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers

    features = keras.Input(shape, name="features")
    raw_rows = keras.Input(raw.shape, dtype="int32" if raw.symbols else "float32", name="raw")
    linear = layers.Dense(outputs, dtype="float32", name="linear")(features)
    logits = layers.Add(dtype="float32", name="logits")([linear, plain_logits(raw_rows, outputs, raw)])
    return keras.Model([features, raw_rows], logits, name="joint")


HEAD = Head("joint", "the logits of linear and plain added in shares, all of it solved", build, fitter="joint",
            takes_raw=True, all_tokens=True, training={})
