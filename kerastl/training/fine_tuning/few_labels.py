"""When contrastive fine-tuning pays off, and how it is cross-validated: once per fold, without the rows of the fold."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.decision import Predictions
from kerastl.features.compute import Features, compute_features
from kerastl.files import cache_folder, remove_leftovers, temporary_folder
from kerastl.heads import HeadLike
from kerastl.training.fine_tuning.contrastive import BATCH, Contrast, steps_for, tune
from kerastl.training.fine_tuning.estimate import Estimate
from kerastl.training.fine_tuning.keep import choose, choose_on
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.training.fit import FittedHead, fit, held_out_predictions
from kerastl.training.options import TrainingOptions

FEW = (8, 256)  # training rows per class; with more it helps too, but takes minutes, so it is opt-in


def few_labels(examples: Examples) -> bool:
    """Whether contrastive fine-tuning pays off: the median class has from 8 to 256 training rows.

    The range comes from movie snippets that were used for no reported figure: from 8 to 512 labels per class it was
    better than frozen features each time, by 2 to 8 points (docs/few_labels.md)."""
    split = split_of(examples)
    if not examples.task.exclusive:
        return False
    training = examples.targets if split.mode == "cv" else examples.targets[split.rows(TRAIN)]
    median = float(np.median(np.unique(training, return_counts=True)[1]))
    return FEW[0] <= median <= FEW[1]


def tune_and_fit(features: Features, head: HeadLike, frozen: FittedHead, *, options: TrainingOptions
                 ) -> tuple[FittedHead, FineTuneResult]:
    """Fine-tune the backbone on the training rows, in place, and fit the head on the features that result; keep that
    only where it is better (see `keep`). Cross-validated, fine-tune once per fold, without the rows of the fold, then,
    where it is kept, on all rows. Where it is not, the backbone has its own weights again.

    frozen: the head fitted on the frozen backbone, which ships where fine-tuning is not better. Its `held_out` are the
    predictions to report: with cross-validation those of the model that each fold's choice gives."""
    start = time.perf_counter()
    examples, backbone = features.examples, features.backbone
    split, original = split_of(examples), backbone.model.get_weights()
    estimate = _estimate(examples)
    if features.runtime.devices:
        print(f"contrastive fine-tuning runs on {features.runtime.devices[0]} alone: its loss compares all rows of a "
              "batch", flush=True)

    cache = cache_folder(features.cache_dir, "contrast")
    remove_leftovers(cache)
    with temporary_folder(cache) as folder:
        def tuned_on(rows: NDArray[np.intp]) -> tuple[Features, Contrast]:
            backbone.model.set_weights(original)
            contrast = tune(backbone, examples, rows, features.runtime.seed, estimate)
            return _computed_again(features, folder), contrast

        if split.mode == "cv":
            of_fold: dict[int, Features] = {}
            parts = []
            for number, fold in enumerate(split.folds, 1):
                print(f"contrastive fine-tuning, fold {number} of {len(split.folds)}", flush=True)
                of_fold[fold], contrast = tuned_on(np.flatnonzero(split.part != fold))
                parts.append(held_out_predictions(of_fold[fold], head, fold, options=options))
            choice = choose(examples, frozen.held_out, _in_order(parts))
            fitted = replace(frozen, held_out=choice.held_out)
            if choice.kept:
                own, contrast = tuned_on(np.arange(len(examples)))  # last, for this backbone ships
                fitted = replace(fit(own, head, options=options, fold_features=of_fold), held_out=choice.held_out)
        else:
            own, contrast = tuned_on(split.rows(TRAIN))
            fitted = fit(own, head, options=options)
            choice = choose_on(examples, frozen, fitted)
            fitted = fitted if choice.kept else frozen
    fitted = replace(fitted, backbones=choice.backbones)
    if not choice.kept:
        backbone.model.set_weights(original)
    steps = tuple({"epoch": float(i), "loss": loss} for i, loss in enumerate(contrast.losses, 1))
    return fitted, FineTuneResult(kept=choice.kept, blocks=contrast.blocks, layers=(), loss_before=choice.frozen_loss,
                                  loss_after=choice.tuned_loss, epochs=steps, seconds=time.perf_counter() - start,
                                  method="contrast", folds_kept=choice.folds)


def not_tried(loss: float) -> FineTuneResult:
    """The result where the frozen backbone leaves so little to gain that nothing is fine-tuned. Prints it."""
    print(f"the frozen backbone has a log loss of {loss:.3f}, which leaves little to gain: nothing is fine-tuned; "
          "`unfreeze` contrast does so all the same", flush=True)
    return FineTuneResult(kept=False, blocks=0, layers=(), loss_before=loss, loss_after=loss, epochs=(), seconds=0.0,
                          method="contrast")


def _estimate(examples: Examples) -> Estimate:
    split = split_of(examples)
    rounds = [int((split.part != fold).sum()) for fold in split.folds]
    rounds += [len(examples) if rounds else len(split.rows(TRAIN))]
    what = f"contrastive fine-tuning of {len(split.folds)} folds and the final model" if split.folds else \
        "contrastive fine-tuning"
    return Estimate(what, sum(map(steps_for, rounds)), "`unfreeze` 0 skips it",
                    batches=len(rounds) * -(-len(examples) // BATCH))


def _in_order(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of all folds, by row."""
    rows, logits = np.concatenate([part.rows for part in parts]), np.concatenate([part.logits for part in parts])
    order = np.argsort(rows)
    return Predictions(rows[order], logits[order])


def _computed_again(features: Features, folder: Path) -> Features:
    """The features that the backbone gives as it is now, in float32, as the export computes."""
    plain = replace(features.runtime, precision="float32", explicit_precision=True)
    now = replace(features.backbone, weights_hash=weights_hash(features.backbone.model))
    tuned = compute_features(features.examples, now, plain, cache_dir=folder)
    return replace(tuned, runtime=features.runtime, raw=features.raw, raw_space=features.raw_space)
