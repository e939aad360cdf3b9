"""The parts of a fused backbone are normalised, projected to one width and averaged. A single backbone has one part."""

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
    row = ops.mean(projected_parts(features, parts, width, dropout), axis=1)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="averaged")


HEAD = Head("averaged", "for a+b: the parts are projected to one width and averaged", build, takes_parts=True,
            fitter="residual",
            settings={"width": Setting(WIDTH, 16, 2048, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
