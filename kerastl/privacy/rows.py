"""Rows as a private release takes them: each of norm 1, each group of weight 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PROJECTION_SEED = 0  # public: the projection does not depend on the data
SMALLEST, LARGEST = 64, 256  # dimensions of the projection
TINY = 1e-12


@dataclass(frozen=True)
class Rows:
    """Rows of some groups. x: [n, dim] features. y: [n] numbers of classes. groups: [n] the name of each row's
    group."""

    x: Array
    y: NDArray[np.int64]
    groups: Sequence[str]

    @property
    def weights(self) -> Array:
        """One over the number of rows of each row's group, [n]: the rows of a group count as one together."""
        _, number, counts = np.unique(np.asarray(self.groups), return_inverse=True, return_counts=True)
        return np.asarray(1.0 / counts[number]) if len(self.groups) else np.zeros(0)

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return len(set(self.groups))


def unit(x: Array) -> Array:
    """Rows divided by their L2 norm; zero rows stay zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), TINY))


def projection(dim: int, dimensions: int) -> Array:
    """A public random projection, [dim, dimensions]; the identity where it would not make rows shorter."""
    if dimensions >= dim:
        return np.eye(dim)
    generator = np.random.default_rng(PROJECTION_SEED)
    return np.asarray(generator.normal(size=(dim, dimensions)) / np.sqrt(dimensions))


def dimensions_for(groups: float, strength: float) -> int:
    """How many dimensions a release of this strength can fill: the power of two that is not below a quarter of groups
    times strength, from SMALLEST to LARGEST. Measured on stamps and snippets; see docs/results.md. groups: the noised
    number of them."""
    wanted = max(groups, 1.0) * strength / 4
    return int(min(LARGEST, max(SMALLEST, 2 ** int(np.ceil(np.log2(max(wanted, 1.0)))))))
