"""Scores of how unlike the training data an input is, and the threshold above which it is "none of these".

A distance is computed on features of length 1, because lengths differ from class to class (Mahalanobis++,
https://arxiv.org/abs/2505.18032), along the principal axes of the variation within classes; what the axes leave out
counts too, since that is where inputs of another kind differ. The threshold is split conformal
(https://arxiv.org/abs/2104.08279): of new rows like the calibration rows, at most 1 - coverage exceed it on average.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.fields import Section

NEIGHBOURS, MAHALANOBIS, RELATIVE = "neighbours", "mahalanobis", "relative mahalanobis"
MAX_LOGIT, ENERGY = "max logit", "energy"
DISTANCES = (NEIGHBOURS, MAHALANOBIS, RELATIVE)  # scores of features
LOGIT_SCORES = (MAX_LOGIT, ENERGY)
LABEL = "none of these"
COVERAGE = 0.95
OFF, ON = MODES = ("off", "on")
COVERAGES = (0.8, 0.9, 0.95, 0.98, 0.99)  # whose thresholds are recorded beside the requested one
AXES = 64  # principal axes, at most
CENTRES = 256  # that stand for the rows, at most
STEPS = 10  # of k-means
LARGE = 2000  # rows and dimensions from which the axes are approximated
LEAST = 1e-9
LEAST_UNIT = 1e-3  # so that rounding errors of a score in float32 stay far below its unit
Array = NDArray[Any]


def rejection_faults(coverage: float, reject: str, classes: Sequence[str] = ()) -> list[str]:
    """One sentence for each of the arguments that cannot be used, with these classes."""
    faults = [(not 0 < coverage < 1, f"`coverage` must be between 0 and 1, such as 0.95 (got {coverage})"),
              (reject == ON and LABEL in classes, f'`reject` is {ON}, but the data have a class "{LABEL}", which could '
               "not be told from rejected inputs; rename the class, or omit `reject`")]
    return [*(message for wrong, message in faults if wrong), *on_or_off("reject", reject)]


def on_or_off(argument: str, value: str) -> list[str]:
    """One sentence for a value that is neither."""
    return [f"`{argument}` must be one of {', '.join(MODES)} (got {value})"] * (value not in MODES)


@dataclass(frozen=True)
class Ops:
    """The operations that a score is made of, of one library."""

    sum: Callable[..., Any]
    min: Callable[..., Any]
    max: Callable[..., Any]
    sqrt: Callable[..., Any]
    maximum: Callable[..., Any]
    logsumexp: Callable[..., Any]


def numpy_ops() -> Ops:
    """Those of NumPy and SciPy."""
    from scipy.special import logsumexp

    return Ops(np.sum, np.min, np.max, np.sqrt, np.maximum, logsumexp)


def tensorflow_ops() -> Ops:
    """Those of TensorFlow, for use in a graph."""
    import tensorflow as tf

    return Ops(tf.reduce_sum, tf.reduce_min, tf.reduce_max, tf.sqrt, tf.maximum, tf.reduce_logsumexp)


@dataclass(frozen=True)
class Distances:
    """The squared distance of a feature of length 1 from the nearest of `centres`, along axes, plus `outside` times the
    squared length of what the axes leave out; minus, where there is a background, the distance from that.

    mean: [dim]; axes: [dim, r], orthonormal; scale: [r], that distances along the axes are multiplied by; centres: [m,
    r], scaled; background: [r] and [r, r], a mean and what whitens around it.
    """

    mean: Array
    axes: Array
    scale: Array
    centres: Array
    outside: float
    background: tuple[Array, Array] | None = None

    def scores(self, features: Any, ops: Ops) -> Any:
        """[n, dim] -> [n]."""
        length = ops.sqrt(ops.sum(features * features, axis=-1, keepdims=True))
        around = features / ops.maximum(length, LEAST) - self.mean
        along = around @ self.axes
        scaled = along * self.scale
        to_centres = (ops.sum(scaled * scaled, axis=-1, keepdims=True) - (scaled @ self.centres.T) * 2.0
                      + (self.centres**2).sum(axis=1))
        score = ops.min(to_centres, axis=-1)
        if self.outside:
            score = score + (ops.sum(around * around, axis=-1) - ops.sum(along * along, axis=-1)) * self.outside
        if self.background is not None:
            white = (scaled - self.background[0]) @ self.background[1]
            score = score - ops.sum(white * white, axis=-1)
        return score


@dataclass(frozen=True)
class Detector:
    """How unlike the training data an input is: `unknown_score`, which is higher for what is more unlike them.

    It is 0 at the threshold, above which an input is "none of these", where a threshold exists; else at the highest
    score of the calibration rows. Its unit is the interquartile range of the calibration rows' scores. name: of the
    score, one of `DISTANCES` or `LOGIT_SCORES`; distances: None for a score of logits. reject: whether such an input
    gets the label "none of these".
    """

    name: str
    distances: Distances | None = None
    offset: float = 0.0
    unit: float = 1.0
    reject: bool = False

    def scores(self, features: Any, logits: Any, ops: Ops) -> Any:
        """`unknown_score`, [n]. features: [n, dim], means over places; logits: [n, classes], not calibrated."""
        raw = logit_score(self.name, logits, ops) if self.distances is None else self.distances.scores(features, ops)
        return (raw - self.offset) / self.unit

    def numpy(self, features: Array, logits: Array) -> NDArray[np.float32]:
        """The same with NumPy, in float32 as the exported graphs compute it."""
        return np.asarray(self.scores(features, logits, numpy_ops()), np.float32)


def logit_score(name: str, logits: Any, ops: Ops) -> Any:
    """The negative of the largest logit, or of the log of the sum of their exponentials: [n, classes] -> [n]."""
    return -(ops.max(logits, axis=-1) if name == MAX_LOGIT else ops.logsumexp(logits, axis=-1))


@dataclass(frozen=True)
class Axes:
    """Features of some rows along their principal axes, from which each distance is made. along: [n, r]; variance:
    [r], shrunk; rest: of a dimension that the axes leave out."""

    mean: Array
    axes: Array
    along: Array
    members: Array  # [n, classes] of 0 and 1
    variance: Array
    rest: float

    def distances(self, name: str) -> Distances:
        """The distance of a name, in float32."""
        if name == NEIGHBOURS:
            return self._made(np.ones(len(self.variance)), _coreset(self.along), 1.0)
        scale = 1 / np.sqrt(self.variance)
        whitened = self.along * scale
        counts = self.members.sum(axis=0)
        centres = (self.members.T @ whitened)[counts > 0] / counts[counts > 0, None]
        if name == MAHALANOBIS:
            return self._made(scale, centres, 1 / self.rest)
        mean = whitened.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(whitened.T, bias=True).reshape(len(scale), -1))
        shrunk = np.maximum(values, 0) + 0.1  # whitened within classes, so that most values are near 1
        return self._made(scale, centres, 0.0, (mean, vectors / np.sqrt(shrunk)))

    def _made(self, scale: Array, centres: Array, outside: float, background: tuple[Array, Array] | None = None
              ) -> Distances:
        return Distances(_f32(self.mean), _f32(self.axes), _f32(scale), _f32(centres), float(outside),
                         None if background is None else (_f32(background[0]), _f32(background[1])))


def _f32(value: Array) -> NDArray[np.float32]:
    return np.ascontiguousarray(value, np.float32)


def principal_axes(features: Array, members: Array) -> Axes:
    """The axes along which features vary within classes. features: [n, dim]; members: [n, classes] of 0 and 1, the
    classes of each row; a row of several, or none, is compared with the mean of all rows."""
    x = np.asarray(features, np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), LEAST)
    mean, counts = x.mean(axis=0), members.sum(axis=0)
    single = (members.sum(axis=1) == 1)[:, None]
    means = (members.T @ x) / np.maximum(counts, 1)[:, None]
    within = x - np.where(single, members @ means, mean)
    n, dim = x.shape
    share, average = _shrinkage(within)
    variance, axes = top_axes(within, min(AXES, n, dim))
    total = float((within**2).sum() / n)
    rest = max(total - float(variance.sum()), 0.0) / max(1, dim - len(variance))
    shrunk = (1 - share) * variance + share * average
    return Axes(mean, axes, (x - mean) @ axes, members, np.maximum(shrunk, LEAST),
                max((1 - share) * rest + share * average, LEAST))


def top_axes(z: Array, r: int) -> tuple[Array, Array]:
    """The largest variances and their axes, [r] and [dim, r]; fewer where rows lie in fewer dimensions. z: [n, dim],
    centred."""
    n, dim = z.shape
    if min(n, dim) > LARGE:
        from sklearn.utils.extmath import randomized_svd

        _, singular, rows = randomized_svd(z, r, random_state=0)
        values, axes = singular**2, rows.T
    else:
        from scipy.linalg import eigh

        square = z @ z.T if n < dim else z.T @ z
        values, vectors = eigh(square, subset_by_index=(len(square) - r, len(square) - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
        axes = z.T @ vectors / np.sqrt(np.maximum(values, LEAST**2)) if n < dim else vectors
    kept = values > max(values[0] * 1e-9, LEAST**2)
    kept[0] = True
    return np.maximum(values[kept], 0) / n, axes[:, kept]


def _shrinkage(z: Array) -> tuple[float, float]:
    """The share of Ledoit and Wolf (2004) by which a covariance is shrunk to a multiple of the identity, and that
    multiple. z: [n, dim], centred."""
    n, dim = z.shape
    square = z @ z.T if n < dim else z.T @ z
    average, spread = float((z**2).sum() / n / dim), float((square**2).sum() / n**2)
    error = (float(((z**2).sum(axis=1) ** 2).sum()) / n - spread) / n
    excess = spread - dim * average**2
    return (float(min(max(error, 0.0) / excess, 1.0)) if excess > 0 else 1.0), average


def _coreset(rows: Array) -> Array:
    """Centres that stand for the rows, by k-means: one for two rows, and at most 256."""
    from sklearn.cluster import KMeans

    rows = _f32(rows)
    number = max(1, min(CENTRES, len(np.unique(rows, axis=0)) // 2))
    spaced = rows[np.linspace(0, len(rows) - 1, number).astype(np.intp)]
    return np.asarray(KMeans(number, init=spaced, n_init=1, max_iter=STEPS).fit(rows).cluster_centers_)


def conformal_threshold(scores: Array, coverage: float) -> float | None:
    """The score that a new row exceeds with a probability of at most 1 - coverage, if it is exchangeable with these
    rows; None where they are too few: below 19 for 0.95."""
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if 0 < rank <= len(scores) else None


def calibrated_detector(detector: Detector, raw: Array, coverage: float) -> tuple[Detector, float | None]:
    """The detector with its threshold at 0, and that threshold before; None where there is none. raw: scores of the
    calibration rows, by a detector that has not seen them."""
    threshold = conformal_threshold(raw, coverage)
    low, high = np.percentile(raw, [25, 75]) if len(raw) else (0.0, 1.0)
    unit = max(float(high - low), LEAST_UNIT)
    offset = threshold if threshold is not None else float(raw.max(initial=0.0))
    return replace(detector, offset=offset, unit=unit, reject=detector.reject and threshold is not None), threshold


@dataclass(frozen=True)
class ScoreTrial(Section):
    """A score, and the mean of its AUROCs for classes that were left out in turn."""

    name: str
    auroc: float


@dataclass(frozen=True)
class LeftOutClass(Section):
    """How well rows of a class are told from the others by a score that was fitted without the class: the AUROC, and
    the number of such rows."""

    name: str
    auroc: float
    n: int


@dataclass(frozen=True)
class RejectionResult(Section):
    """What was found about rejecting inputs. score: what `unknown_score` is computed by. threshold: of
    `unknown_score`, None where there were too few calibration rows. thresholds: for other coverages, by coverage.

    trials: the scores that were compared; empty where there was nothing to choose. auroc: the mean over `classes`.
    rejected: the fraction of `n` rows above a threshold that comes from other rows. reason: why this score, in words;
    limits: what could not be measured.
    """

    score: str
    coverage: float
    threshold: float | None
    reject: bool = False
    calibration_rows: int = 0
    calibrated_on: str = ""
    thresholds: dict[str, float] | None = None
    trials: tuple[ScoreTrial, ...] = ()
    of_folds: tuple[str, ...] = ()
    auroc: float | None = None
    classes: tuple[LeftOutClass, ...] = ()
    rejected: float | None = None
    rejected_ci95: tuple[float, float] | None = None
    n: int = 0
    reason: str = ""
    limits: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Rejection:
    """A detector, and what was found about it."""

    detector: Detector
    result: RejectionResult

    def __repr__(self) -> str:
        return f"Rejection({self.detector.name}, coverage {self.result.coverage:g}, rejected {self.result.rejected})"


def thresholds_of(raw: Array, detector: Detector, coverages: Sequence[float] = COVERAGES) -> dict[str, float]:
    """Thresholds of `unknown_score` for some coverages, where the rows are enough. raw: as `calibrated_detector` takes
    them."""
    found = {f"{coverage:g}": conformal_threshold(raw, coverage) for coverage in coverages}
    return {name: (value - detector.offset) / detector.unit for name, value in found.items() if value is not None}
