"""Calibration on held-out rows: which of a task's calibrations is used is chosen by cross-fitted log loss.

No row has a part in its own calibration, neither in its fit nor in its choice. With cross-validation, the calibration
of a fold is chosen and fitted on the other folds. The task defines what can be fitted (see `tasks`).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.data.examples import Examples
from kerastl.data.split import FOLDS, folds, split_of
from kerastl.decision import Calibration, Predictions, calibrated
from kerastl.evaluation.result import CalibrationChoice, CalibrationTrial
from kerastl.evaluation.targets import Choice, DecisionTarget
from kerastl.stats import standard_error
from kerastl.tasks import NONE, SHARES, TEMPERATURE

MOST = 1_000_000  # logits, up to which a bias per class is fitted: it is fitted up to 32 times
# Clusters of rows from which anything is fitted, and more than a temperature. On fewer rows of models that need no
# calibration, one was chosen all the same, and raised the log loss of other rows by up to 0.4.
FEWEST, FEWEST_SHARES = 10, 30
FEWEST_OF_CLASS = 10  # rows of a class, on average, from which each has a bias of its own
TOO_MANY, TOO_FEW, FEW_OF_CLASS = "there are too many rows and classes", "there are too few rows", \
    "there are too few rows of each class"
NO_FOLDS: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RowCalibrations:
    """The calibration that ships, how it was chosen, and that of each row: `calibrations[of_row]`, of_row: [n].
    targeted: how the shipped thresholds were chosen where there is a target. untargeted: the thresholds of each
    calibration if there were none."""

    shipped: Calibration
    choice: CalibrationChoice
    targeted: tuple[Choice, ...]
    calibrations: tuple[Calibration, ...]
    of_row: NDArray[np.intp]
    untargeted: tuple[tuple[float, ...], ...]

    def logits(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each row's logits, calibrated: [n, classes]."""
        scaled = np.empty_like(logits)
        for number, calibration in enumerate(self.calibrations):
            scaled[self.of_row == number] = calibrated(logits[self.of_row == number], calibration)
        return scaled

    @property
    def thresholds(self) -> NDArray[np.float64]:
        """Each row's thresholds, [n, classes], or [n, 0] where there are none."""
        return np.array([calibration.thresholds for calibration in self.calibrations], np.float64)[self.of_row]

    @property
    def thresholds_without_target(self) -> NDArray[np.float64]:
        """Each row's thresholds if there were no target, as `thresholds`."""
        return np.array(self.untargeted, np.float64)[self.of_row]


@threadpool_limits.wrap(limits=1, user_api="blas")  # of so few parameters, more threads only wait for each other
def calibrate(examples: Examples, predictions: Predictions, target: DecisionTarget | None = None) -> Calibration:
    """The calibration chosen and fitted on these rows. target: what its thresholds are to reach."""
    return _Candidates(examples, predictions, target).chosen().calibration


@threadpool_limits.wrap(limits=1, user_api="blas")
def calibrate_rows(examples: Examples, predictions: Predictions, validation: Predictions | None,
                   target: DecisionTarget | None = None) -> RowCalibrations:
    """The calibration of held-out rows. validation: the rows on which it is chosen and fitted; without them that of
    each fold is chosen and fitted on the others. Raises DataError for examples that were not split."""
    if validation is None:
        split_of(examples)
    candidates = _Candidates(examples, predictions if validation is None else validation, target)
    shipped = candidates.chosen()
    numbers, of_row = np.unique(candidates.part, return_inverse=True)
    choice, of_folds = shipped.choice, [shipped]
    if validation is not None:
        of_row = np.zeros(len(predictions.rows), np.intp)
    else:
        of_folds = [candidates.chosen(frozenset({number})) for number in numbers.tolist()]
        choice = replace(choice, of_folds=tuple(fold.choice.chosen for fold in of_folds))
    return RowCalibrations(shipped.calibration, choice, shipped.targeted, tuple(fold.calibration for fold in of_folds),
                           of_row, tuple(fold.untargeted for fold in of_folds))


def as_reported(examples: Examples, predictions: Predictions, validation: Predictions | None
                ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each held-out row is predicted correctly, and its log loss in nats, [n] each, calibrated as `evaluate`
    calibrates them without a target: for models that are shown beside the one that is reported."""
    task, rows = examples.task, predictions.rows
    calibrations = calibrate_rows(examples, predictions, validation)
    logits = calibrations.logits(predictions.logits.astype(np.float64))
    predicted = task.predict(task.probabilities(logits), calibrations.thresholds)
    return task.correct(predicted, examples.targets[rows]), task.log_loss(logits, examples.one_hot(rows))


@dataclass(frozen=True)
class _Chosen:
    """A calibration with its thresholds, how both were chosen, and the thresholds without a target."""

    calibration: Calibration
    choice: CalibrationChoice
    targeted: tuple[Choice, ...]
    untargeted: tuple[float, ...]


class _Candidates:
    """A task's calibrations, fitted without the rows of some folds; those of a set of folds are fitted once."""

    def __init__(self, examples: Examples, predictions: Predictions, target: DecisionTarget | None) -> None:
        self.examples, self.task, self.target = examples, examples.task, target
        rows, split = predictions.rows, examples.split
        self.rows, self.logits = rows, predictions.logits.astype(np.float64)
        self.truth = examples.one_hot(rows)
        in_folds = split is not None and split.mode == "cv" and len(np.unique(split.part[rows])) > 1
        self.part = split.part[rows] if in_folds and split else folds(examples, FOLDS, rows)
        self.names, self.reason = self._fitted_forms()
        self._fitted: dict[frozenset[int], dict[str, Calibration]] = {}

    def _fitted_forms(self) -> tuple[list[str], str]:
        """What is fitted, by name, and why that is not all that the task can fit; empty where it is."""
        clusters, every = len(set(self.examples.clusters_of(self.rows))), list(self.task.calibrations)
        few_of_class = self.truth.sum() < FEWEST_OF_CLASS * self.truth.shape[1]
        for applies, reason, left in ((clusters < FEWEST, TOO_FEW, (NONE,)),
                                      (clusters < FEWEST_SHARES, TOO_FEW, (NONE, TEMPERATURE)),
                                      (self.logits.size > MOST, TOO_MANY, (NONE, TEMPERATURE)),
                                      (few_of_class, FEW_OF_CLASS, (NONE, TEMPERATURE, SHARES))):
            names = [name for name in every if name in left]
            if applies and names != every:
                return names, reason
        return every, ""

    def chosen(self, without: frozenset[int] = NO_FOLDS) -> _Chosen:
        """The calibration that the rows outside some folds choose, fitted on these rows, with thresholds; and how the
        thresholds were chosen where there is a target.

        It is the simplest whose cross-fitted log loss is within one standard error of the least, and is not above that
        of no calibration: a difference that noise explains is not worth a parameter.
        """
        used = ~np.isin(self.part, list(without))
        inner = sorted(set(self.part[used].tolist()))
        name, trials = self.names[0], list[CalibrationTrial]()
        if len(inner) > 1 and len(self.names) > 1:
            losses = {name: np.zeros(len(self.rows)) for name in self.names}
            for fold in inner:
                here = self.part == fold
                for name, calibration in self._fits(without | {fold}).items():
                    losses[name][here] = self.task.log_loss(calibrated(self.logits[here], calibration),
                                                            self.truth[here])
            name = _simplest({name: loss[used] for name, loss in losses.items()},
                             self.examples.clusters_of(self.rows[used]))
            trials = [CalibrationTrial(name, float(loss[used].mean())) for name, loss in losses.items()]
        calibration = self._fits(without)[name] if trials else Calibration(1.0)
        p, truth = self.task.probabilities(self.logits[used], calibration), self.truth[used]
        untargeted = self.task.thresholds(p, truth)
        thresholds, targeted = (untargeted, ()) if self.target is None else self.target.choose(self.examples, p, truth)
        choice = CalibrationChoice(name, tuple(trials), int(used.sum()), not self.reason, reason=self.reason)
        return _Chosen(replace(calibration, thresholds=thresholds), choice, targeted, untargeted)

    def _fits(self, without: frozenset[int]) -> dict[str, Calibration]:
        if without not in self._fitted:
            used = ~np.isin(self.part, list(without))
            self._fitted[without] = {name: self.task.calibrations[name](self.logits[used], self.truth[used])
                                     for name in self.names}
        return self._fitted[without]


def _simplest(losses: dict[str, NDArray[np.float64]], groups: list[str]) -> str:
    """losses: of each row, by candidate, the simplest first."""
    none, *_ = losses.values()
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    return next(name for name, loss in losses.items() if loss.mean() <= none.mean()
                and (loss - best).mean() <= standard_error(loss - best, groups))
