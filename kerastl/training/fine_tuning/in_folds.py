"""Fine-tuning the last blocks, cross-validated: once per fold, without the rows of the fold, then on all rows. Folds
are trained one after another, each on all devices of the runtime."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Split
from kerastl.data.split import carve, split_of
from kerastl.decision import Predictions
from kerastl.features.compute import Features
from kerastl.heads import HeadLike, resolve_head
from kerastl.model import splice
from kerastl.training.augmentation import counted
from kerastl.training.choice import HeadChoice
from kerastl.training.fine_tuning.estimate import Estimate
from kerastl.training.fine_tuning.fine_tune import fine_tune
from kerastl.training.fine_tuning.keep import choose
from kerastl.training.fine_tuning.plan import plan_for
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.training.fit import FittedHead, fit
from kerastl.training.fitters import fitter_named
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import trained_and_validated
from kerastl.training.tracing import counted_as_new


def fine_tune_in_folds(features: Features, head: HeadLike, frozen: FittedHead, unfreeze: int | str, *,
                       options: TrainingOptions) -> tuple[FittedHead, FineTuneResult]:
    """Fine-tune the last blocks once per fold, and on all rows where that is better (see `keep`), in place.

    A sixth of the training rows chooses the epoch; where no epoch improves on the frozen backbone there, the frozen
    backbone stands for the fold, with its head fitted on all the training rows. Where fine-tuning is not kept, the
    backbone has its own weights again, and `frozen` ships, whose head was fitted on all rows. frozen: cross-validated.
    Returns the head that ships, with the predictions to report.
    """
    start = time.perf_counter()
    examples, model = features.examples, features.backbone.model
    split, original = split_of(examples), model.get_weights()
    logits = frozen.held_out.logits.copy()  # of row i at place i
    after_step = estimate(features, options)
    results = []
    for number, fold in enumerate(split.folds, 1):
        print(f"fine-tuning, fold {number} of {len(split.folds)}", flush=True)
        model.set_weights(original)
        rows = np.flatnonzero(split.part == fold)
        tuned, result = _tuned(_held_out(features, rows), head, unfreeze, options, after_step)
        results.append(result)
        if result.kept:
            logits[rows] = tuned.held_out.logits
    choice = choose(examples, frozen.held_out, Predictions(frozen.held_out.rows, logits))
    fitted, result, of_folds = frozen, results[-1], [tuned.augmentation for tuned in results]
    if choice.kept:
        model.set_weights(original)
        print("fine-tuning on all rows", flush=True)
        tuned, result = _tuned(_all_train(features), head, unfreeze, options, after_step)
        fitted = tuned if result.kept else frozen
    if not (kept := choice.kept and result.kept):
        model.set_weights(original)
    fitted = replace(fitted, held_out=choice.held_out, validation=None, choice=_on_all_rows(frozen, fitted),
                     backbones=choice.backbones)
    return fitted, replace(result, kept=kept, augmentation=counted(result.augmentation, of_folds),
                           loss_before=choice.frozen_loss, loss_after=choice.tuned_loss,
                           seconds=time.perf_counter() - start, folds_kept=choice.folds)


def _tuned(features: Features, head: HeadLike, unfreeze: int | str, options: TrainingOptions, after_step: Estimate
           ) -> tuple[FittedHead, FineTuneResult]:
    """A hold-out: the head fitted on frozen features, then fine-tuned with the backbone. The features' own backbone
    is trained."""
    configured = resolve_head(head, features.parts)
    descends = fitter_named(configured.spec.fitter).descends
    fitted = fit(features, head, options=options if descends else options.with_cross_entropy())
    with counted_as_new():
        return fine_tune(features, splice(features.backbone, fitted.head), fitted, unfreeze, options=options,
                         after_step=after_step)


def _on_all_rows(frozen: FittedHead, shipped: FittedHead) -> HeadChoice | None:
    """The heads that competed, with their predictions for all rows, each by a head that was not fitted on it; and the
    one that ships, which was chosen anew where it was fitted with the backbone."""
    if frozen.choice is None or shipped.choice is None:
        return frozen.choice
    return replace(frozen.choice, chosen=shipped.choice.chosen, reason=shipped.choice.reason)


def _held_out(features: Features, rows: NDArray[np.intp]) -> Features:
    """These rows held out for testing, and a part of the others for validation."""
    examples = features.examples
    others = np.setdiff1d(np.arange(len(examples)), rows)
    part = np.full(len(examples), TRAIN, np.int8)
    part[rows], part[others[carve(examples, others)]] = TEST, VALIDATION
    return replace(features, examples=replace(examples, split=Split("holdout", "a fold is held out", part)))


def _all_train(features: Features) -> Features:
    """All rows, a part of them for validation."""
    mask = carve(features.examples, np.arange(len(features.examples)))
    return trained_and_validated(features, np.flatnonzero(~mask), np.flatnonzero(mask), "holdout", "all rows")


def estimate(features: Features, options: TrainingOptions) -> Estimate:
    """Prints how long fine-tuning takes: of each fold and of all rows, or of the training rows of a hold-out."""
    examples, steps = features.examples, 0
    split = split_of(examples)
    rounds = [int((split.part != fold).sum()) for fold in split.folds]
    training = [rows * 5 // 6 for rows in (*rounds, len(examples))] if rounds else [len(split.rows(TRAIN))]
    for rows in training:
        plan = plan_for(examples.modality, rows, options.fine_tuning, epochs=options.epochs)
        steps += plan.epochs * -(-rows // options.batch_size)
    if not rounds:
        return Estimate("fine-tuning", steps, "`unfreeze` 0 skips it")
    return Estimate(f"fine-tuning of {len(rounds)} folds and the final model", steps,
                    "`unfreeze` 0 skips it, and `split` holdout fine-tunes once")
