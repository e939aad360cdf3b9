"""The metrics of a model on held-out rows: accuracy with its interval, metrics per class, calibration, mistakes."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from kerastl.data.examples import EXAMPLES, Examples
from kerastl.decision import Calibration, Predictions
from kerastl.errors import OptionError, expect
from kerastl.evaluation.calibration import RowCalibrations, calibrate_rows
from kerastl.evaluation.calibration_error import calibration_error, reliability
from kerastl.evaluation.ranking import Mean, Statistic, average_precision, recall, roc_auc
from kerastl.evaluation.result import CalibrationChoice, ClassResult, Evaluation, HeldOutRows, Mistake
from kerastl.evaluation.targets import Choice, DecisionTarget, reached
from kerastl.stats import log_loss, share_interval, wilson_interval


class HasPredictions(Protocol):
    """The attributes of a fitted head that `evaluate` uses."""

    @property
    def held_out(self) -> Predictions:
        """Predictions for rows that it was not trained on."""

    @property
    def validation(self) -> Predictions | None:
        """Predictions for the validation rows; None with cross-validation."""


class HasFittedHead(Protocol):
    """A trained model."""

    @property
    def fitted(self) -> HasPredictions:
        """Its head."""


def evaluate(examples: Examples, predictions: Predictions | HasPredictions | HasFittedHead,
             validation: Predictions | None = None, *, worst: int = 24, target: str | None = None) -> Evaluation:
    """Evaluate a model on held-out rows.

    predictions: a trained model, its fitted head, or predictions for the held-out rows. validation: predictions for the
    validation rows, on which the calibration is fitted; without them the rows are cross-validated, and the calibration
    of each fold is fitted on the others. worst: the number of mistakes to list, the most confident first. target: what
    predictions are to reach, such as `precision=0.95`, `recall=0.9@spam` or `cost=5:1`, for two classes or several
    labels: thresholds are chosen for it where the calibration is fitted. Raises DataError for examples that were not
    split, OptionError for predictions of other rows or a target that does not fit.
    """
    expect(Examples, EXAMPLES, examples=examples)
    if not isinstance(predictions, Predictions):
        if not any(hasattr(predictions, name) for name in ("fitted", "held_out")):
            expect(Predictions, "a trained model, as kerastl.train returns it, a fitted head, or predictions",
                   predictions=predictions)
        fitted: Any = getattr(predictions, "fitted", predictions)
        return evaluate(examples, fitted.held_out, fitted.validation, worst=worst, target=target)
    if len(predictions.rows) and predictions.rows.max() >= len(examples):
        raise OptionError(f"`predictions` has a row {predictions.rows.max()}, and `examples` has {len(examples)} rows",
                          "predictions for these examples", "pass features.examples, which were predicted")
    wanted = None if target is None else DecisionTarget.parse(target).of(examples)
    calibrations = calibrate_rows(examples, predictions, validation, wanted)
    return _figures(examples, predictions, calibrations, wanted, worst)


def evaluate_probabilities(examples: Examples, probabilities: NDArray[np.float32], thresholds: Sequence[float] = (), *,
                           worst: int = 24, target: str | None = None) -> Evaluation:
    """Evaluate probabilities that are calibrated already, [rows, classes]: of an exported model on new data.
    thresholds: of each class; default: 0.5 where a row may have several labels. target: that the thresholds were chosen
    for, as `evaluate` takes it."""
    task = examples.task
    logits = task.logits_of(probabilities).astype(np.float32)
    half = task.half(len(examples.classes))
    calibration = Calibration(1.0, tuple(thresholds) or half.thresholds)
    predictions = Predictions(np.arange(len(examples)), logits)
    wanted = None if target is None else DecisionTarget.parse(target).of(examples)
    chosen = tuple(Choice(number, calibration.thresholds[number], True, None, 0) for number in
                   wanted.numbers(examples)) if wanted else ()
    untargeted = half if wanted else calibration
    calibrations = RowCalibrations(calibration, CalibrationChoice(""), chosen, (calibration,),
                                   np.zeros(len(examples), np.intp), (untargeted.thresholds,))
    return _figures(examples, predictions, calibrations, wanted, worst)


def _figures(examples: Examples, predictions: Predictions, calibrations: RowCalibrations,
             target: DecisionTarget | None, worst: int) -> Evaluation:
    task, classes, rows = examples.task, len(examples.classes), predictions.rows
    logits, truth, true = predictions.logits.astype(np.float64), examples.one_hot(rows), examples.targets[rows]
    scaled = calibrations.logits(logits)
    plain, calibrated = task.probabilities(logits), task.probabilities(scaled)  # [n, classes] each
    predicted = task.predict(calibrated, calibrations.thresholds)
    untargeted = predicted if target is None else task.predict(calibrated, calibrations.thresholds_without_target)
    correct = task.correct(predicted, true)
    precision, recalls, f1, support = metrics.precision_recall_fscore_support(
        true, predicted, labels=list(range(classes)), zero_division=0)
    cluster = examples.cluster_numbers(rows)
    interval = wilson_interval(correct, cluster)
    held_out = HeldOutRows(examples, rows, predicted, scaled)
    before, after = (calibration_error(*task.claims(p, truth), cluster) for p in (plain, calibrated))
    told = task.one_hot(predicted, classes) > 0
    rankings, of_class = _rankings(calibrated, truth > 0, cluster)
    shares = [_shares(told[:, number], truth[:, number] > 0, cluster) for number in range(classes)]
    surprise = (calibrated * told).max(axis=1) if task.exclusive else task.surprise(calibrated, truth)
    return Evaluation(
        n=len(correct), accuracy=float(correct.mean()), accuracy_ci95=interval.ends, interval=interval.method,
        macro_f1=float(f1[support > 0].mean()) if support.any() else 0.0,
        log_loss=log_loss(logits, truth, task), log_loss_calibrated=log_loss(scaled, truth, task),
        ece=before.ece, ece_calibrated=after.ece, ece_ci95=before.ci95, ece_calibrated_ci95=after.ci95,
        ece_by_chance=after.by_chance, calibration=calibrations.shipped,
        calibration_choice=calibrations.choice if calibrations.choice.chosen else None,
        **_with_interval("balanced_accuracy", _balanced_accuracy(told, truth > 0, cluster, task.exclusive), cluster),
        **rankings,
        target=None if target is None else reached(
            target, examples, calibrations.targeted, told, task.one_hot(untargeted, classes), truth, cluster),
        classes=tuple(ClassResult(name, float(p), float(r), float(f), int(s), **ranking, **share)
                      for name, p, r, f, s, ranking, share in zip(
                          examples.classes, precision, recalls, f1, support, of_class, shares, strict=True)),
        confusion=tuple(tuple(int(n) for n in line) for line in task.confusion(true, predicted, classes)),
        reliability=tuple(reliability(*task.claims(calibrated, truth))),
        mistakes=_mistakes(held_out, correct, surprise, worst),
        correct=tuple(correct.tolist()),
        correct_without_target=tuple(task.correct(untargeted, true).tolist()), held_out=held_out,
        predictions_id=predictions.id,
    )


def _rankings(p: NDArray[np.float64], positive: NDArray[np.bool_], cluster: NDArray[np.intp]
              ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How well the probabilities of each class rank its rows, as fields of the result: their mean over classes, and
    those of each class."""
    auc, average, of_class = Mean(), Mean(), []
    for number in range(p.shape[1]):
        statistics = [measure(p[:, number], positive[:, number], cluster) for measure in (roc_auc, average_precision)]
        auc.add(statistics[0])
        average.add(statistics[1] if statistics[0] else None)  # where every row is of the class, it is 1 by itself
        of_class.append(_with_interval("roc_auc", statistics[0], cluster)
                        | _with_interval("average_precision", statistics[1] if statistics[0] else None, cluster))
    return (_with_interval("roc_auc", auc.statistic, cluster)
            | _with_interval("average_precision", average.statistic, cluster)), of_class


def _shares(told: NDArray[np.bool_], positive: NDArray[np.bool_], cluster: NDArray[np.intp]) -> dict[str, Any]:
    """The intervals of precision and recall of a class, as fields of the result. told: whether each row is predicted as
    the class."""
    intervals = {"precision_ci95": share_interval(positive, told, cluster),
                 "recall_ci95": share_interval(told, positive, cluster)}
    return {name: None if found is None else found.ends for name, found in intervals.items()}


def _balanced_accuracy(told: NDArray[np.bool_], positive: NDArray[np.bool_], cluster: NDArray[np.intp],
                       exclusive: bool) -> Statistic | None:
    """The mean recall of the classes; where a row may have several, of having and of not having each."""
    numbers = range(positive.shape[1])
    having = (recall(told[:, number], positive[:, number], cluster) for number in numbers)
    if exclusive:
        return Mean(having).statistic
    lacking = (recall(~told[:, number], ~positive[:, number], cluster) for number in numbers)
    return Mean(Mean(pair).statistic for pair in zip(having, lacking, strict=True) if None not in pair).statistic


def _with_interval(name: str, statistic: Statistic | None, cluster: NDArray[np.intp]) -> dict[str, Any]:
    """A field of the result and that of its interval, by name."""
    if statistic is None:
        return {name: None, f"{name}_ci95": None}
    return {name: statistic.value, f"{name}_ci95": statistic.interval(cluster).ends}


def _mistakes(held_out: HeldOutRows, correct: NDArray[np.bool_], surprise: NDArray[Any], worst: int
              ) -> tuple[Mistake, ...]:
    """The most confident mistakes. With several labels per row, a mistake is the label with the largest error."""
    wrong = np.flatnonzero(~correct)
    order = wrong[np.argsort(-surprise[wrong], kind="stable")][:worst]
    examples, rows = held_out.examples, held_out.rows
    return tuple(Mistake(int(rows[i]), examples.origins[rows[i]], examples.label_of(int(rows[i])) or "(none)",
                         held_out.label(i) or "(none)", float(surprise[i])) for i in order.tolist())
