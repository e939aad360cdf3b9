"""A backbone that is dropped in as one file: two blocks, random weights, 32 x 32 images."""

import random

from kerastl.backbones import BuildOptions, FeatureLayer, Network, Spec, maps_of, pooled

FEATURE_LAYERS = (FeatureLayer("block1", "block1_out", (16, 16, 16)),)


def build(options: BuildOptions) -> Network:
    import keras
    from keras import layers

    random.seed(3)  # what Keras draws the seeds of layers from
    images = keras.Input((32, 32, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    for i, filters in enumerate((16, 24), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"block{i}_conv")(x)
        x = layers.BatchNormalization(name=f"block{i}_bn")(x)
        x = layers.ReLU(6.0, name=f"block{i}_out")(x)
    network = maps_of(keras.Model(images, x), options, FEATURE_LAYERS)
    return Network(keras.Model(network.input, pooled(network.output, options), name="tiny_net"))


SPEC = Spec(name="tiny_net", summary="a test's own", size=32, dim=24, parameters=3_944, weights=(), build=build,
            blocks=r"block\d", preprocessing="RGB in [-1, 1]", feature_layers=FEATURE_LAYERS)
