"""The metrics of a model on held-out rows: accuracy with its interval, metrics per class, calibration, mistakes."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from kerastl.data.examples import EXAMPLES, Examples
from kerastl.decision import Calibration, Predictions
from kerastl.errors import OptionError, expect
from kerastl.evaluation.calibration import calibrate, cross_fitted, ece, reliability
from kerastl.evaluation.result import ClassResult, Evaluation, HeldOutRows, Mistake
from kerastl.stats import log_loss, wilson_interval


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
             validation: Predictions | None = None, *, worst: int = 24) -> Evaluation:
    """Evaluate a model on held-out rows.

    predictions: a trained model, its fitted head, or predictions for the held-out rows. validation: predictions for the
    validation rows, on which the calibration is fitted; without them the rows are cross-validated, and the calibration
    of each fold is fitted on the others. worst: the number of mistakes to list, the most confident first. Raises
    DataError for examples that were not split, OptionError for predictions of other rows.
    """
    expect(Examples, EXAMPLES, examples=examples)
    if not isinstance(predictions, Predictions):
        if not any(hasattr(predictions, name) for name in ("fitted", "held_out")):
            expect(Predictions, "a trained model, as kerastl.train returns it, a fitted head, or predictions",
                   predictions=predictions)
        fitted: Any = getattr(predictions, "fitted", predictions)
        return evaluate(examples, fitted.held_out, fitted.validation, worst=worst)
    if len(predictions.rows) and predictions.rows.max() >= len(examples):
        raise OptionError(f"`predictions` has a row {predictions.rows.max()}, and `examples` has {len(examples)} rows",
                          "predictions for these examples", "pass features.examples, which were predicted")
    calibration = calibrate(examples, validation or predictions)
    of_row = (cross_fitted(examples, predictions, calibration) if validation is None else
              [calibration] * len(predictions.rows))
    return _figures(examples, predictions, calibration, of_row, worst)


def evaluate_probabilities(examples: Examples, probabilities: NDArray[np.float32], thresholds: Sequence[float] = (), *,
                           worst: int = 24) -> Evaluation:
    """Evaluate probabilities that are calibrated already, [rows, classes]: of an exported model on new data.
    thresholds: of each class, where a row may have several labels; default: 0.5."""
    task = examples.task
    logits = task.logits_of(probabilities).astype(np.float32)
    calibration = Calibration(1.0, tuple(thresholds) or task.half(len(examples.classes)).thresholds)
    predictions = Predictions(np.arange(len(examples)), logits)
    return _figures(examples, predictions, calibration, [calibration] * len(examples), worst)


def _figures(examples: Examples, predictions: Predictions, calibration: Calibration, of_row: Sequence[Calibration],
             worst: int) -> Evaluation:
    task, classes, rows = examples.task, len(examples.classes), predictions.rows
    logits, truth, true = predictions.logits.astype(np.float64), examples.one_hot(rows), examples.targets[rows]
    scaled = logits / np.array([row.temperature for row in of_row])[:, None]
    plain, calibrated = task.probabilities(logits), task.probabilities(scaled)  # [n, classes] each
    predicted = task.predict(calibrated, np.array([row.thresholds for row in of_row]))
    correct = task.correct(predicted, true)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        true, predicted, labels=list(range(classes)), zero_division=0)
    interval = wilson_interval(correct, [examples.clusters[row] for row in rows])
    held_out = HeldOutRows(examples, rows, predicted, scaled)
    return Evaluation(
        n=len(correct), accuracy=float(correct.mean()), accuracy_ci95=interval.ends, interval=interval.method,
        macro_f1=float(f1[support > 0].mean()) if support.any() else 0.0,
        log_loss=log_loss(logits, truth, task), log_loss_calibrated=log_loss(scaled, truth, task),
        ece=ece(*task.claims(plain, truth)), ece_calibrated=ece(*task.claims(calibrated, truth)),
        calibration=calibration,
        classes=tuple(ClassResult(name, float(p), float(r), float(f), int(s)) for name, p, r, f, s in
                      zip(examples.classes, precision, recall, f1, support, strict=True)),
        confusion=tuple(tuple(int(n) for n in line) for line in task.confusion(true, predicted, classes)),
        reliability=tuple(reliability(*task.claims(calibrated, truth))),
        mistakes=_mistakes(held_out, correct, task.surprise(calibrated, truth), worst),
        correct=tuple(correct.tolist()), held_out=held_out, predictions_id=predictions.id,
    )


def _mistakes(held_out: HeldOutRows, correct: NDArray[np.bool_], surprise: NDArray[Any], worst: int
              ) -> tuple[Mistake, ...]:
    """The most confident mistakes. With several labels per row, a mistake is the label with the largest error."""
    wrong = np.flatnonzero(~correct)
    order = wrong[np.argsort(-surprise[wrong], kind="stable")][:worst]
    examples, rows = held_out.examples, held_out.rows
    return tuple(Mistake(int(rows[i]), examples.origins[rows[i]], examples.label_of(int(rows[i])) or "(none)",
                         held_out.label(i) or "(none)", float(surprise[i])) for i in order.tolist())
