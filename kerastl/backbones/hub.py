"""KerasHub presets of the families that have an image classifier: `hub:NAME`, or `hub:FOLDER` for a saved preset.

The input size and scaling that a preset was trained with are read from the preset itself.
"""

from pathlib import Path
from typing import Any

from kerastl.backbones import NO_POOLING, TOP, BuildOptions, Network, Spec, Weights, fill, first_line, pooled
from kerastl.errors import OptionError, WeightsError, unknown

EXAMPLE = "resnet_18_imagenet"


def presets() -> dict[str, str]:
    """The presets of every family with an image classifier, each with its one-line description."""
    import keras_hub

    base = keras_hub.models.ImageClassifier
    families = (getattr(keras_hub.models, name) for name in dir(keras_hub.models) if name.endswith("ImageClassifier"))
    return {preset: entry.get("metadata", {}).get("description", "") for family in families
            if issubclass(family, base) and family is not base for preset, entry in family.presets.items()}


def build(options: BuildOptions) -> Network:
    """images: [batch, size, size, 3] float32 in [0, 255] -> features: [batch, dim] float32.

    Maps are averaged over their positions; for a transformer, the state of the first token, the class token, is used.
    """
    import keras
    import keras_hub

    preset = options.preset
    if not preset:
        raise OptionError("the backbone hub: lacks the name of a preset", "hub:NAME, or hub:FOLDER for a saved preset",
                          f"add a name, for example hub:{EXAMPLE}")
    if not Path(preset).is_dir() and preset not in presets():
        raise unknown("backbone", f"hub:{preset}", [f"hub:{name}" for name in presets()],
                      f"the image classifiers on https://keras.io/keras_hub/presets, such as hub:{EXAMPLE}")
    try:
        network = keras_hub.models.Backbone.from_preset(preset, load_weights=options.weights == "imagenet")
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"KerasHub could not get the preset {preset}: {first_line(error)}",
            "a network connection, or the preset's folder", "download the preset on another machine and use "
            "hub:FOLDER, or use the backbone efficientnet_lite0, whose weights come with a package") from error
    if options.weights not in ("imagenet", "none"):
        fill(network, options.weights, f"a Keras weights file of the backbone of {preset}")
    size = converter.image_size
    if not size or size[0] != size[1]:
        raise OptionError(f"the preset {preset} takes images of the size {size}", "a fixed square size",
                          "choose another preset")
    images = keras.Input((size[0], size[0], 3), name="images")
    scale, offset = (1.0 if converter.scale is None else converter.scale), (converter.offset or 0.0)
    maps = _up_to(network, options.layer)(keras.layers.Rescaling(scale, offset, name="scale")(images))
    return Network(keras.Model(images, _features(maps, options), name=network.name))


def _up_to(network: Any, layer: str) -> Any:
    """The network up to a level of its feature pyramid, P1, P2, ..., which most of KerasHub's convolutional networks
    have."""
    import keras

    if layer == TOP:
        return network
    levels = getattr(network, "pyramid_outputs", {})
    if layer not in levels:
        raise unknown("layer", layer, [TOP, *levels], "kerastl backbones")
    return keras.Model(network.input, levels[layer], name=network.name)


def _features(maps: Any, options: BuildOptions) -> Any:
    if isinstance(maps, dict):
        raise OptionError(f"the preset's network has several outputs: {', '.join(maps)}", "one output, maps or token "
                          "states", "choose another preset")
    if len(maps.shape) == 4:
        return pooled(maps, options)
    if options.pooling == NO_POOLING and len(maps.shape) != 3:
        raise OptionError("the head takes maps or token states, but the preset's network returns one row",
                          "a network that returns maps or token states", "choose a head that takes rows")
    return maps if options.pooling == NO_POOLING or len(maps.shape) != 3 else maps[:, 0]


SPEC = Spec(
    name="hub:", summary="any KerasHub image preset, as hub:NAME", size=0, dim=0, parameters=0,
    weights=(Weights("imagenet", "the preset's own weights, downloaded by KerasHub", "that of the preset",
                     lambda: None),),
    build=build, blocks=r".*?block_?\d+[a-z]?|.*encoder_\d+(_\d+)?|.*layer_\d+", preprocessing="as the preset says",
)
