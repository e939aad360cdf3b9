"""Backbones: pretrained networks whose features are used. One file here is one backbone (or one family of presets).

A file defines `SPEC`. Nothing else has to be edited: names, tables and the sweeping tests find it here.
"""

import hashlib
import importlib
import os
import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kerastl.errors import OptionError, WeightsError, unknown

WEIGHTS = ("bundled", "imagenet", "none")


@dataclass(frozen=True)
class Weights:
    """Where one set of weights comes from. `find` gives its file if it is on this machine, else None."""

    kind: str  # bundled | imagenet
    origin: str  # in words: package, or address and hash
    licence: str
    find: Callable[[], Path | None]


@dataclass(frozen=True)
class Spec:
    """What is known of a backbone before it is built. `build(weights, preset)` makes the network.

    The network takes pixels, images: [batch, size, size, 3] float32 in [0, 255], scales them itself to the range it was
    trained with, and gives features: [batch, dim] float32.
    weights is one of `WEIGHTS` that the spec has, or the path of a weights file.
    """

    name: str  # ends with ":" for a family whose presets are named after it
    summary: str
    size: int  # 0: the preset says
    dim: int
    parameters: int
    weights: tuple[Weights, ...]
    build: Callable[[str, str], Any]
    blocks: str  # pattern of how a block's layer names begin, for unfreezing from the top
    preprocessing: str  # in words, and in the cache's key
    kind: str = "image"


@dataclass(frozen=True)
class Backbone:
    """A built backbone with its weights. `weights_hash` names the numbers in it, wherever they came from."""

    name: str
    spec: Spec
    model: Any  # keras.Model: [batch, size, size, 3] float32 in [0, 255] -> [batch, dim] float32
    size: int
    dim: int
    weights: str  # as asked for: bundled, imagenet, none or a path
    weights_hash: str

    @property
    def random(self) -> bool:
        """Whether the weights are random: fit for tests only."""
        return self.weights == "none"


@cache
def specs() -> dict[str, Spec]:
    """Every backbone here, by name."""
    modules = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    found = (importlib.import_module(f"{__name__}.{name}").SPEC for name in modules)
    return {spec.name: spec for spec in found}


def spec_of(name: str) -> tuple[Spec, str]:
    """The spec for a name, and the preset after its colon. Raises OptionError for a name that is not known."""
    family, colon, preset = name.partition(":")
    if family + colon not in specs():
        raise unknown("backbone", name, specs())
    return specs()[family + colon], preset


def load(name: str, weights: str | None = None) -> Backbone:
    """Build a backbone with weights: `bundled`, `imagenet`, `none` (random) or a file. Default: the spec's first kind.

    Raises OptionError for an unknown name, WeightsError when the weights cannot be had.
    """
    spec, preset = spec_of(name)
    weights = weights or spec.weights[0].kind
    kinds = [one.kind for one in spec.weights]
    if weights not in (*kinds, "none") and not Path(weights).is_file():
        got = f"{name} has no {weights} weights" if weights in WEIGHTS else f"no such weights file: {weights}"
        raise OptionError(f"--weights {weights}: {got}", f"{', '.join(kinds)}, none, or a weights file", "check it")
    model = spec.build(weights, preset)
    _, height, width, _ = model.input_shape
    if height != width or height is None:
        raise OptionError(f"backbone {name} takes {height} x {width} pictures", "a square of fixed size",
                          "choose another")
    return Backbone(name, spec, model, height, int(model.output_shape[-1]), weights, weights_hash(model))


def weights_hash(model: Any) -> str:
    """A hash of every number in a model: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for value in model.get_weights():
        digest.update(str((value.shape, value.dtype)).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


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
