"""The parts of a fused backbone are normalised, projected to one width and weighted by a gate that sees all of them
(Arevalo et al. 2017, "Gated Multimodal Units", https://arxiv.org/abs/1702.01992). The gate has one weight per part,
where theirs has one per unit, so that the weight of each part can be read off. A single backbone has one part."""

from typing import Any

from kerastl.heads import Head, Setting, Shape
from kerastl.heads.layers.parts import projected_parts

WIDTH = 256
DROPOUT = 0.3


def build(shape: Shape, outputs: int, width: int = WIDTH, dropout: float = DROPOUT, parts: tuple[int, ...] = ()) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    rows = projected_parts(features, parts, width, dropout)  # [batch, parts, width]
    if rows.shape[1] == 1:
        return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(rows[:, 0]), name="gated")
    flat = layers.Flatten(name="all")(rows)
    scores = layers.Dense(rows.shape[1], kernel_initializer="zeros", dtype="float32", name="scores")(flat)
    shares = layers.Softmax(dtype="float32", name="shares")(scores)  # [batch, parts], equal before training
    row = ops.einsum("bp,bpw->bw", ops.cast(shares, rows.dtype), rows)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="gated")


HEAD = Head("gated", "for a+b: the parts are projected to one width and weighted by a learned gate", build,
            takes_parts=True, fitter="residual",
            settings={"width": Setting(WIDTH, 16, 2048, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
