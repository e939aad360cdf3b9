"""The principal axes of rows, on which the convex problem of a linear head is solved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float32]

NEGLIGIBLE = 1e-6  # the variance along an axis, over the largest, below which float32 does not resolve the axis


@dataclass(frozen=True)
class Axes:
    """Rows [n, dim] and their principal axes. Weights on the axes have the norm of the kernel that they stand for.

    rows: [n, axes] on the axes; or [n, dim] as they are, with `basis` [dim, axes]. variance: along each axis.
    kernel: weights [axes, outputs] -> [dim, outputs].
    """

    rows: Array
    basis: Array | None
    variance: Array
    kernel: Callable[[Array], Array]

    def logits(self, weights: Array) -> Array:
        """weights: [axes, outputs] -> [n, outputs]."""
        return np.asarray(self.rows @ (weights if self.basis is None else self.basis @ weights), np.float32)

    def gradient(self, error: Array) -> Array:
        """error: the loss by the logits, [n, outputs] -> by the weights, [axes, outputs]."""
        by_columns = self.rows.T @ error
        return by_columns if self.basis is None else self.basis.T @ by_columns


def principal_axes(z: Array) -> Axes:
    """The principal axes of rows [n, dim]. With fewer rows than features, those in the rows' span alone: the
    regularised solution lies in it, so that solving there is exact."""
    n, dim = z.shape
    square = z @ z.T if n < dim else z.T @ z
    # transposed, for LAPACK to find it in its own order and to overwrite it
    squares, vectors = scipy.linalg.eigh(square.T, driver="evd", overwrite_a=True, check_finite=False)
    if n >= dim:
        return Axes(z, vectors, squares.clip(0) / n, lambda weights: vectors @ weights)
    some = squares > squares[-1] * NEGLIGIBLE
    squares = squares[some]
    rows = np.ascontiguousarray(vectors[:, some] * np.sqrt(squares))
    return Axes(rows, None, squares / n, lambda weights: z.T @ (rows @ (weights / squares[:, None])))
