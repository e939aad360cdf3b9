"""KerasHub presets of the families that have an image classifier: `hub:NAME`, or `hub:FOLDER` for a saved preset.

Which input size and scaling a preset was trained with is read from the preset itself.
"""

from pathlib import Path
from typing import Any

from kerastl.backbones import NO_POOLING, TOP, Network, Spec, Wanted, Weights, fill, first_line, pooled
from kerastl.errors import OptionError, WeightsError, unknown


def presets() -> dict[str, str]:
    """The presets of every family with an image classifier, each with its one-line description."""
    import keras_hub

    base = keras_hub.models.ImageClassifier
    found = (getattr(keras_hub.models, name) for name in dir(keras_hub.models) if name.endswith("ImageClassifier"))
    return {preset: about.get("metadata", {}).get("description", "") for family in found
            if issubclass(family, base) and family is not base for preset, about in family.presets.items()}


def build(wanted: Wanted) -> Network:
    """images: [batch, size, size, 3] float32 in [0, 255] -> features: [batch, dim] float32.

    Maps are averaged over their places; of a transformer's tokens the first, the class token, is taken.
    """
    import keras
    import keras_hub

    preset = wanted.preset
    if not preset:
        raise OptionError("backbone hub: without a preset", "hub:NAME", "name one, say hub:resnet_18_imagenet")
    if not Path(preset).is_dir() and preset not in presets():
        raise unknown("backbone", f"hub:{preset}", [f"hub:{name}" for name in presets()])
    try:
        network = keras_hub.models.Backbone.from_preset(preset, load_weights=wanted.weights == "imagenet")
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"KerasHub could not get the preset {preset}: {first_line(error)}",
            "its folder here, or a network", "fetch the preset elsewhere and give hub:FOLDER, or choose --backbone "
            "efficientnet_lite0, whose weights come with a package") from error
    if wanted.weights not in ("imagenet", "none"):
        fill(network, wanted.weights, f"a Keras weights file of {preset}'s backbone")
    size = converter.image_size
    if not size or size[0] != size[1]:
        raise OptionError(f"preset {preset} takes images of {size}", "a square of fixed size", "choose another")
    images = keras.Input((size[0], size[0], 3), name="images")
    scale, offset = (1.0 if converter.scale is None else converter.scale), (converter.offset or 0.0)
    maps = _tap(network, wanted.tap)(keras.layers.Rescaling(scale, offset, name="scale")(images))
    return Network(keras.Model(images, _features(maps, wanted), name=network.name))


def _tap(network: Any, tap: str) -> Any:
    """Up to one level of the pyramid of maps, P1, P2, ..., that KerasHub names in most convolutional networks."""
    import keras

    if tap == TOP:
        return network
    levels = getattr(network, "pyramid_outputs", {})
    if tap not in levels:
        raise unknown("tap", tap, [TOP, *levels], "kerastl backbones")
    return keras.Model(network.input, levels[tap], name=network.name)


def _features(maps: Any, wanted: Wanted) -> Any:
    if isinstance(maps, dict):
        raise OptionError(f"a backbone with outputs {', '.join(maps)}", "one map or a row of tokens", "choose another")
    if len(maps.shape) == 4:
        return pooled(maps, wanted)
    if wanted.pooling == NO_POOLING and len(maps.shape) != 3:
        raise OptionError("a preset whose network gives one row", "maps or tokens, for this head",
                          "choose a head that takes rows")
    return maps if wanted.pooling == NO_POOLING or len(maps.shape) != 3 else maps[:, 0]


SPEC = Spec(
    name="hub:", summary="any KerasHub image preset, by hub:NAME", size=0, dim=0, parameters=0,
    weights=(Weights("imagenet", "KerasHub's download of the preset's own weights", "the preset's", lambda: None),),
    build=build, blocks=r".*?block_?\d+[a-z]?|.*encoder_\d+(_\d+)?|.*layer_\d+", preprocessing="as the preset says",
)
