"""How features are scaled where one Dense layer is fitted on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features

BLOCK = 4096  # rows read at a time


def blocks_of(rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows in blocks that are small enough to be read at a time."""
    return [rows[i:i + BLOCK] for i in range(0, len(rows), BLOCK)]


def scale_of(variance: NDArray[Any], parts: Sequence[int] = ()) -> NDArray[np.float32]:
    """The divisor of each feature: the square root of its own variance plus the mean variance of all features. [dim] ->
    [dim] float32.

    Divided by its own standard deviation alone, a feature that hardly varies in training would be magnified, and new
    inputs that vary in it with it. parts: the number of features of each part of a fused backbone. The mean is then
    over the part: by the mean of both, the part of the smaller scale would vanish under the penalty.
    """
    of_parts = np.split(variance, np.cumsum(parts, dtype=int)[:-1])
    typical = np.concatenate([np.full(len(part), part.mean()) for part in of_parts])
    return np.where(typical > 0, np.sqrt(variance + typical), 1.0).astype(np.float32)


def mean_and_scale(features: Features, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean of each feature over these rows, and its `scale_of`: [dim] each. Read block by block."""
    first, total, squares = features.rows(rows[:1]), np.zeros(features.dim), np.zeros(features.dim)
    for numbers in blocks_of(rows):
        block = (features.rows(numbers) - first).astype(np.float64)
        total, squares = total + block.sum(axis=0), squares + (block**2).sum(axis=0)
    mean = total / len(rows)
    variance = (squares / len(rows) - mean**2).clip(0)
    return (first[0] + mean).astype(np.float32), scale_of(variance, features.parts)
