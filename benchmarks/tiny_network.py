"""A backbone of the benchmarks' own: so small that reading, hashing and handing out images is what takes the time."""

from kerastl.backbones import BuildOptions, Network, Spec


def build(options: BuildOptions) -> Network:
    """images: [batch, 16, 16, 3] float32 in [0, 255] -> features: [batch, 16]."""
    import keras
    from keras import layers

    images = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    x = layers.Conv2D(16, 3, strides=2, name="block1_conv", kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    return Network(keras.Model(images, layers.GlobalAveragePooling2D()(x)))


SPEC = Spec(name="tiny_network", summary="for benchmarks", size=16, dim=16, parameters=448, weights=(), build=build,
            blocks="block1", preprocessing="RGB in [-1, 1]")
