"""A head that ships alone: what it is exported and compared on, and the backbone that its features come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone, load
from kerastl.data.examples import Examples
from kerastl.errors import ModelError, OptionError
from kerastl.features.compute import Features, compute_features
from kerastl.features.layout import row_shape
from kerastl.inputs.features import FeatureRows
from kerastl.runtime import Runtime, choose


@dataclass(frozen=True)
class Kept(Sequence[NDArray[np.float32]]):
    """The features of some examples as a column, each read from the cache when asked for."""

    features: Features
    places: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: NDArray[np.intp]) -> "Kept":
        """These rows only, which stay in the cache."""
        return Kept(self.features, self.places[rows])

    @overload
    def __getitem__(self, place: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, place: slice) -> list[NDArray[np.float32]]: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        rows = np.atleast_1d(self.places[place])
        found = self.features.rows(rows)
        return list(found) if isinstance(place, slice) else found[0]


def as_rows(features: Features) -> tuple[FeatureRows, Examples]:
    """What a head alone takes, and the examples as such: their items are their features."""
    items = Kept(features, np.arange(len(features.examples)))
    return FeatureRows(features.space.key.shape), replace(features.examples, items=items)


def about(backbone: Backbone) -> dict[str, Any] | None:
    """For the run record: how to have the backbone of a head that ships alone again; None where both ship."""
    if backbone.large is None:
        return None
    large, shape = backbone.large, row_shape(backbone)
    ships = (f"the head alone, which takes features {' x '.join(map(str, shape))}: {backbone.name}, its weights "
             f"{large.kept} ({large.bytes / 2**30:.2f} GiB), stays apart in the folder it came from, for it is over "
             "2 GB or kept in fewer than 32 bits; `kerastl predict` runs both")
    return {"shape": list(shape), "kept": large.kept, "tokens": backbone.input.version,
            "parameters": large.parameters, "bytes": large.bytes,
            "word": large.word, "ships": ships}


def backbone_of(run: dict[str, Any]) -> Backbone:
    """The backbone that a version's head was trained on, from the folder it came from.

    Raises ModelError when the folder is gone or holds other weights, WeightsError when it is damaged.
    """
    path = run["weights"]
    if path != "none" and not Path(path).is_dir():
        raise ModelError(f"the backbone's weights are gone from {path}", "the folder that the model was trained with",
                         "put it back there, or say where it is now: --weights DIR")
    found = load(run["backbone"], path, modality=run["kind"], pooling=run["pooling"], tap=run["tap"],
                 precision=run["large"]["kept"], pickles=run["config"].get("pickles", False))
    changed = [what for what, is_same in (("weights", found.weights_hash == run["weights_hash"]),
                                          ("tokens", found.input.version == run["large"]["tokens"])) if not is_same]
    if changed:
        raise ModelError(f"{path} holds other {' and '.join(changed)} than the model was trained with",
                         "the same folder, unchanged", "fetch it again, or train again")
    given = {key: run["input"][key] for key in ("max_length", "long", "pair")}
    return found.taking(replace(found.input, **given))  # type: ignore[type-var]


def moved(run: dict[str, Any], weights: str | None) -> dict[str, Any]:
    """The run record with another place of its backbone's weights, where one is given. Raises OptionError for a model
    that has its backbone inside."""
    if weights is None:
        return run
    if not run.get("large"):
        raise OptionError(f"--weights {weights} for a model that has its backbone inside",
                          "a model whose backbone stays apart", "leave it out")
    return {**run, "weights": str(Path(weights).absolute())}


def as_shipped(examples: Examples, run: dict[str, Any], cache_dir: Path) -> Examples:
    """Examples as what a version ships takes them: as they are; for a head alone by their features, from the cache or
    computed."""
    if not run.get("large"):
        return examples
    return as_rows(compute_features(examples, backbone_of(run), _runtime(), cache_dir=cache_dir))[1]


def _runtime() -> Runtime:
    """Of no effect on a large network, whose weights decide what it computes in."""
    return choose("float32", "off", gpu=False, bfloat16_cpu=False)
