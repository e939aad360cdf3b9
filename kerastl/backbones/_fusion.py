"""Several image backbones as one, `a+b`: they take the same image, and their pooled features are concatenated.

The image is decoded to the largest of their sizes. For a smaller network it is resized inside the graph, so training,
Keras, SavedModel and TFLite resize alike: bilinear if the sizes differ by less than a factor of 2; otherwise bilinear
to the next lower multiple, followed by average pooling, so that every pixel counts. TensorFlow's `area` and antialiased
resizing have no TFLite operation. They would not be better either, because the decoder has averaged already: for 59
stamps decoded to 299 and resized to 224, EfficientNet-Lite0's features had a mean cosine similarity of 0.997 to those
of stamps decoded to 224 (area 0.996, antialiased 0.994); from 448 with average pooling, 0.998.
"""

import hashlib
import itertools
from functools import partial
from typing import Any

from kerastl.backbones import NO_POOLING, BuildOptions, Network, Spec, Weights, load, spec_of
from kerastl.backbones._user_file import is_file_name
from kerastl.errors import OptionError
from kerastl.modality import IMAGE

RESIZED = "from the largest of their sizes shrunk bilinear, then mean of squares"
NONE = Weights("none", "random", "", lambda: None)


def spec_for(name: str) -> Spec:
    """The spec of backbones joined by +. The name of a preset may contain a +, so a preset comes last.

    Raises OptionError for a name that is missing, unknown, or not that of an image backbone.
    """
    names = _names(name)
    if "" in names:
        raise OptionError(f"the backbone {name} has no name on one side of a +", "two or more names joined by +",
                          "add the other name, as in efficientnet_lite0+resnet50")
    parts = tuple(spec_of(part)[0] for part in names)
    for part in parts:
        if part.modality != IMAGE:
            raise OptionError(f"the backbone {name} cannot be built: {part.name} is for {part.modality.nouns}",
                              "image backbones only", f"use a single backbone for {part.modality.nouns}")
    sizes, dims, counts = ([getattr(part, field) for part in parts] for field in ("size", "dim", "parameters"))
    known = all(sizes)  # those of a preset are known once it is built
    preprocessing = [f"{part}: {spec.preprocessing}" for part, spec in zip(names, parts, strict=True)]
    hashes = [part.file_sha256 for part in parts if part.file_sha256]
    return Spec(
        name="+".join(part.name if is_file_name(own) else own for own, part in zip(names, parts, strict=True)),
        summary=" and ".join(part.summary for part in parts), size=max(sizes) if known else 0,
        dim=sum(dims) if known else 0, parameters=sum(counts) if known else 0, weights=_weights(parts),
        build=partial(_build, name), blocks="|".join(part.blocks for part in parts),
        preprocessing="; ".join(preprocessing if len(set(sizes)) == 1 and known else [*preprocessing, RESIZED]),
        parts=parts, file_sha256=hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else "",
    )


def _names(name: str) -> list[str]:
    family, colon, preset = name.partition(":")
    *first, last = family.split("+")
    return [*first, last + colon + preset]


def _weights(parts: tuple[Spec, ...]) -> tuple[Weights, ...]:
    """Every combination of the parts' weights, the defaults first."""
    combinations = []
    for chosen in itertools.product(*((*part.weights, NONE) for part in parts)):
        licences = dict.fromkeys(weights.licence for weights in chosen if weights.licence)
        combinations.append(Weights(",".join(weights.kind for weights in chosen),
                                    "; ".join(weights.origin for weights in chosen), ", ".join(licences), lambda: None))
    return tuple(combinations)


def _build(name: str, options: BuildOptions) -> Network:
    """images: [batch, size, size, 3] float32 in [0, 255], of the largest size -> features: [batch, sum of dims],
    concatenated in the order of the names. Each part is a model inside the model, named `NETWORK_NUMBER`."""
    import keras

    names = _names(name)
    if options.pooling == NO_POOLING:
        raise OptionError(f"the head takes maps, and the maps of the parts of {name} differ in size",
                          "a head that takes pooled features", "choose another `head`, or a single backbone")
    weights = ["none"] * len(names) if options.weights == "none" else options.weights.split(",")
    if len(weights) != len(names):
        raise OptionError(f"`weights` is {options.weights}: {len(weights)} for the {len(names)} backbones of {name}",
                          "none, or one for each, separated by commas", f"use {spec_for(name).weights[0].kind}")
    networks = [load(part, kind).model for part, kind in zip(names, weights, strict=True)]
    size = max(network.input_shape[1] for network in networks)
    images = keras.Input((size, size, 3), name="images")
    rows = []
    for number, network in enumerate(networks, 1):
        part = keras.Model(network.input, network.output, name=f"{network.name}_{number}")
        rows.append(part(_resized(images, network.input_shape[1], number)))
    features = keras.layers.Concatenate(name="row")(rows)
    joined = "_and_".join(network.name for network in networks)
    return Network(keras.Model(images, features, name=joined), parts=tuple(int(row.shape[-1]) for row in rows))


def _resized(images: Any, size: int, number: int) -> Any:
    """[batch, side, side, 3] -> [batch, size, size, 3], with side >= size."""
    from keras import layers

    side = images.shape[1]
    times = side // size
    if size * times != side:
        images = layers.Resizing(size * times, size * times, "bilinear", name=f"shrink_{number}")(images)
    return layers.AveragePooling2D(times, name=f"mean_{number}")(images) if times > 1 else images
