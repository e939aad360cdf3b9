"""Features of places as pooled features: the mean of each map, or of the states of a text's tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.cache import Space
from kerastl.features.compute import Features

BLOCK = 64  # rows read at a time: maps are large


def means_of(features: Features) -> Features:
    """The same features averaged over places, (dim,) each; tokens that are padding do not count. Pooled features are
    returned as they are."""
    if len(features.shape) == 1:
        return features
    return replace(features, shape=(features.dim,), space=_Means(features.space),
                   held_out_space=_Means(features.held_out_space))


class _Means(Space):
    """Reads the rows of a space of maps or token states, averaged. Nothing is stored."""

    def __init__(self, space: Space) -> None:
        self.key, self._maps = replace(space.key, shape=space.key.shape[-1:]), space

    def has(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """As `Space.has`."""
        return self._maps.has(ids)

    def gather(self, ids: Sequence[str]) -> NDArray[Any]:
        """As `Space.gather`: [n, dim] float32."""
        means = [mean_over_places(self._maps.gather(ids[i:i + BLOCK])) for i in range(0, len(ids), BLOCK)]
        return np.concatenate(means) if means else np.zeros((0, *self.key.shape), np.float32)


def mean_over_places(rows: NDArray[Any]) -> NDArray[np.float32]:
    """[n, height, width, dim] or [n, length, dim] -> [n, dim]; [n, dim] is returned as it is."""
    if rows.ndim == 2:
        return np.asarray(rows, np.float32)
    if rows.ndim == 4:
        return rows.mean(axis=(1, 2), dtype=np.float32)
    present = (rows != 0).any(axis=2).sum(axis=1)
    return np.asarray(rows.sum(axis=1, dtype=np.float32) / np.maximum(present, 1)[:, None], np.float32)
