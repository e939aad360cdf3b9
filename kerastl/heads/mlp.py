"""A multilayer perceptron with one hidden layer, on features normalised row by row."""

from typing import Any

from kerastl.heads import Head

HIDDEN = 512
DROPOUT = 0.5


def build(dim: int, outputs: int) -> Any:
    """features: [batch, dim] float32 -> logits: [batch, outputs] float32."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((dim,), name="features"),
            layers.LayerNormalization(center=False, scale=False, name="normal"),
            layers.Dropout(DROPOUT, name="dropout_features"),
            layers.Dense(HIDDEN, activation="relu", name="hidden"),
            layers.Dropout(DROPOUT, name="dropout_hidden"),
            layers.Dense(outputs, dtype="float32", name="logits"),
        ],
        name="mlp",
    )


HEAD = Head("mlp", f"one hidden layer of {HIDDEN}, dropout {DROPOUT}; trained with early stopping", build)
