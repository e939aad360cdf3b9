"""The predicted part of a learning curve: two families of curves, weighted by how well they predict the largest size,
and fitted again to every bootstrap replicate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.studies.learning_curve.families import Array, families, fitted

INNER = (0.1, 0.9)  # the ends of an 80% interval
LEAST_VARIANCE = 1e-6  # of an error rate, where all replicates agree


@dataclass(frozen=True)
class Extrapolation:
    """Predicted error rates. at: sizes, [points]. center: [points]. replicates: [replicates, points], with the weight
    of each, [replicates]."""

    at: Array
    center: Array
    replicates: Array
    weight: Array

    def interval(self, point: int) -> tuple[float, float]:
        """The 80% interval of the error rate at a point."""
        low, high = self.quantiles(self.replicates[:, point])
        return low, high

    def quantiles(self, values: Array) -> tuple[float, float]:
        """The ends of the 80% interval of a value of each replicate, which may be infinite."""
        order = np.argsort(values, kind="stable")
        share = np.cumsum(self.weight[order])
        low, high = (float(values[order[min(int(np.searchsorted(share, end)), len(order) - 1)]]) for end in INNER)
        return low, high


@dataclass(frozen=True)
class Check:
    """The error rate of the largest size, predicted from the smaller ones. standard_error: of the difference. shares:
    the weight of each family, by its own miss."""

    predicted: float
    standard_error: float
    shares: tuple[float, ...]


def weights_of(errors: Array) -> Array:
    """The weight of each size in the sum of squares: one over the variance of its error rate. errors: [1 + replicates,
    sizes]."""
    weight = 1 / (errors[1:].var(axis=0) + LEAST_VARIANCE)
    return np.asarray(weight / weight.sum())


def check(sizes: Array, errors: Array) -> Check:
    """Hide the largest size, and predict it. errors: as measured, then of replicates, [1 + replicates, sizes]."""
    weight = weights_of(errors)[:-1]
    predicted = [fitted(shapes, sizes[:-1], errors[:, :-1], weight, sizes[-1:])[:, 0] for shapes in families(sizes)]
    misses = np.stack(predicted) - errors[:, -1]  # [families, 1 + replicates]
    spread = np.maximum(misses[:, 1:].std(axis=1), LEAST_VARIANCE ** 0.5)
    squares = (misses[:, 0] / spread) ** 2
    shares = np.exp(-(squares - squares.min()) / 2)
    shares /= shares.sum()
    joined = shares @ misses
    return Check(float(joined[0] + errors[0, -1]), max(float(joined[1:].std()), LEAST_VARIANCE ** 0.5),
                 tuple(shares.tolist()))


def extrapolate(sizes: Array, errors: Array, shares: tuple[float, ...], at: Array) -> Extrapolation:
    """Predict error rates at other sizes, from all sizes. shares: of the families."""
    weight = weights_of(errors)
    of_families = [fitted(shapes, sizes, errors, weight, at) for shapes in families(sizes)]
    center = sum(share * rates[0] for share, rates in zip(shares, of_families, strict=True))
    count = len(errors) - 1
    return Extrapolation(at, np.asarray(center), np.concatenate([rates[1:] for rates in of_families]),
                         np.repeat(np.array(shares) / count, count))


def rows_until(extrapolation: Extrapolation, errors: Array | float) -> tuple[float, float]:
    """At how many rows an error rate is reached: the ends of the 80% interval, infinite where that is beyond the last
    point. errors: one for all replicates, or for each, [replicates]."""
    reached = extrapolation.replicates <= np.reshape(errors, (-1, 1))
    first = extrapolation.at[reached.argmax(axis=1)]
    return extrapolation.quantiles(np.where(reached.any(axis=1), first, np.inf))


def last_doubling(sizes: Array, errors: Array) -> tuple[int, float, tuple[float, float]]:
    """How much the error rate fell over about the last doubling of rows: the place of the size where it begins, the
    fall, and its 80% interval."""
    half = int(np.abs(np.log(sizes[:-1] / sizes[-1] * 2)).argmin())
    fall: NDArray[np.float64] = errors[:, half] - errors[:, -1]
    low, high = np.quantile(fall[1:], INNER).tolist()
    return half, float(fall[0]), (low, high)
