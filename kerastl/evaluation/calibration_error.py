"""Calibration error: how far confidences are from accuracies, how certain that is, and how much of it is chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.evaluation.result import ReliabilityBin

BINS = 15  # of the calibration error: Guo et al. 2017, https://arxiv.org/abs/1706.04599
DRAWS = 400  # of the bootstrap, and of labels by chance
MOST = 40_000_000  # predictions drawn in total, which limits the draws of large data
FEWEST_DRAWS = 100


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error (ECE), in [0, 1]. ci95: from a bootstrap of clusters.

    by_chance: the mean and the 95th percentile of the ECE that a perfectly calibrated model with the same confidences
    would show on these rows. It is not zero, because an average of few rows is not their probability. A model whose ECE
    does not exceed the percentile shows no miscalibration.
    """

    ece: float
    ci95: tuple[float, float]
    by_chance: tuple[float, float]


def ece(confidence: NDArray[Any], correct: NDArray[Any]) -> float:
    """Expected calibration error: the gap between confidence and accuracy, averaged over 15 bins of equal width.
    confidence: [n] in [0, 1]; correct: [n] of 0 and 1."""
    gaps = (part.n * abs(part.confidence - part.accuracy) for part in reliability(confidence, correct))
    return float(sum(gaps) / max(1, len(correct)))


def calibration_error(confidence: NDArray[Any], correct: NDArray[Any], cluster: NDArray[np.intp]) -> CalibrationError:
    """The ECE of [n] confidences with its interval. cluster: [rows], the number of each row's cluster; if there are
    several confidences for each row, those of a row follow each other.

    The bootstrap adds noise to every bin, so its ECE is too large on average; the interval is shifted by that much.
    """
    each = len(confidence) // len(cluster)
    bin_of, error = _bins(confidence), ece(confidence, correct)
    clusters = int(cluster.max()) + 1
    member, n = np.repeat(cluster, each), len(confidence)
    draws = int(np.clip(MOST // n, FEWEST_DRAWS, DRAWS))
    generator = np.random.default_rng(0)
    gaps = np.bincount(member * BINS + bin_of, weights=confidence - correct, minlength=clusters * BINS
                       ).reshape(clusters, BINS)
    sizes = np.bincount(member, minlength=clusters)
    drawn = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(generator.integers(0, clusters, clusters), minlength=clusters)
        drawn[draw] = np.abs(times @ gaps).sum() / (times @ sizes)
    low, high = np.quantile(drawn, [0.025, 0.975]) - (drawn.mean() - error)
    # by chance: a prediction of confidence p is correct with probability p; copies within a cluster together
    unit = member * each + np.tile(np.arange(each), len(cluster))
    chance = np.empty(draws)
    for draw in range(draws):
        hit = generator.random(clusters * each)[unit] < confidence
        chance[draw] = np.abs(np.bincount(bin_of, weights=confidence - hit, minlength=BINS)).sum() / n
    return CalibrationError(error, (max(0.0, min(error, float(low))), min(1.0, max(error, float(high)))),
                            (float(chance.mean()), float(np.quantile(chance, 0.95))))


def reliability(confidence: NDArray[Any], correct: NDArray[Any]) -> list[ReliabilityBin]:
    """The bins of a reliability diagram that have rows."""
    bin_of = _bins(confidence)
    bins = []
    for b in np.unique(bin_of):
        inside = bin_of == b
        bins.append(ReliabilityBin(b / BINS, (b + 1) / BINS, float(inside.sum()), float(confidence[inside].mean()),
                                   float(correct[inside].mean())))
    return bins


def _bins(confidence: NDArray[Any]) -> NDArray[np.intp]:
    return np.clip((confidence * BINS).astype(np.intp), 0, BINS - 1)
