"""Several image backbones as one, `a+b`: they look at the same image, and their pooled features stand in one row.

The image comes at the largest of their sizes. For a smaller network it is shrunk inside the graph, so alike in
training, Keras, SavedModel and TFLite: bilinear where the sides differ by less than 2 times; else bilinear to the
next multiple below and then the mean of whole squares of pixels, so that every pixel counts. TensorFlow's `area` and
antialiased resizing have no TFLite operation. Nor are they better here, where the decoder has averaged already: of 59
stamps decoded to 299, then shrunk to 224, EfficientNet-Lite0's features had a mean cosine to those of stamps decoded to
224 of 0.997 (area 0.996, antialiased 0.994); from 448, 0.998 with the mean of squares.
"""

import itertools
from functools import partial
from typing import Any

from kerastl.backbones import NO_POOLING, Network, Spec, Wanted, Weights, load, spec_of
from kerastl.errors import OptionError

SHRUNK = "from the largest of their sizes shrunk bilinear, then mean of squares"
NONE = Weights("none", "random", "", lambda: None)


def spec_for(name: str) -> Spec:
    """The spec of backbones joined by +; a preset's name may hold a + itself, so a preset comes last.

    Raises OptionError for a name that is missing, not known, or not an image backbone's.
    """
    names = _names(name)
    if "" in names:
        raise OptionError(f"backbone {name}: a name is missing beside a +", "two or more names joined by +",
                          "name the other, say efficientnet_lite0+resnet50")
    parts = tuple(spec_of(one)[0] for one in names)
    for part in parts:
        if part.modality.name != "image":
            raise OptionError(f"backbone {name}: {part.name} is for {part.modality.nouns}", "backbones for images only",
                              "texts cannot be fused: choose one backbone for them")
    sizes, dims, counts = ([getattr(part, what) for part in parts] for what in ("size", "dim", "parameters"))
    known = all(sizes)  # a preset's are known when it is built
    words = [f"{one}: {part.preprocessing}" for one, part in zip(names, parts, strict=True)]
    return Spec(
        name=name, summary=" and ".join(part.summary for part in parts), size=max(sizes) if known else 0,
        dim=sum(dims) if known else 0, parameters=sum(counts) if known else 0, weights=_weights(parts),
        build=partial(_build, name), blocks="|".join(part.blocks for part in parts),
        preprocessing="; ".join(words if len(set(sizes)) == 1 and known else [*words, SHRUNK]), parts=parts,
    )


def _names(name: str) -> list[str]:
    family, colon, preset = name.partition(":")
    *first, last = family.split("+")
    return [*first, last + colon + preset]


def _weights(parts: tuple[Spec, ...]) -> tuple[Weights, ...]:
    """Every choice of one kind a part, the first kinds first."""
    found = []
    for chosen in itertools.product(*((*part.weights, NONE) for part in parts)):
        licences = dict.fromkeys(one.licence for one in chosen if one.licence)
        found.append(Weights(",".join(one.kind for one in chosen), "; ".join(one.origin for one in chosen),
                             ", ".join(licences), lambda: None))
    return tuple(found)


def _build(name: str, wanted: Wanted) -> Network:
    """images: [batch, size, size, 3] float32 in [0, 255], at the largest size -> features: [batch, sum of the parts']
    float32, part by part in the order of the names. Each part is a model in the model, `NETWORK_NUMBER`."""
    import keras

    names = _names(name)
    if wanted.pooling == NO_POOLING:
        raise OptionError(f"backbone {name} with a head that takes maps: their maps differ in size",
                          "a head that takes pooled features", "choose one (kerastl heads), or a single backbone")
    asked = ["none"] * len(names) if wanted.weights == "none" else wanted.weights.split(",")
    if len(asked) != len(names):
        raise OptionError(f"--weights {wanted.weights}: {len(asked)} for the {len(names)} backbones of {name}",
                          "none, or one for each, separated by commas", f"say {spec_for(name).weights[0].kind}")
    networks = [load(one, weights).model for one, weights in zip(names, asked, strict=True)]
    size = max(network.input_shape[1] for network in networks)
    images = keras.Input((size, size, 3), name="images")
    rows = []
    for number, network in enumerate(networks, 1):
        part = keras.Model(network.input, network.output, name=f"{network.name}_{number}")
        rows.append(part(_shrunk(images, network.input_shape[1], number)))
    features = keras.layers.Concatenate(name="row")(rows)
    joined = "_and_".join(network.name for network in networks)
    return Network(keras.Model(images, features, name=joined), parts=tuple(int(row.shape[-1]) for row in rows))


def _shrunk(images: Any, size: int, number: int) -> Any:
    """[batch, whole, whole, 3] -> [batch, size, size, 3], whole >= size."""
    from keras import layers

    whole = images.shape[1]
    times = whole // size
    if size * times != whole:
        images = layers.Resizing(size * times, size * times, "bilinear", name=f"shrink_{number}")(images)
    return layers.AveragePooling2D(times, name=f"mean_{number}")(images) if times > 1 else images
