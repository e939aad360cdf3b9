"""When contrastive fine-tuning pays off, and how it is cross-validated: once per fold, without the rows of the fold."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone, weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.features.compute import Features, compute_features
from kerastl.files import cache_folder
from kerastl.heads import HeadLike
from kerastl.runtime import Runtime
from kerastl.training.fine_tuning.contrastive import Contrast, tune
from kerastl.training.fine_tuning.fine_tune import FineTuneResult
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


def tune_and_fit(backbone: Backbone, features: Features, head: HeadLike, frozen: FittedHead, *,
                 options: TrainingOptions, runtime: Runtime, cache_dir: str | Path
                 ) -> tuple[FittedHead, FineTuneResult]:
    """Fine-tune the backbone on the training rows, in place, and fit the head on the features that result. Cross-
    validated, do so once per fold, without the rows of the fold, then on all rows. frozen: the head fitted on the
    frozen backbone, for the figure beside."""
    start = time.perf_counter()
    examples, original = features.examples, backbone.model.get_weights()
    split = split_of(examples)

    with tempfile.TemporaryDirectory(dir=cache_folder(cache_dir, "contrast")) as folder:
        def tuned_on(rows: NDArray[np.intp]) -> tuple[Features, Contrast]:
            backbone.model.set_weights(original)
            contrast = tune(backbone, examples, rows, runtime.seed)
            tuned = _features(backbone, examples, runtime, Path(folder))
            return replace(tuned, raw=features.raw, raw_space=features.raw_space), contrast

        of_fold: dict[int, Features] = {}
        for number, fold in enumerate(split.folds, 1):
            print(f"contrastive fine-tuning, fold {number} of {len(split.folds)}", flush=True)
            of_fold[fold] = tuned_on(np.flatnonzero(split.part != fold))[0]
        training = np.arange(len(examples)) if split.mode == "cv" else split.rows(TRAIN)
        own, contrast = tuned_on(training)  # last, for this backbone ships
        fitted = fit(own, head, options=options, runtime=runtime,
                     fold_features=of_fold.__getitem__ if of_fold else None)
    steps = tuple({"epoch": float(i), "loss": loss} for i, loss in enumerate(contrast.losses, 1))
    return fitted, FineTuneResult(True, contrast.blocks, (), 0.0, 0.0, steps, time.perf_counter() - start, "contrast",
                                  _accuracy(examples, frozen))


def _features(backbone: Backbone, examples: Examples, runtime: Runtime, folder: Path) -> Features:
    """Of the backbone as it is now, in float32, as the export computes."""
    plain = replace(runtime, precision="float32", explicit_precision=True)
    now = replace(backbone, weights_hash=weights_hash(backbone.model))
    return compute_features(examples, now, plain, cache_dir=folder)


def _accuracy(examples: Examples, fitted: FittedHead) -> float:
    """On the held-out rows, for comparison; it chooses nothing."""
    held_out, task = fitted.held_out, examples.task
    return float(task.correct(task.predict(held_out.logits, np.array([])), examples.targets[held_out.rows]).mean())
