"""Which is kept, the frozen or the fine-tuned backbone: the fine-tuned one only where it is better by more than chance,
on rows that neither was trained on and that report nothing.

In cross-validation each row has a prediction of both, by models that were not trained on it. What is reported for the
rows of a fold is the choice that the other folds make, as the calibration is cross-fitted. So the reported figures
include the choice, and no row has a part in the choice that is reported for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.data.split import split_of
from kerastl.decision import Predictions, calibrated
from kerastl.errors import OptionError
from kerastl.stats import standard_error
from kerastl.training.choice import Rival
from kerastl.training.fit import FittedHead

FROZEN, TUNED = "frozen", "tuned"
NOTHING_LEFT = 0.05  # nats: a log loss that leaves so little to gain that fine-tuning is not worth its minutes


@dataclass(frozen=True)
class Choice:
    """kept: whether the fine-tuned model ships. held_out: the predictions to report. Losses: calibrated log loss in
    nats on the rows that chose. backbones: predictions of both, `frozen` and `tuned`, for the rows that report. folds:
    in how many folds the fine-tuned model was chosen; None in a hold-out."""

    kept: bool
    held_out: Predictions
    frozen_loss: float
    tuned_loss: float
    backbones: Mapping[str, Rival]
    folds: int | None = None


def choose(examples: Examples, frozen: Predictions, tuned: Predictions) -> Choice:
    """The choice of cross-validated examples. frozen, tuned: predictions of the same rows, by models that were not
    trained on them."""
    fold_of, logits, folds = split_of(examples).part[frozen.rows], frozen.logits.copy(), 0
    for fold in np.unique(fold_of):
        if is_better(examples, _part(frozen, fold_of != fold), _part(tuned, fold_of != fold)):
            logits[fold_of == fold] = tuned.logits[fold_of == fold]
            folds += 1
    both = (frozen, tuned)
    return _choice(examples, is_better(examples, *both), both, (Rival(frozen), Rival(tuned)),
                   Predictions(frozen.rows, logits), folds)


def choose_on(examples: Examples, frozen: FittedHead, tuned: FittedHead) -> Choice:
    """The choice of a hold-out, on its validation rows. Raises OptionError for heads without predictions of these."""
    if frozen.validation is None or tuned.validation is None:
        raise _no_hold_out()
    choosing, kept = (frozen.validation, tuned.validation), better_on_validation(examples, frozen, tuned)
    return _choice(examples, kept, choosing, (Rival(frozen.held_out, frozen.validation),
                                              Rival(tuned.held_out, tuned.validation)),
                   tuned.held_out if kept else frozen.held_out)


def better_on_validation(examples: Examples, frozen: FittedHead, tuned: FittedHead) -> bool:
    """`is_better` on the validation rows. Raises OptionError for heads without predictions of these."""
    if frozen.validation is None or tuned.validation is None:
        raise _no_hold_out()
    return is_better(examples, frozen.validation, tuned.validation)


def _no_hold_out() -> OptionError:
    return OptionError("`frozen` or `tuned` has no predictions of validation rows", "heads that were fitted on a "
                       "hold-out", "examples = kerastl.split(examples, 'holdout')")


def is_better(examples: Examples, frozen: Predictions, tuned: Predictions) -> bool:
    """Whether the fine-tuned model has the lower log loss by more than one standard error, and is not less accurate.

    The one-standard-error rule (Breiman et al. 1984) prefers the simpler model, which here is the frozen one. Clusters
    of rows count as one observation. Both are calibrated on these rows first, as what ships will be.
    """
    if not len(frozen.rows):
        return False
    gain = calibrated_losses(examples, frozen) - calibrated_losses(examples, tuned)
    error = standard_error(gain, examples.clusters_of(frozen.rows))
    return bool(gain.mean() > error and _accuracy(examples, tuned) >= _accuracy(examples, frozen))


def little_to_gain(examples: Examples, held_out: Predictions, validation: Predictions | None) -> float | None:
    """The calibrated log loss of the frozen backbone, where it is so low that fine-tuning is not worth its time; else
    None. Seen on the validation rows; in cross-validation, on the other folds for each fold."""
    if validation is not None:
        loss = float(calibrated_losses(examples, validation).mean())
        return loss if loss < NOTHING_LEFT else None
    fold_of = split_of(examples).part[held_out.rows]
    worst = max(float(calibrated_losses(examples, _part(held_out, fold_of != fold)).mean())
                for fold in np.unique(fold_of))
    return float(calibrated_losses(examples, held_out).mean()) if worst < NOTHING_LEFT else None


def _accuracy(examples: Examples, predictions: Predictions) -> float:
    """The share of the rows that choose that are predicted correctly, in [0, 1]. It reports nothing: the calibration,
    with its thresholds, is fitted on the same rows."""
    task, rows = examples.task, predictions.rows
    calibration = task.scaled(predictions.logits, examples.one_hot(rows))
    p = task.probabilities(predictions.logits, calibration)
    return float(task.correct(task.predict(p, np.array(calibration.thresholds)), examples.targets[rows]).mean())


def _choice(examples: Examples, kept: bool, choosing: tuple[Predictions, Predictions],
            reporting: tuple[Rival, Rival], held_out: Predictions, folds: int | None = None) -> Choice:
    """choosing, reporting: of the frozen and the tuned model, on the rows that choose and on the held-out rows."""
    frozen_loss, tuned_loss = (float(calibrated_losses(examples, each).mean()) for each in choosing)
    return Choice(kept, held_out, frozen_loss, tuned_loss, dict(zip((FROZEN, TUNED), reporting, strict=True)), folds)


def _part(predictions: Predictions, mask: NDArray[np.bool_]) -> Predictions:
    return Predictions(predictions.rows[mask], predictions.logits[mask])


def calibrated_losses(examples: Examples, predictions: Predictions) -> NDArray[np.float64]:
    """The calibrated log loss of each row, [n] in nats."""
    task, truth = examples.task, examples.one_hot(predictions.rows)
    logits = predictions.logits.astype(np.float64)
    return np.asarray(task.log_loss(calibrated(logits, task.scaled(logits, truth)), truth))
