"""The fourth step of a recipe: a head on the features, and the backbone with it where it is to be tuned."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.backbones import Backbone, weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.errors import OptionError
from kerastl.features.compute import Features, compute_features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ROW
from kerastl.heads._several import heads_of
from kerastl.model import splice
from kerastl.runtime import Runtime
from kerastl.training.fine_tuning import contrastive as contrast
from kerastl.training.fine_tuning.batches import predictions_on
from kerastl.training.fine_tuning.fine_tune import FineTuneResult, fine_tune
from kerastl.training.fine_tuning.plan import TuningOptions
from kerastl.training.fit import FittedHead, fit

FEW = (8, 256)  # rows a class; with more it pays too, but takes minutes, so it has to be asked for


@dataclass(frozen=True)
class TrainedModel:
    """model: backbone and head, spliced. tuned: None where the backbone stayed frozen."""

    model: Any
    fitted: FittedHead
    tuned: FineTuneResult | None


def train(backbone: Backbone, features: Features, head: str = "linear", *, unfreeze: int | str = 0, runtime: Runtime,
          cache_dir: Path, epochs: int | None = None, batch_size: int = 32, class_weights: str = "auto",
          label_smoothing: float = 0.0, tuning: TuningOptions | None = None) -> TrainedModel:
    """Fit a head on frozen features and splice it with the backbone.

    unfreeze: `contrast` tunes the backbone for few labels (see `contrast`) and fits the head on what it then gives;
    `auto` does so where the rows of a class are few (see `few_labels`), and else keeps it frozen; a number of blocks,
    or `all`, fine-tunes them after the head is fitted, and keeps that if validation improves.
    tuning: of fine-tuning, what its rule is not to decide.
    Raises OptionError for a head, class weights or blocks that there are not, and for contrast with a head that takes
    more than pooled features.
    """
    how: dict[str, Any] = {"runtime": runtime, "epochs": epochs, "class_weights": class_weights,
                           "label_smoothing": label_smoothing}
    asked = heads_of(head)
    pooled = all(one.takes == ROW and one.side is None for one in asked)
    if backbone.large and str(unfreeze) not in ("auto", "0"):
        raise OptionError(f"--unfreeze {unfreeze} on {backbone.name}, whose weights are {backbone.large.kept} and stay "
                          "apart", "--unfreeze 0", "choose a smaller backbone to fine-tune")
    if unfreeze == "auto":
        unfreeze = "contrast" if pooled and not backbone.spec.large and few_labels(features.examples) else "0"
    if str(unfreeze) == "contrast" and not pooled:
        raise OptionError(f"--unfreeze contrast with the head {head}", "a head that takes pooled features and no more",
                          "give --unfreeze 0, a number of blocks, or all")
    if any(one.side for one in asked):
        features = with_raw(features, backbone, cache_dir=cache_dir)
    frozen = fit(features, head, **how)
    if str(unfreeze) == "contrast":
        fitted, tuned = _by_contrast(backbone, features, frozen, how, cache_dir)
        return TrainedModel(splice(backbone, fitted.head), fitted, tuned)
    model = splice(backbone, frozen.head)
    if not backbone.large:  # of a large one the head ships alone, and takes the rows that judged it
        frozen = _as_shipped(model, backbone, features, frozen, batch_size)
    if str(unfreeze) == "0":
        return TrainedModel(model, frozen, None)
    fitted, tuned = fine_tune(backbone, model, frozen, features.examples, unfreeze, runtime=runtime,
                              cache_dir=cache_dir, epochs=epochs, batch_size=batch_size, tuning=tuning)
    return TrainedModel(model, fitted, tuned)


def _as_shipped(model: Any, backbone: Backbone, features: Features, fitted: FittedHead, batch_size: int) -> FittedHead:
    """The head's answers on rows that judge by the whole model in float32, where the cache keeps maps in float16. The
    heads of folds do not ship: their answers stay those on the maps that are kept."""
    split = features.examples.split
    if features.held_out_space.key.dtype == "float32" or split is None or split.mode == "cv":
        return fitted
    examples = features.examples
    return replace(fitted, held_out=predictions_on(model, backbone.input, examples, split.held_out, batch_size))


def few_labels(examples: Examples) -> bool:
    """Whether tuning by contrast pays: from FEW[0] to FEW[1] training rows a class, in the middle of the classes.

    They come from movie snippets that judged nothing: from 8 to 512 labels a class it was better than frozen features
    each time, by 2 to 8 points (docs/few_labels.md)."""
    split = examples.split
    assert split is not None, "split the examples before training"
    if examples.multi_label:
        return False
    training = examples.targets if split.mode == "cv" else examples.targets[split.rows(TRAIN)]
    a_class = float(np.median(np.unique(training, return_counts=True)[1]))
    return FEW[0] <= a_class <= FEW[1]


def _by_contrast(backbone: Backbone, features: Features, frozen: FittedHead, how: dict[str, Any], cache_dir: Path
                 ) -> tuple[FittedHead, FineTuneResult]:
    """Tune on the training rows, and fit the head on what the backbone then gives. For cross-validated rows that is
    done once a fold, without the fold's rows, then on all of them."""
    start = time.perf_counter()
    examples, runtime, original = features.examples, how["runtime"], backbone.model.get_weights()
    split = examples.split
    assert split is not None, "split the examples before training"

    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="contrast-") as folder:
        def tuned_on(rows: Any) -> tuple[Features, contrast.Contrast]:
            backbone.model.set_weights(original)
            found = contrast.tune(backbone, examples, rows, runtime.seed)
            tuned = _features(backbone, examples, runtime, Path(folder))
            return replace(tuned, raw=features.raw, raw_space=features.raw_space), found

        def without(fold: int) -> Features:
            print(f"tuning by contrast, fold {fold + 1} of {len(split.folds)}", flush=True)
            return tuned_on(np.flatnonzero(split.part != fold))[0]

        of_fold: Callable[[int], Features] | None = None
        if split.mode == "cv":
            judging = {fold: without(fold) for fold in split.folds}  # the last tuning is of what ships
            of_fold = judging.__getitem__
        everything = np.arange(len(examples)) if split.mode == "cv" else split.rows(TRAIN)
        own, found = tuned_on(everything)
        fitted = fit(own, frozen.name, of_fold=of_fold, **how)
    tuned = FineTuneResult(True, found.blocks, (), 0.0, 0.0, tuple({"epoch": float(i + 1), "loss": loss} for i, loss in
                                                          enumerate(found.losses)),
                  time.perf_counter() - start, "contrast", _accuracy(examples, frozen))
    return fitted, tuned


def _features(backbone: Backbone, examples: Examples, runtime: Runtime, folder: Path) -> Features:
    """Of the backbone as it is now, in float32, as the export computes."""
    plain = replace(runtime, precision="float32", explicit_precision=True)
    now = replace(backbone, weights_hash=weights_hash(backbone.model))
    return compute_features(examples, now, plain, cache_dir=folder)


def _accuracy(examples: Examples, fitted: FittedHead) -> float:
    """Of the frozen backbone on the judged rows, to be shown beside; it chooses nothing."""
    judged = fitted.held_out
    return float((judged.logits.argmax(axis=1) == examples.targets[judged.rows]).mean())
