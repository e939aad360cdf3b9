"""Which score tells inputs of no known class best, and the threshold above which an input is "none of these".

Each class is left out in turn, inside the training rows, and the score that ranks its rows best above the others is
chosen. With cross-validation the choice is made anew for each fold, without its rows, and so is the threshold that the
fold is measured with.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.data.examples import TRAIN, lowest
from kerastl.data.split import FOLDS, folds, split_of
from kerastl.decision import Predictions
from kerastl.errors import OptionError, expect
from kerastl.evaluation.rejection import (
    COVERAGE,
    DISTANCES,
    MAX_LOGIT,
    ON,
    Detector,
    Rejection,
    RejectionResult,
    calibrated_detector,
    conformal_threshold,
    logit_score,
    numpy_ops,
    principal_axes,
    rejection_faults,
    thresholds_of,
)
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.model import predict_logits
from kerastl.stats import wilson_interval
from kerastl.studies.left_out import Comparison, compare_scores
from kerastl.training.fit import FEATURES
from kerastl.training.train import TrainedModel

FITTED = 5000  # rows that a distance is made from, at most
BLOCK = 2048  # rows whose features are in memory at a time


def detect_unknown(features: Features, trained: TrainedModel, *, coverage: float = COVERAGE, reject: str = "off"
                   ) -> Rejection:
    """The score of inputs of no known class that is exported with a model, its threshold, and how well it works.

    coverage: the fraction of inputs like the data that are to stay below the threshold, in (0, 1). reject: `on`: an
    input above it gets the label "none of these"; `off`: only its `unknown_score` is above 0. Raises OptionError for
    other values, and for `on` where a class has that name.
    """
    expect(Features, FEATURES, features=features)
    expect((int, float), "a fraction", coverage=coverage)
    expect(TrainedModel, "a trained model, as kerastl.train returns it", trained=trained)
    if faults := rejection_faults(coverage, reject, features.examples.classes):
        raise OptionError("\n".join(faults))
    start = time.perf_counter()
    measured = _Measured(features, trained)
    validation = trained.fitted.validation
    with threadpool_limits(1):  # of so small matrices, more threads only wait for each other
        comparison = measured.comparison()
        found = (_cross_validated(measured, comparison, coverage, reject) if validation is None else
                 _held_out(measured, comparison, coverage, reject, validation))
    return replace(found, result=replace(found.result, seconds=time.perf_counter() - start))


@dataclass(frozen=True)
class _Measured:
    """The features and logits that scores are computed from."""

    features: Features
    trained: TrainedModel

    @property
    def logits_only(self) -> str:
        """Why only logits are used, in words; empty where features are."""
        tuned, fitted = self.trained.fine_tuning, self.trained.fitted
        if tuned and tuned.kept:
            return ("The backbone was fine-tuned, so that the cached features are not those of the exported model: the "
                    "score is that of the logits, and no class was left out to measure it.")
        if not uses_features(fitted.head):
            return (f"The head {fitted.name} does not use the backbone's features: the score is that of the logits, "
                    "and no class was left out to measure it.")
        return ""

    @property
    def means(self) -> Features:
        """The features, averaged over places where a head takes those."""
        return means_of(self.features)

    def fit(self, name: str, rows: NDArray[np.intp]) -> Detector:
        """A detector of these rows, without its threshold: of more than 5,000, those with the lowest content hashes."""
        if name not in DISTANCES:
            return Detector(name)
        examples = self.features.examples
        if len(rows) > FITTED:
            rows = np.sort(lowest(examples.ids, rows, FITTED))
        members = members_of(self.features, rows)
        return Detector(name, principal_axes(self.means.rows(rows), members).distances(name))

    def raw(self, detector: Detector, predictions: Predictions, held_out: bool = True) -> NDArray[np.float64]:
        """Scores of predicted rows by a detector without its threshold."""
        if detector.distances is None:
            return np.asarray(logit_score(detector.name, predictions.logits, numpy_ops()), np.float64)
        means = self.means
        read = means.held_out_rows if held_out else means.rows
        rows = predictions.rows
        blocks = [detector.distances.scores(read(rows[i:i + BLOCK]), numpy_ops()) for i in range(0, len(rows), BLOCK)]
        return np.concatenate(blocks).astype(np.float64) if blocks else np.zeros(0)

    def comparison(self) -> Comparison:
        """The scores compared on training rows, by leaving classes out."""
        if self.logits_only:
            return Comparison((), MAX_LOGIT, self.logits_only)
        examples = self.features.examples
        split = split_of(examples)
        cross_validated = split.mode == "cv"
        rows = np.arange(len(examples)) if cross_validated else split.rows(TRAIN)
        part = split.part[rows] if cross_validated else folds(examples, FOLDS, rows)
        return compare_scores(self.means, rows, part, members_of(self.features, rows))


def uses_features(head: Any) -> bool:
    """Whether a head's logits depend on the features. One that only takes these does."""
    if len(head.inputs) == 1:
        return True
    shapes = [tuple(size or 1 for size in given.shape[1:]) for given in head.inputs]
    raw, ones = np.ones((1, *shapes[1]), np.float32), np.ones((1, *shapes[0]), np.float32)
    return not np.array_equal(predict_logits(head, [ones, raw]), predict_logits(head, [0 * ones, raw]))


def members_of(features: Features, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """The classes of each row, [n, classes] of 0 and 1. With several labels per row, all rows are one class: distances
    are from the rows, whatever their labels."""
    examples = features.examples
    if not examples.task.exclusive:
        return np.ones((len(rows), 1))
    return examples.one_hot(rows).astype(np.float64)


def _held_out(measured: _Measured, comparison: Comparison, coverage: float, reject: str, validation: Predictions
              ) -> Rejection:
    """The threshold comes from the validation rows, and is measured on the test rows."""
    fitted, examples = measured.trained.fitted, measured.features.examples
    detector = replace(measured.fit(comparison.chosen(), split_of(examples).rows(TRAIN)), reject=reject == ON)
    raw = measured.raw(detector, validation, held_out=False)
    made, threshold = calibrated_detector(detector, raw, coverage)
    above = None if threshold is None else measured.raw(detector, fitted.held_out) > threshold
    return _found(measured, comparison, made, threshold, raw, coverage, above, "the validation rows")


def _cross_validated(measured: _Measured, comparison: Comparison, coverage: float, reject: str) -> Rejection:
    """Each row's score is by a detector that was fitted without the row's fold; the threshold of a fold comes from the
    other folds' scores."""
    held_out = measured.trained.fitted.held_out
    part = split_of(measured.features.examples).part[held_out.rows]
    chosen = {fold: comparison.chosen(fold) for fold in sorted(set(part.tolist()))}
    raw = {name: np.zeros(len(part)) for name in {comparison.chosen(), *chosen.values()}}
    for fold in chosen:
        here = part == fold
        rows, some = held_out.rows[~here], Predictions(held_out.rows[here], held_out.logits[here])
        for name in raw:
            raw[name][here] = measured.raw(measured.fit(name, rows), some)
    thresholds = {fold: conformal_threshold(raw[name][part != fold], coverage) for fold, name in chosen.items()}
    above = np.zeros(len(part), np.bool_)
    for fold, threshold in thresholds.items():
        if threshold is not None:
            above[part == fold] = raw[chosen[fold]][part == fold] > threshold
    of_shipped = raw[comparison.chosen()]
    detector = replace(measured.fit(comparison.chosen(), held_out.rows), reject=reject == ON)
    made, threshold = calibrated_detector(detector, of_shipped, coverage)
    found = _found(measured, comparison, made, threshold, of_shipped, coverage,
                   None if None in thresholds.values() else above,
                   "all rows, each scored by a detector that was fitted without its fold")
    return replace(found, result=replace(found.result, of_folds=tuple(chosen.values())))


def _found(measured: _Measured, comparison: Comparison, detector: Detector, threshold: float | None,
           raw: NDArray[np.float64], coverage: float, above: NDArray[np.bool_] | None, calibrated_on: str) -> Rejection:
    examples, rows = measured.features.examples, measured.trained.fitted.held_out.rows
    limits = list(comparison.limits)
    if threshold is None:
        limits.append(f"{len(raw)} calibration rows are too few for a coverage of {coverage:g}, which needs at least "
                      f"{fewest(coverage)}: there is no threshold, and nothing is rejected.")
    shown = above if above is not None and len(above) else None
    return Rejection(detector, RejectionResult(
        detector.name, coverage, None if threshold is None else 0.0, detector.reject, len(raw), calibrated_on,
        thresholds_of(raw, detector), comparison.trials(), (), comparison.auroc(), comparison.classes(),
        None if shown is None else float(shown.mean()),
        None if shown is None else wilson_interval(shown, examples.clusters_of(rows)).ends,
        0 if shown is None else len(shown), comparison.reason(), tuple(limits)))


def fewest(coverage: float) -> int:
    """Calibration rows from which a threshold of a coverage exists."""
    n = 1
    while conformal_threshold(np.zeros(n), coverage) is None:
        n += 1
    return n
