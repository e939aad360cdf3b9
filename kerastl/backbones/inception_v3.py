"""InceptionV3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567), by `keras.applications`."""

from typing import Any

from kerastl.backbones import Network, Spec, Wanted, Weights, in_keras_cache, keras_download

FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET = Weights(
    "imagenet",
    f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{FILE} "
    "(MD5 bcbd6486424b2319ff4ef7d526e38f63)",
    "Apache-2.0",
    lambda: in_keras_cache(FILE),
)


def build(wanted: Wanted) -> Network:
    """images: [batch, 299, 299, 3] float32 in [0, 255] -> features: [batch, 2048] float32."""
    import keras

    def network(which: str | None) -> Any:
        return keras.applications.InceptionV3(include_top=False, weights=which, input_shape=(299, 299, 3))

    images = keras.Input((299, 299, 3), name="images")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(images)  # in [-1, 1]
    maps = keras_download(network, wanted.weights, IMAGENET)(scaled)
    return Network(keras.Model(images, keras.layers.GlobalAveragePooling2D(name="pool")(maps), name="inception_v3"))


SPEC = Spec(
    name="inception_v3", summary="InceptionV3, 2015", size=299, dim=2048, parameters=21_802_784, weights=(IMAGENET,),
    build=build, blocks=r"mixed\d+(?!_)", preprocessing="RGB in [-1, 1]",
)
