"""A small transformer encoder on the places of a map, or on token states: pre-norm blocks (Xiong et al. 2020,
https://arxiv.org/abs/2002.04745), then the mean over places.

The places of a map get learned positions. Token states get none: they already contain the backbone's positions, and a
text may have any length.
"""

from typing import Any

from kerastl.errors import OptionError
from kerastl.heads import GRADIENT_SETTINGS, PLACES, Head, Setting, Shape
from kerastl.heads.layers.places import as_sequence

LAYERS = 1
WIDTH = 128
HEADS = 4
DROPOUT = 0.3


def build(shape: Shape, outputs: int, layers: int = LAYERS, width: int = WIDTH, heads: int = HEADS,
          dropout: float = DROPOUT) -> Any:
    """features: [batch, height, width, dim] or [batch, length, dim] float32 -> logits: [batch, outputs] float32.

    Raises OptionError for a width that is not a multiple of the number of attention heads.
    """
    import keras
    from keras import layers as parts
    from keras import ops

    if width % heads:
        raise OptionError(f"`head` is 'transformer:width={width},heads={heads}'", "a width that is a multiple of the "
                          "number of attention heads", "change one of them")
    features = keras.Input(shape, name="features")
    x, hidden = as_sequence(features)  # [batch, places, dim]
    x = parts.LayerNormalization(name="normal")(x)
    tokens = len(shape) == 2
    if tokens:
        x = parts.Dense(width, name="narrow")(x)
    else:  # the bias of a place is its position
        x = parts.EinsumDense("bpd,dw->bpw", (x.shape[1], width), bias_axes="pw", name="narrow",
                              bias_initializer=keras.initializers.RandomNormal(stddev=0.02))(x)
    present = hidden < 1.0 if tokens else None  # [batch, places, 1]
    mask = ops.swapaxes(present, 1, 2) if tokens else None  # [batch, 1, places], the same for each query
    for i in range(1, layers + 1):
        y = parts.LayerNormalization(name=f"block{i}_normal1")(x)
        y = parts.MultiHeadAttention(heads, width // heads, dropout=dropout, name=f"block{i}_attention")(
            y, y, attention_mask=mask)
        x = x + parts.Dropout(dropout, name=f"block{i}_dropout1")(y)
        y = parts.LayerNormalization(name=f"block{i}_normal2")(x)
        y = parts.Dense(2 * width, activation="gelu", name=f"block{i}_wide")(y)
        y = parts.Dense(width, name=f"block{i}_back")(y)
        x = x + parts.Dropout(dropout, name=f"block{i}_dropout2")(y)
    x = ops.cast(parts.LayerNormalization(name="last_normal")(x), "float32")
    if tokens:
        counted = ops.cast(present, "float32")
        row = ops.sum(x * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)
    else:
        row = ops.mean(x, axis=1)
    row = parts.Dropout(dropout, dtype="float32", name="dropout")(row)
    return keras.Model(features, parts.Dense(outputs, dtype="float32", name="logits")(row), name="transformer")


HEAD = Head("transformer", "a small transformer encoder on the places of a map, or on the tokens", build, takes=PLACES,
            fitter="residual", settings={"layers": Setting(LAYERS, 1, 4), "width": Setting(WIDTH, 16, 1024, log=True),
                      "heads": Setting(HEADS, 1, 16), "dropout": Setting(DROPOUT, 0.0, 0.9)},
            training={**GRADIENT_SETTINGS, "learning_rate": Setting(3e-4, 1e-6, 1.0, log=True)})
