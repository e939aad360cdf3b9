"""How the rows of a backbone are stored: their shape, their type, and the space of the cache that holds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.errors import OptionError
from kerastl.features.cache import Space, SpaceKey, known_space
from kerastl.features.engines.engine import Arithmetic


def row_shape(backbone: Backbone) -> tuple[int, ...]:
    """The shape of one stored row. Token states are padded with zeros to the maximum length of the input.

    Raises OptionError for texts in chunks, of which only pooled features can be averaged.
    """
    if None not in backbone.shape:
        return tuple(int(size or 0) for size in backbone.shape)
    if backbone.input.single_spec is None:
        raise OptionError("`long` is 'chunks', with a head that takes token states", "head or head+tail",
                          "change `long`, or choose a head that takes pooled features")
    return (int(backbone.input.single_spec.shape[1]), backbone.dim)


def stored_type(shape: tuple[int, ...]) -> str:
    """The type of stored rows of a shape: maps and token states are stored in float16."""
    return "float16" if len(shape) > 1 else "float32"


def as_stored(rows: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[Any]:
    """Rows as they are stored, each of `shape`: the token states of a batch of short texts are padded."""
    if len(shape) == 1 or rows.shape[1] == shape[0]:
        return rows.astype(stored_type(shape), copy=False)
    padded = np.zeros((len(rows), *shape), stored_type(shape))
    padded[:, :rows.shape[1]] = rows
    return padded


def space_of(cache_dir: Path, backbone: Backbone, compute: str) -> Space:
    """The space of a backbone's rows. compute: the arithmetic, such as float32."""
    return Space(cache_dir, _key_of(backbone, compute))


def best_filled(cache_dir: Path, backbone: Backbone, candidates: Sequence[Arithmetic], keys: Sequence[str]
                ) -> Arithmetic | None:
    """The arithmetic in which the cache has most of these rows; None where it has less than half of them in any."""
    filled = {candidate: int(space.has(keys).sum()) for candidate in candidates
              if (space := known_space(cache_dir, _key_of(backbone, candidate.key)))}
    best = max(filled, key=lambda candidate: filled[candidate], default=None)
    return best if best and 2 * filled[best] >= max(1, len(keys)) else None


def _key_of(backbone: Backbone, compute: str) -> SpaceKey:
    preprocessing = f"{backbone.spec.preprocessing}, {backbone.input.version}"
    shape = row_shape(backbone)
    return SpaceKey(backbone.name, backbone.weights_hash, preprocessing, backbone.layer, backbone.pooling, compute,
                    shape, stored_type(shape))
