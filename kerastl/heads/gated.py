"""The parts of a fused backbone, each normalised and projected to one width, weighed by a gate that looks at all of
them (Arevalo et al. 2017, "Gated Multimodal Units", https://arxiv.org/abs/1702.01992; here with one share a part, where
they have one a unit, so that it can be read off how much each part counts). A single backbone's one part is
taken whole."""

from typing import Any

from kerastl.heads import Head, Setting, Shape, _parts

WIDTH = 256
DROPOUT = 0.3


def build(shape: Shape, outputs: int, width: int = WIDTH, dropout: float = DROPOUT, parts: tuple[int, ...] = ()) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    rows = _parts.alike(features, parts, width, dropout)  # [batch, parts, width]
    if rows.shape[1] == 1:
        return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(rows[:, 0]), name="gated")
    all_of_them = layers.Flatten(name="all")(rows)
    scores = layers.Dense(rows.shape[1], kernel_initializer="zeros", dtype="float32", name="scores")(all_of_them)
    shares = layers.Softmax(dtype="float32", name="shares")(scores)  # [batch, parts], equal before training
    row = ops.einsum("bp,bpw->bw", ops.cast(shares, rows.dtype), rows)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="gated")


HEAD = Head("gated", "for a+b: the parts projected to one width, and weighed by a learned gate", build,
            wants_parts=True,
            settings={"width": Setting(WIDTH, 16, 2048, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
