"""A second backbone that is dropped in as one file, of another size and depth: three blocks, 24 x 24 images."""

import random

from kerastl.backbones import BuildOptions, Network, Spec, fill, pooled


def build(options: BuildOptions) -> Network:
    import keras
    from keras import layers

    random.seed(4)  # what Keras draws the seeds of layers from
    images = keras.Input((24, 24, 3), name="images")
    x = layers.Rescaling(1 / 255)(images)
    for i, filters in enumerate((8, 12, 20), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"block{i}_conv")(x)
        x = layers.BatchNormalization(name=f"block{i}_bn")(x)
        x = layers.ReLU(6.0, name=f"block{i}_out")(x)
    model = keras.Model(images, pooled(x, options), name="tiny_net24")
    if options.weights != "none":
        fill(model, options.weights, "a weights file that Keras saved of this network")
    return Network(model)


SPEC = Spec(name="tiny_net24", summary="a test's own, smaller", size=24, dim=20, parameters=3_440, weights=(),
            build=build, blocks=r"block\d", preprocessing="RGB in [0, 1]")
