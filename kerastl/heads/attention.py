"""Attention pooling: learned queries weight the places of a map, or the tokens, which a mean would weight equally (Lee
et al. 2019, "Set Transformer", https://arxiv.org/abs/1810.00825; with one query, the MAP head of vision transformers).
"""

from typing import Any

from kerastl.heads import PLACES, Head, Setting, Shape
from kerastl.heads.layers.places import as_sequence

QUERIES = 4
DROPOUT = 0.3


def build(shape: Shape, outputs: int, queries: int = QUERIES, dropout: float = DROPOUT) -> Any:
    """features: [batch, height, width, dim] or [batch, length, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    x, hidden = as_sequence(features)  # [batch, places, dim]; what to subtract from the scores of padding
    x = layers.LayerNormalization(name="normal")(x)
    scores = layers.Dense(queries, dtype="float32", name="scores")(x) - hidden
    shares = layers.Softmax(axis=1, dtype="float32", name="shares")(scores)  # the share of each place, for each query
    pooled = ops.einsum("bpq,bpd->bqd", ops.cast(shares, x.dtype), x)
    row = layers.Dropout(dropout, name="dropout")(layers.Flatten(name="row")(pooled))
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="attention")


HEAD = Head("attention", "learned queries pool the places of a map, or the tokens", build, takes=PLACES,
            fitter="residual", settings={"queries": Setting(QUERIES, 1, 16), "dropout": Setting(DROPOUT, 0.0, 0.9)})
