"""Calibration on held-out rows, cross-fitted so that no row influences its own calibration; and calibration error.

The task defines how the temperature and the thresholds are fitted (see `tasks`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.data.split import split_of
from kerastl.decision import Calibration, Predictions
from kerastl.evaluation.result import ReliabilityBin

BINS = 15  # of the calibration error: Guo et al. 2017, https://arxiv.org/abs/1706.04599


def calibrate(examples: Examples, predictions: Predictions) -> Calibration:
    """The calibration fitted on these rows."""
    return examples.task.calibrate(predictions.logits, examples.one_hot(predictions.rows))


def cross_fitted(examples: Examples, predictions: Predictions, calibration: Calibration) -> list[Calibration]:
    """The calibration of each row, fitted on the rows of the other folds. calibration: that of all rows, used if there
    is only one fold."""
    part = split_of(examples).part[predictions.rows]
    of_fold = {}
    for fold in set(part.tolist()):
        others = part != fold
        of_fold[fold] = calibrate(examples, Predictions(predictions.rows[others], predictions.logits[others])
                                  ) if others.any() else calibration
    return [of_fold[fold] for fold in part.tolist()]


def ece(confidence: NDArray[Any], correct: NDArray[Any]) -> float:
    """Expected calibration error: the gap between confidence and accuracy, averaged over 15 bins of equal width.
    confidence: [n] in [0, 1]; correct: [n] of 0 and 1."""
    gaps = (part.n * abs(part.confidence - part.accuracy) for part in reliability(confidence, correct))
    return float(sum(gaps) / max(1, len(correct)))


def reliability(confidence: NDArray[Any], correct: NDArray[Any]) -> list[ReliabilityBin]:
    """The bins of a reliability diagram that have rows."""
    bin_of = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    bins = []
    for b in np.unique(bin_of):
        inside = bin_of == b
        bins.append(ReliabilityBin(b / BINS, (b + 1) / BINS, float(inside.sum()), float(confidence[inside].mean()),
                                   float(correct[inside].mean())))
    return bins
