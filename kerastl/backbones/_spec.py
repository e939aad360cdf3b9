"""What a backbone file defines (`Spec`), what it builds (`Network`), and what the rest of the kit uses (`Backbone`)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerastl.inputs import Input, Shape
from kerastl.modality import IMAGE, Modality

WEIGHTS = ("bundled", "imagenet", "preset", "folder", "none")
TOP = "top"  # the feature layer that is the network's own output
JOINED = "+"  # between feature layers of a text network whose states are taken side by side, as in layer_3+top
NO_POOLING = "none"  # features stay a map, or token states
BACKBONE = "a backbone, as kerastl.load_backbone returns it"  # in messages


@dataclass(frozen=True)
class Weights:
    """A source of pretrained weights. `find` returns the file if it is on this machine, else None."""

    kind: str  # bundled | imagenet | preset | folder (which users download themselves)
    origin: str  # the package, or the address and hash
    licence: str
    find: Callable[[], Path | None]
    fetch: Callable[[], Path] | None = None  # downloads them, and returns their folder; for `fetch_weights`


@dataclass(frozen=True)
class FeatureLayer:
    """A layer inside a network whose output can serve as features. `layer` is the name of the Keras layer."""

    name: str
    layer: str
    shape: Shape  # of one example's map or token states


@dataclass(frozen=True)
class BuildOptions:
    """The request to `Spec.build`.

    weights: one of `WEIGHTS` that the spec offers, or the path of a file (for texts, of a folder). preset: what
    followed the colon in the backbone's name. pooling: how a map or token states become one row: `mean`; for texts also
    `cls`, `pooled` or `last`; or NO_POOLING. layer: the name of one of the spec's feature layers, or TOP. precision
    and pickles: see `load`.
    """

    weights: str
    preset: str = ""
    pooling: str = "mean"
    layer: str = TOP
    precision: str = "auto"
    pickles: bool = False


@dataclass(frozen=True)
class Large:
    """A network that is too large to be exported, so its head is exported alone and takes features.

    kept: how the weights are stored in memory, `float32`, `bfloat16`, `int8` or `int4`; all features are computed with
    these weights. If they do not fit in memory even so, the network is not a keras.Model: it has `output_shape` and
    `through`, which maps an iterator of tokens to an iterator of features. compute: the storage type together with the
    type that is multiplied in; the two determine the features. reason: why these were chosen.
    """

    kept: str
    compute: str
    parameters: int
    bytes: int  # of the weights, as stored in memory
    reason: str


@dataclass(frozen=True)
class Network:
    """What `Spec.build` returns: a network with its weights.

    model: a keras.Model that returns features, [batch, dim] float32; without pooling, maps [batch, height, width,
    channels] or token states [batch, length, dim], which are zero at padding. An image model takes [batch, size, size,
    3] float32 in [0, 255] and scales it to the range that it was trained with. A text model takes tokens, [batch,
    length] int32, the ids of `tokenizer`.
    """

    model: Any
    tokenizer: Any = None
    max_length: int = 0  # the most tokens it takes, if that differs from the spec's size
    parts: tuple[int, ...] = ()  # for a fused network: the number of features of each part, in order
    large: Large | None = None
    hash: str = ""  # of the weights, where it is not computed from the model's own values


@dataclass(frozen=True)
class Spec:
    """The description of a backbone before it is built. `build` makes the network."""

    name: str  # ends with ":" for a family of presets, `family:preset`
    summary: str
    size: int  # the side of the image, or the most tokens; 0 if it depends on the preset
    dim: int
    parameters: int
    weights: tuple[Weights, ...]
    build: Callable[[BuildOptions], Network]
    blocks: str  # pattern that the layer names of a block begin with, for unfreezing from the top
    preprocessing: str  # a short description, which is also part of the cache's key
    modality: Modality = IMAGE
    feature_layers: tuple[FeatureLayer, ...] = ()  # from input to output
    large: bool = False  # whether its weights may be stored in fewer bits and its head exported alone (see `Large`)
    parts: tuple["Spec", ...] = ()  # of a fused backbone `a+b`, in order; each part's own `blocks` then count
    file_sha256: str = ""  # of the user's file that defines it; "" for the backbones of this package

    def __repr__(self) -> str:
        return f"Spec({self.name}: {self.summary})"


@dataclass(frozen=True)
class Backbone:
    """A built backbone with its weights. `weights_hash` identifies their values, wherever they came from."""

    name: str
    spec: Spec
    model: Any  # keras.Model, see `Network`
    input: Input
    dim: int  # the last axis of its features
    weights: str  # as requested: one of `WEIGHTS`, or a path; of a fused backbone one each, separated by commas
    weights_hash: str
    pooling: str = "mean"
    layer: str = TOP
    parts: tuple[int, ...] = ()  # the number of features of each part of a fused backbone; otherwise (dim,)
    large: Large | None = None

    def __repr__(self) -> str:
        layer = "" if self.layer == TOP else f", layer {self.layer}"
        weights = "random weights" if self.random else f"weights: {self.weights}"
        return f"Backbone({self.name}: {self.spec.modality.nouns} to features of shape {self.shape}{layer}; {weights})"

    @property
    def shape(self) -> Shape:
        """Of one example's features: (dim,), or that of a map or of token states, whose length is None."""
        return tuple(self.model.output_shape[1:])

    @property
    def random(self) -> bool:
        """Whether all weights are random, which is useful for tests only."""
        return set(self.weights.split(",")) == {"none"}

    @property
    def random_parts(self) -> tuple[str, ...]:
        """The parts of a fused backbone whose weights are random while those of others are not."""
        parts = zip(self.name.split("+"), self.weights.split(","), strict=False)
        return () if self.random else tuple(name for name, weights in parts if weights == "none")

    def taking(self, input: Input) -> "Backbone":
        """The same network with another input, for example with another maximum length."""
        return replace(self, input=input)
