"""ResNet50 (He et al. 2015, https://arxiv.org/abs/1512.03385), by `keras.applications`."""

from typing import Any

from kerastl.backbones import BuildOptions, FeatureLayer, Network, Spec, Weights, in_keras_cache, keras_application

FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
IMAGENET = Weights(
    "imagenet",
    f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{FILE} "
    "(MD5 4d473c1dd8becc155b73f8504c6f6626)",
    "MIT",
    lambda: in_keras_cache(FILE),
)
MEANS = (103.939, 116.779, 123.68)  # of ImageNet in the order blue, green, red, as in Caffe
FEATURE_LAYERS = (FeatureLayer("conv4", "conv4_block6_out", (14, 14, 1024)),
                  FeatureLayer("conv5", "conv5_block3_out", (7, 7, 2048)))


def build(options: BuildOptions) -> Network:
    """images: [batch, 224, 224, 3] float32 in [0, 255] -> features: [batch, 2048] float32, or a feature layer's."""
    import keras

    def scale(images: Any) -> Any:
        blue_first = keras.ops.flip(images, axis=-1)
        return keras.layers.Rescaling(1.0, offset=[-mean for mean in MEANS], name="scale")(blue_first)

    return keras_application("resnet50", keras.applications.ResNet50, 224, scale, options, IMAGENET, FEATURE_LAYERS)


SPEC = Spec(
    name="resnet50", summary="ResNet50, 2015", size=224, dim=2048, parameters=23_587_712, weights=(IMAGENET,),
    build=build, blocks=r"conv\d_block\d+", preprocessing="BGR, ImageNet means subtracted",
    feature_layers=FEATURE_LAYERS,
)
