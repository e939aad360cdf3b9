"""Backbones: pretrained networks whose features are used. One file here is one backbone (or one family of presets).

A file defines `SPEC`. Nothing else has to be edited: names, tables and the sweeping tests find it here.
"""

import hashlib
import importlib
import os
import pkgutil
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import OptionError, WeightsError, unknown
from kerastl.heads import Shape
from kerastl.inputs import Input
from kerastl.modality import IMAGE, MODALITIES, Modality
from kerastl.runtime import KEPT, PRECISIONS

WEIGHTS = ("bundled", "imagenet", "preset", "folder", "none")
TOP = "top"  # the tap that is the network's own output
NO_POOLING = "none"  # features stay a map, or token states


@dataclass(frozen=True)
class Weights:
    """Where one set of weights comes from. `find` gives its file if it is on this machine, else None."""

    kind: str  # bundled | imagenet | preset | folder (to be had by the user alone)
    origin: str  # in words: package, or address and hash
    licence: str
    find: Callable[[], Path | None]
    fetch: Callable[[], Path] | None = None  # downloads them, and returns their folder; for `fetch_weights`


@dataclass(frozen=True)
class Tap:
    """A place inside a network whose output can serve as features. `layer` is the Keras layer that gives it."""

    name: str
    layer: str
    shape: Shape  # of its map or token states


@dataclass(frozen=True)
class Wanted:
    """What to build: `weights` is one of `WEIGHTS` that the spec has, or the path of a file (for texts, of a folder).
    `preset` is what followed the colon of the name; `tap`, the name of one of the spec's taps, or TOP; `pooling`, how
    a map or token states become one row: `mean`; of texts also `cls`, `pooled` or `last`; or NO_POOLING, not at all.
    `precision` and `pickles` are as `load` says."""

    weights: str
    preset: str = ""
    pooling: str = "mean"
    tap: str = TOP
    precision: str = "auto"
    pickles: bool = False


@dataclass(frozen=True)
class Network:
    """What a spec's `build` makes, with its weights.

    model: a keras.Model that gives features, [batch, dim] float32; without pooling, maps [batch, height, width,
    channels] or token states [batch, length, dim], which are zero where a token is padding. For images it takes
    images: [batch, size, size, 3] float32 in [0, 255], and scales them itself to the range it was trained with. For
    texts it takes tokens: [batch, length] int32, the ids of `tokenizer`.
    """

    model: Any
    tokenizer: Any = None
    limit: int = 0  # the most tokens it can take, where that is not the spec's size
    parts: tuple[int, ...] = ()  # of a fused network: how many of the features each part gives, in order
    large: "Large | None" = None
    hash: str = ""  # of the weights' content, where it is not to be read off the model's numbers


@dataclass(frozen=True)
class Large:
    """Of a network that is too large to be exported: its head ships alone, and takes features.

    kept: what the weights are kept in, `float32`, `bfloat16`, `int8` or `int4`: all rows are computed by these. Where
    even so they do not fit in memory, the network is no keras.Model, but has `output_shape`, and `through`, from an
    iterator of tokens to one of features. compute: that and what is multiplied in, which decide the rows.
    """

    kept: str
    compute: str
    parameters: int
    bytes: int  # of the weights, as they are kept
    word: str


@dataclass(frozen=True)
class Spec:
    """What is known of a backbone before it is built. `build` makes the network."""

    name: str  # ends with ":" for a family whose presets are named after it
    summary: str
    size: int  # the side of the image, or the most tokens; 0: the preset says
    dim: int
    parameters: int
    weights: tuple[Weights, ...]
    build: Callable[[Wanted], Network]
    blocks: str  # pattern of how a block's layer names begin, for unfreezing from the top
    preprocessing: str  # in words, and in the cache's key
    modality: Modality = IMAGE
    taps: tuple[Tap, ...] = ()  # from input to output
    large: bool = False  # whether its weights may be kept in fewer bits, and its head ships alone (see `Large`)
    parts: tuple["Spec", ...] = ()  # of a fused backbone, `a+b`, in order; `blocks` is then told by each part's own


@dataclass(frozen=True)
class Backbone:
    """A built backbone with its weights. `weights_hash` names the numbers in it, wherever they came from."""

    name: str
    spec: Spec
    model: Any  # keras.Model, as `Network` says
    input: Input
    dim: int  # the last axis of its features
    weights: str  # as asked for: one of `WEIGHTS`, or a path; of a fused one, one each, separated by commas
    weights_hash: str
    pooling: str = "mean"
    tap: str = TOP
    parts: tuple[int, ...] = ()  # how many of the features each part of a fused one gives; of another, (dim,)
    large: Large | None = None

    @property
    def shape(self) -> Shape:
        """Of one example's features: (dim,), or that of a map or of token states, whose length is None."""
        return tuple(self.model.output_shape[1:])

    @property
    def random(self) -> bool:
        """Whether all weights are random: fit for tests only."""
        return set(self.weights.split(",")) == {"none"}

    @property
    def random_parts(self) -> tuple[str, ...]:
        """Of a fused one in part trained, the parts that are random; of any other, none."""
        parts = zip(self.name.split("+"), self.weights.split(","), strict=False)
        return () if self.random else tuple(name for name, weights in parts if weights == "none")

    def taking(self, input: Input) -> "Backbone":
        """The same network with its input read in another way, say with another length."""
        return replace(self, input=input)


@cache
def specs() -> dict[str, Spec]:
    """Every backbone here, by name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    found = (importlib.import_module(f"{__name__}.{name}").SPEC for name in modules)
    return {spec.name: spec for spec in found}


def spec_of(name: str) -> tuple[Spec, str]:
    """The spec for a name, and the preset after its colon; of names joined by +, the spec of all together.

    Raises OptionError for a name that is not known."""
    family, colon, preset = name.partition(":")
    if "+" in family:
        from kerastl.backbones import _fusion

        return _fusion.spec_for(name), ""
    if family + colon not in specs():
        raise unknown("backbone", name, specs())
    return specs()[family + colon], preset


def load(name: str, weights: str | None = None, *, modality: str | None = None, pooling: str = "mean", tap: str = TOP,
         precision: str = "auto", pickles: bool = False) -> Backbone:
    """Build a backbone with weights: `bundled`, `imagenet`, `preset`, `none` (random), or a file (for texts, a folder).
    Default: the spec's first kind. `a+b` is two image backbones as one; weights: `none`, or one each, `bundled,none`.

    modality: `image` or `text`, what the backbone must be for. pooling: `mean`, or `none` for heads that take maps or
    token states; of texts also `cls`, `pooled` or `last`. tap: where in the network the features are taken
    (`Spec.taps`). precision: what the weights of a large network are kept in (`runtime.KEPT`); auto: what its memory
    allows. Of others that is float32. pickles: also read weights that come as pickles, admitting tensors only.
    Raises OptionError for an unknown name, modality or tap, WeightsError when the weights cannot be had.
    """
    spec, preset = spec_of(name)
    if tap not in (TOP, *(one.name for one in spec.taps)) and spec.name[-1] != ":" and not spec.large:
        # a preset's, or a large folder's, are known when built
        raise unknown("tap", tap, [TOP, *(one.name for one in spec.taps)], "kerastl backbones")
    if modality and spec.modality.name != modality:
        fit = ", ".join(other.name for other in specs().values() if other.modality.name == modality)
        raise OptionError(f"backbone {name} is for {spec.modality.nouns}",
                          f"one for {MODALITIES[modality].nouns}: {fit}", "choose another")
    weights = weights or spec.weights[0].kind
    kinds = list(dict.fromkeys(one.kind for one in spec.weights))
    thing = "folder" if spec.modality.name == "text" else "file"
    there = Path(weights).is_dir() if spec.modality.name == "text" else Path(weights).is_file()
    if spec.modality.name == "image" and pooling not in ("mean", NO_POOLING):
        raise OptionError(f"--pooling {pooling} for images", "mean", "leave it out")
    if weights not in (*kinds, "none") and not there and not spec.parts:  # each part looks for its own
        got = f"{name} has no {weights} weights" if weights in WEIGHTS else f"no such weights {thing}: {weights}"
        raise OptionError(f"--weights {weights}: {got}", f"{', '.join(kinds)}, none, or a weights {thing}", "check it")
    if pickles and not spec.large:
        raise OptionError(f"--pickles for {name}, whose weights are never read from pickles", "a large backbone",
                          "leave it out")
    if precision in KEPT[1:] and not spec.large:
        raise OptionError(f"--precision {precision} for {name}, whose weights are kept in float32",
                          f"one of {', '.join(PRECISIONS)}", "leave it out for auto")
    network = spec.build(Wanted(weights, preset, pooling, tap, precision, pickles))
    model = network.model
    dim = int(model.output_shape[-1])
    digest = network.hash or weights_hash(model)
    if network.large and there:  # the version looks for it there, wherever it is asked from
        weights = str(Path(weights).absolute())
    return Backbone(name, spec, model, _input(name, spec, network), dim, weights, digest, pooling, tap,
                    network.parts or (dim,), network.large)


def fetch_weights(name: str) -> Path:
    """Download the pretrained weights of a backbone that come in a Python package of their own, unless they are on this
    machine already. Returns their folder; `load` finds them there. Other weights are downloaded by `load` itself.

    Raises OptionError for a backbone without such weights, WeightsError when they cannot be had or are damaged.
    """
    fetch = next((weights.fetch for weights in spec_of(name)[0].weights if weights.fetch), None)
    if fetch is None:
        fetchable = [spec.name for spec in specs().values() if any(weights.fetch for weights in spec.weights)]
        raise OptionError(f"the weights of {name} are not in a package that can be fetched",
                          f"one of {', '.join(fetchable)}", "kerastl backbones lists where the other weights come from")
    return fetch()


def repooled(backbone: Backbone, pooling: str) -> Backbone:
    """The same network of texts, its weights shared, pooled. backbone: without pooling."""
    from kerastl.backbones import _text_network

    model, source = backbone.model, backbone.input
    model = (model.repooled(pooling) if hasattr(model, "through") else
             _text_network.repooled(model, source.tokenizer.pad, pooling))  # type: ignore[attr-defined]
    return replace(backbone, model=model, pooling=pooling)


def _input(name: str, spec: Spec, network: Network) -> Input:
    if spec.modality.name == "text":
        from kerastl.inputs.texts import Texts

        return Texts(network.tokenizer, min(spec.size, network.limit or spec.size))
    from kerastl.inputs.pixels import Pixels

    _, height, width, _ = network.model.input_shape
    if height != width or height is None:
        raise OptionError(f"backbone {name} takes {height} x {width} images", "a square of fixed size",
                          "choose another")
    return Pixels(height)


def text_memory(backbone: Backbone, batch: int, *, training: bool = False) -> int:
    """Bytes that batches of so many texts need, by estimate (see `_text_memory`). training: what is trainable now."""
    from kerastl.backbones._text_memory import memory_needed

    if backbone.large:  # its weights are where they are: what is still to come
        return memory_needed(0, 0, batch, backbone.input.record()["max_length"], backbone.dim, 1)
    total, trained = (sum(int(np.prod(weight.shape)) for weight in some) for some in
                      (backbone.model.weights, backbone.model.trainable_weights if training else []))
    names = (re.match(backbone.spec.blocks, layer.name) for layer in backbone.model._flatten_layers())
    layers = len({found.group() for found in names if found})
    return memory_needed(total, trained, batch, backbone.input.record()["max_length"], backbone.dim, max(1, layers))


def weights_hash(model: Any) -> str:
    """A hash of every number in a model: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for value in (weight.numpy() for weight in model.weights):  # one at a time: all together may not fit twice
        digest.update(str((value.shape, value.dtype)).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def maps_of(network: Any, wanted: Wanted, taps: tuple[Tap, ...]) -> Any:
    """A network of maps, up to its own output or to the wanted tap."""
    import keras

    layer = next((tap.layer for tap in taps if tap.name == wanted.tap), None)
    return keras.Model(network.input, network.get_layer(layer).output, name=network.name) if layer else network


def pooled(maps: Any, wanted: Wanted) -> Any:
    """Maps averaged over their places, [batch, height, width, channels] -> [batch, channels], unless wanted whole."""
    import keras

    return maps if wanted.pooling == NO_POOLING else keras.layers.GlobalAveragePooling2D(name="pool")(maps)


def keras_download(build: Callable[[str | None], Any], weights: str, file: Weights) -> Any:
    """Build a `keras.applications` network: with Keras' own download, a file, or random weights.

    Raises WeightsError naming the file, its address and hash when the download is not possible or the file is wrong.
    """
    if weights == "imagenet":
        try:
            return build("imagenet")
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise WeightsError(
                f"Keras could not download {file.origin}: {first_line(error)}", "the file, or a network",
                "fetch it elsewhere and give --weights PATH, or choose --backbone efficientnet_lite0, whose weights "
                "come with a package") from error
    model = build(None)
    if weights != "none":
        fill(model, weights, f"a Keras weights file like {file.origin}")
    return model


def fill(model: Any, path: str, wanted: str) -> None:
    """Load a weights file into a network. Raises WeightsError when it does not fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it leaves random
            model.load_weights(path)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise WeightsError(f"{path} does not fit: {first_line(error)}", wanted,
                           "check that it is for this network, without its top") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def in_keras_cache(file: str) -> Path | None:
    """A file that Keras has downloaded before, or None."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = home / "models" / file
    return path if path.exists() else None


def is_large(name: str | None) -> bool:
    """Whether a backbone is exported without its head, by its name. An unknown name is not: `load` reports that."""
    return name in specs() and specs()[name].large


def precisions_of(*names: str | None) -> tuple[str, ...]:
    """What `precision` may be for all of these backbones. The weights of large ones can be kept in fewer bits."""
    large = [is_large(name) for name in names]
    return PRECISIONS if not any(large) else ("auto", *KEPT) if all(large) else (*PRECISIONS, *KEPT[1:])
