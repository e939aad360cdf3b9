"""A model whose head is exported alone, because its backbone is too large: the features that the head takes, and the
backbone that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone, load
from kerastl.data.examples import Examples
from kerastl.errors import ModelError, OptionError
from kerastl.features.compute import Features, compute_features
from kerastl.features.layout import row_shape
from kerastl.inputs.features import FeatureRows
from kerastl.runtime import Runtime, choose
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import SeparateBackbone


@dataclass(frozen=True)
class CachedRows(Sequence[NDArray[np.float32]]):
    """The features of some examples as a column; each is read from the cache on access."""

    features: Features
    places: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: NDArray[np.intp]) -> "CachedRows":
        """Only these rows, which stay in the cache."""
        return CachedRows(self.features, self.places[rows])

    @overload
    def __getitem__(self, place: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, place: slice) -> list[NDArray[np.float32]]: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        values = self.features.rows(np.atleast_1d(self.places[place]))
        return list(values) if isinstance(place, slice) else values[0]


def as_rows(features: Features) -> tuple[FeatureRows, Examples]:
    """The input of a head that is exported alone, and the examples for it: their items are their features."""
    items = CachedRows(features, np.arange(len(features.examples)))
    return FeatureRows(features.space.key.shape), replace(features.examples, items=items)


def separate_backbone(backbone: Backbone) -> SeparateBackbone | None:
    """The record's section about a backbone that is not exported with its head; None where it is."""
    if backbone.large is None:
        return None
    large, shape = backbone.large, row_shape(backbone)
    ships = (f"only the head is exported; it takes features of shape {' x '.join(map(str, shape))}. The backbone "
             f"{backbone.name} (weights in {large.kept}, {large.bytes / 2**30:.2f} GiB) stays in its own folder, "
             "because it is larger than 2 GB or stored in fewer than 32 bits; `kerastl predict` runs both")
    return SeparateBackbone(shape, large.kept, backbone.input.version, large.parameters, large.bytes, large.reason,
                            ships)


def backbone_of(record: RunRecord) -> Backbone:
    """The backbone that a version's head was trained on, from the folder it came from.

    Raises ModelError when the version has its backbone inside, or when the folder is gone or holds other weights,
    WeightsError when it is damaged.
    """
    if record.large is None:
        raise ModelError(f"{record.path or record.name} was exported with its backbone", "a head exported alone",
                         "load the model instead")
    path = record.weights
    if path != "none" and not Path(path).is_dir():
        raise ModelError(f"the backbone's weights are no longer in {path}", "the folder that the model was trained "
                         "with", "restore it, or set `weights` to its new location")
    backbone = load(record.backbone, path, modality=record.modality_name, pooling=record.pooling,
                    layer=record.feature_layer, precision=record.large.kept,
                    pickles=record.config.get("pickles", False))
    changed = [what for what, same in (("weights", backbone.weights_hash == record.weights_hash),
                                       ("tokenizer", backbone.input.version == record.large.tokens)) if not same]
    if changed:
        raise ModelError(f"the {' and '.join(changed)} in {path} differ from those that the model was trained with",
                         "the same folder, unchanged", "download it again, or train again")
    settings = {name: record.input[name] for name in ("max_length", "long", "pair")}
    return backbone.taking(replace(backbone.input, **settings))  # type: ignore[type-var]


def with_weights(record: RunRecord, weights: str | None) -> RunRecord:
    """The record with a new location of its backbone's weights, where one is given. Raises OptionError for a model that
    was exported with its backbone."""
    if weights is None:
        return record
    if record.large is None:
        raise OptionError(f"`weights` is {weights!r}, but the model was exported with its backbone",
                          "a model that was exported without its backbone", "omit `weights`")
    return replace(record, weights=str(Path(weights).absolute()))


def as_exported(examples: Examples, record: RunRecord, cache_dir: Path) -> Examples:
    """Examples as the exported model takes them: unchanged; for a head that is exported alone, their features, from the
    cache or computed."""
    if record.large is None:
        return examples
    return as_rows(compute_features(examples, backbone_of(record), _runtime(), cache_dir=cache_dir))[1]


def _runtime() -> Runtime:
    """It does not affect a large network, whose weights decide what it computes in."""
    return choose("float32", "off", gpu=False, bfloat16_cpu=False)
