"""When contrastive fine-tuning pays off, and how it is cross-validated: once per fold, without the rows of the fold."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.features.compute import Features, compute_features
from kerastl.files import cache_folder, remove_leftovers, temporary_folder
from kerastl.heads import HeadLike
from kerastl.training.fine_tuning.contrastive import Contrast, tune
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.training.fit import FittedHead, fit
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
    """Fine-tune the backbone on the training rows, in place, and fit the head on the features that result. Cross-
    validated, do so once per fold, without the rows of the fold, then on all rows. frozen: the head fitted on the
    frozen backbone, for the figure beside."""
    start = time.perf_counter()
    examples, backbone = features.examples, features.backbone
    split, original = split_of(examples), backbone.model.get_weights()

    cache = cache_folder(features.cache_dir, "contrast")
    remove_leftovers(cache)
    with temporary_folder(cache) as folder:
        def tuned_on(rows: NDArray[np.intp]) -> tuple[Features, Contrast]:
            backbone.model.set_weights(original)
            contrast = tune(backbone, examples, rows, features.runtime.seed)
            return _computed_again(features, folder), contrast

        of_fold: dict[int, Features] = {}
        for number, fold in enumerate(split.folds, 1):
            print(f"contrastive fine-tuning, fold {number} of {len(split.folds)}", flush=True)
            of_fold[fold] = tuned_on(np.flatnonzero(split.part != fold))[0]
        training = np.arange(len(examples)) if split.mode == "cv" else split.rows(TRAIN)
        own, contrast = tuned_on(training)  # last, for this backbone ships
        fitted = fit(own, head, options=options, fold_features=of_fold)
    steps = tuple({"epoch": float(i), "loss": loss} for i, loss in enumerate(contrast.losses, 1))
    return fitted, FineTuneResult(kept=True, blocks=contrast.blocks, layers=(), loss_before=0.0, loss_after=0.0,
                                  epochs=steps, seconds=time.perf_counter() - start, method="contrast",
                                  frozen_accuracy=_accuracy(examples, frozen))


def _computed_again(features: Features, folder: Path) -> Features:
    """The features that the backbone gives as it is now, in float32, as the export computes."""
    plain = replace(features.runtime, precision="float32", explicit_precision=True)
    now = replace(features.backbone, weights_hash=weights_hash(features.backbone.model))
    tuned = compute_features(features.examples, now, plain, cache_dir=folder)
    return replace(tuned, runtime=features.runtime, raw=features.raw, raw_space=features.raw_space)


def _accuracy(examples: Examples, fitted: FittedHead) -> float:
    """On the held-out rows, for comparison; it chooses nothing."""
    held_out, task = fitted.held_out, examples.task
    return float(task.correct(task.predict(held_out.logits, np.array([])), examples.targets[held_out.rows]).mean())
