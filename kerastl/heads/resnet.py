"""Residual blocks on a feature map: pre-activation blocks (He et al. 2016, "Identity Mappings in Deep Residual
Networks", https://arxiv.org/abs/1603.05027) after a 1x1 convolution to the head's own width.

Normalised over groups of channels (Wu and He 2018, https://arxiv.org/abs/1803.08494) and not over the batch, so that
the output for a map does not depend on the other maps of the batch: training, evaluation and export compute the same.
"""

from typing import Any

from kerastl.errors import OptionError
from kerastl.heads import PLACES, Head, Setting, Shape

WIDTH = 128
BLOCKS = 2
DROPOUT = 0.3
GROUPS = 16


def build(shape: Shape, outputs: int, width: int = WIDTH, blocks: int = BLOCKS, dropout: float = DROPOUT) -> Any:
    """features: [batch, height, width, channels] float32 -> logits: [batch, outputs] float32.

    Raises OptionError for token states, and for a width that is not a multiple of the number of groups.
    """
    import keras
    from keras import layers

    if len(shape) != 3:
        raise OptionError(f"`head` is 'resnet', but the features have shape {shape}", "feature maps of images, "
                          "(height, width, channels)", "choose transformer or attention, which take token states too")
    if width % GROUPS:
        raise OptionError(f"`head` is 'resnet:width={width}'", f"a multiple of {GROUPS}", "change the width")

    def active(x: Any, name: str) -> Any:
        return layers.ReLU(name=f"{name}_relu")(layers.GroupNormalization(GROUPS, name=f"{name}_normal")(x))

    features = keras.Input(shape, name="features")
    x = layers.Conv2D(width, 1, name="narrow")(features)
    for i in range(1, blocks + 1):
        y = layers.Conv2D(width, 3, padding="same", name=f"block{i}_conv1")(active(x, f"block{i}_1"))
        y = layers.Conv2D(width, 3, padding="same", name=f"block{i}_conv2")(active(y, f"block{i}_2"))
        x = layers.Add(name=f"block{i}_add")([x, y])
    row = layers.GlobalAveragePooling2D(name="pool")(active(x, "last"))
    row = layers.Dropout(dropout, name="dropout")(row)
    return keras.Model(features, layers.Dense(outputs, dtype="float32", name="logits")(row), name="resnet")


HEAD = Head("resnet", f"{BLOCKS} residual blocks of {WIDTH} channels on the feature map of an image", build,
            takes=PLACES, fitter="residual",
            settings={"width": Setting(WIDTH, GROUPS, 1024, log=True), "blocks": Setting(BLOCKS, 1, 8),
                      "dropout": Setting(DROPOUT, 0.0, 0.9)})
