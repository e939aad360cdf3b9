"""A multilayer perceptron with one hidden layer, on normalised features; those of a fused backbone, part by part."""

from typing import Any

from kerastl.heads import Head, Setting, Shape
from kerastl.heads.layers.parts import normalised_parts

HIDDEN = 512
DROPOUT = 0.5


def build(shape: Shape, outputs: int, hidden: int = HIDDEN, dropout: float = DROPOUT, parts: tuple[int, ...] = ()
          ) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers

    features = keras.Input(shape, name="features")
    rows = normalised_parts(features, parts)
    x = layers.Concatenate(name="normal")(rows) if len(rows) > 1 else rows[0]
    x = layers.Dropout(dropout, name="dropout_features")(x)
    x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    x = layers.Dropout(dropout, name="dropout_hidden")(x)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(x), name="mlp")


HEAD = Head("mlp", f"one hidden layer of {HIDDEN} units, dropout {DROPOUT}; trained with early stopping", build,
            takes_parts=True, fitter="residual",
            settings={"hidden": Setting(HIDDEN, 16, 4096, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
