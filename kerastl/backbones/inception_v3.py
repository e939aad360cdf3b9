"""InceptionV3 (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567), by `keras.applications`."""

from typing import Any

from kerastl.backbones import BuildOptions, FeatureLayer, Network, Spec, Weights, in_keras_cache, keras_application

FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET = Weights(
    "imagenet",
    f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{FILE} "
    "(MD5 bcbd6486424b2319ff4ef7d526e38f63)",
    "Apache-2.0",
    lambda: in_keras_cache(FILE),
)
FEATURE_LAYERS = (FeatureLayer("mixed7", "mixed7", (17, 17, 768)),
                  FeatureLayer("mixed10", "mixed10", (8, 8, 2048)))


def build(options: BuildOptions) -> Network:
    """images: [batch, 299, 299, 3] float32 in [0, 255] -> features: [batch, 2048] float32, or a feature layer's."""
    import keras

    def scale(images: Any) -> Any:
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(images)  # in [-1, 1]

    return keras_application("inception_v3", keras.applications.InceptionV3, 299, scale, options, IMAGENET,
                             FEATURE_LAYERS)


SPEC = Spec(
    name="inception_v3", summary="InceptionV3, 2015", size=299, dim=2048, parameters=21_802_784, weights=(IMAGENET,),
    build=build, blocks=r"mixed\d+(?!_)", preprocessing="RGB in [-1, 1]", feature_layers=FEATURE_LAYERS,
)
