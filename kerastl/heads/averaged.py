"""The parts of a fused backbone, each normalised and projected to one width, then averaged. Of a single backbone it is
one such projection."""

from typing import Any

from kerastl.heads import Head, Setting, Shape, _parts

WIDTH = 256
DROPOUT = 0.3


def build(shape: Shape, outputs: int, width: int = WIDTH, dropout: float = DROPOUT, parts: tuple[int, ...] = ()) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers, ops

    features = keras.Input(shape, name="features")
    row = ops.mean(_parts.alike(features, parts, width, dropout), axis=1)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="averaged")


HEAD = Head("averaged", "for a+b: the parts projected to one width, and averaged", build, wants_parts=True,
            settings={"width": Setting(WIDTH, 16, 2048, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
