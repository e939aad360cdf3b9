"""A multilayer perceptron with one hidden layer, on features normalised row by row."""

from typing import Any

from kerastl.heads import Head, Setting, Shape

HIDDEN = 512
DROPOUT = 0.5


def build(shape: Shape, outputs: int, hidden: int = HIDDEN, dropout: float = DROPOUT) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input(shape, name="features"),
            layers.LayerNormalization(center=False, scale=False, name="normal"),
            layers.Dropout(dropout, name="dropout_features"),
            layers.Dense(hidden, activation="relu", name="hidden"),
            layers.Dropout(dropout, name="dropout_hidden"),
            layers.Dense(outputs, dtype="float32", name="logits"),
        ],
        name="mlp",
    )


HEAD = Head("mlp", f"one hidden layer of {HIDDEN}, dropout {DROPOUT}; trained with early stopping", build,
            settings={"hidden": Setting(HIDDEN, 16, 4096, log=True), "dropout": Setting(DROPOUT, 0.0, 0.9)})
