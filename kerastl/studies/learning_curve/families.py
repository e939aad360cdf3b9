"""Two families of curves, fitted to error rates by weighted least squares.

The error rate of n rows is `a + b * g(n)`, with a and b not below 0, so that it falls towards a. The shapes g come from
two families: the power law with an offset, POW4, `(n + c) ** -d`, and MMF4 (Morgan-Mercer-Flodin), `1 / (1 + (n / h) **
d)`. Both are among the best of the curves that were compared on the learning curve database LCDB (Mohr et al. 2022;
LCDB 1.1: https://arxiv.org/abs/2505.15657). Shapes are tried on a grid, and a and b solved for, so that a fit neither
depends on where it starts nor fails.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OFFSETS = (0.0, 0.5, 1.0, 2.0, 4.0)  # c of POW4, over the smallest size
POWERS = tuple(np.geomspace(0.1, 1.6, 13).tolist())  # d of POW4
HALVES = 8  # values of h of MMF4, from half of the smallest size to the largest
SLOPES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # d of MMF4


@dataclass(frozen=True)
class Shapes:
    """The shapes of a family. at: sizes [m] -> [shapes, m], in (0, 1]."""

    name: str
    parameters: tuple[tuple[float, float], ...]

    def at(self, sizes: Array) -> Array:
        """The shapes at these sizes."""
        n = np.asarray(sizes, np.float64)[None]
        first, second = (np.array(values)[:, None] for values in zip(*self.parameters, strict=True))
        return ((n + first) / (1 + first)) ** -second if self.name == "POW4" else 1 / (1 + (n / first) ** second)


def families(sizes: Array) -> tuple[Shapes, Shapes]:
    """The two families, for a curve that was measured at these sizes."""
    low, high = float(sizes.min()), float(sizes.max())
    return (Shapes("POW4", tuple(product([share * low for share in OFFSETS], POWERS))),
            Shapes("MMF4", tuple(product(np.geomspace(low / 2, high, HALVES).tolist(), SLOPES))))


def fitted(shapes: Shapes, sizes: Array, errors: Array, weight: Array, at: Array) -> Array:
    """The error rates of the best shape at other sizes. errors: [replicates, sizes]; weight: of each size in the sum of
    squares, [sizes]; at: [points] -> [replicates, points]."""
    g = shapes.at(sizes)
    total, of_g, of_gg = weight.sum(), g @ weight, (g**2) @ weight  # [shapes]
    e, eg = errors @ weight, (errors * weight) @ g.T  # [replicates], [replicates, shapes]
    b = (total * eg - of_g * e[:, None]) / np.maximum(total * of_gg - of_g**2, 1e-300)
    a = (e[:, None] - b * of_g) / total
    below = a < 0  # the best curve that falls to 0
    a, b = np.where(below, 0.0, a), np.where(below, eg / of_gg, b)
    flat = b < 0
    a, b = np.where(flat, e[:, None] / total, a), np.where(flat, 0.0, b)
    # the sum of squares, without the part that all shapes share
    squares = a**2 * total + b**2 * of_gg + 2 * a * b * of_g - 2 * a * e[:, None] - 2 * b * eg
    best = squares.argmin(axis=1)
    each = np.arange(len(errors))
    return a[each, best, None] + b[each, best, None] * shapes.at(at)[best]
