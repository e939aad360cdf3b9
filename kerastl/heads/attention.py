"""Attention pooling: learned queries choose which places of a map, or which tokens, the row is made of, where the mean
takes all alike (Lee et al. 2019, "Set Transformer", https://arxiv.org/abs/1810.00825; with one query a head of its own,
as the MAP head of vision transformers)."""

from typing import Any

from kerastl.heads import PLACES, Head, Setting, Shape, _places

QUERIES = 4
DROPOUT = 0.3


def build(shape: Shape, outputs: int, queries: int = QUERIES, dropout: float = DROPOUT) -> Any:
    """features: [batch, height, width, dim] or [batch, length, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    x, hidden = _places.in_a_row(features)  # [batch, places, dim], and how much to take off the scores of padding
    x = layers.LayerNormalization(name="normal")(x)
    scores = layers.Dense(queries, dtype="float32", name="scores")(x) - hidden
    shares = layers.Softmax(axis=1, dtype="float32", name="shares")(scores)  # of each place, for each query
    pooled = ops.einsum("bpq,bpd->bqd", ops.cast(shares, x.dtype), x)
    row = layers.Dropout(dropout, name="dropout")(layers.Flatten(name="row")(pooled))
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="attention")


HEAD = Head("attention", "learned weights pool the places of a map, or the tokens", build, takes=PLACES,
            settings={"queries": Setting(QUERIES, 1, 16), "dropout": Setting(DROPOUT, 0.0, 0.9)})
