"""Likely label errors in a source, or in the data of a run. The method is in `evaluation.label_errors`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl import backbones
from kerastl.backbones import Backbone
from kerastl.data.examples import TRAIN, VALIDATION, Examples, enough
from kerastl.data.split import split, split_of
from kerastl.errors import DataError
from kerastl.evaluation.label_errors import LabelError, LabelErrors, label_errors
from kerastl.evaluation.metrics import evaluate
from kerastl.evaluation.result import Evaluation
from kerastl.features.compute import Features, compute_features
from kerastl.features.lengths import fit_length
from kerastl.runtime import Runtime, apply
from kerastl.training.fit import fit
from kerastl.training.options import TrainingOptions

__all__ = ["LabelError", "LabelErrors", "find_label_errors", "label_errors_of_run"]
FEWEST = 5  # rows of a class, so that each fold has one
CHEAP_ROWS, CHEAP = 20_000, 200_000_000  # rows, and rows x features x classes, that a run cross-validates only for this
LISTED = 100  # rows in a run record
COMMAND = "`kerastl check` searches them all"


def find_label_errors(examples: Examples, *, cache_dir: str | Path | None = None,
                      backbone: str | Backbone | None = None, weights: str | None = None,
                      runtime: Runtime | None = None) -> LabelErrors:
    """The rows of an exclusive task whose given label is probably wrong, the least likely label first.

    A linear head on frozen features is cross-validated and calibrated; the nearest neighbours in the same features
    give a second opinion: see `evaluation.label_errors`. backbone: a name, or a loaded backbone; default: the bundled
    one of the modality. Classes with fewer than 5 rows are not searched, and are listed in the result. Raises DataError
    where fewer than two classes have 5 rows, and where rows may have several labels.
    """
    task = examples.task
    if not task.exclusive:
        raise DataError(f"{examples.source} has {task.noun}", "one label per row", "label errors are not defined here")
    runtime = runtime or apply()
    rest = split(enough(replace(examples, min_per_class=FEWEST)), "cv")
    modality = examples.modality
    network = backbone if isinstance(backbone, Backbone) else \
        backbones.load(backbone or modality.bundled_backbone, weights, modality=modality.name)
    if modality.has_length:
        network = fit_length(network, rest)
    features = compute_features(rest, network, runtime, cache_dir=cache_dir)
    return _cross_validated(features, _small(examples))


def label_errors_of_run(features: Features, evaluation: Evaluation) -> LabelErrors:
    """Likely label errors among the rows of a run, as its record has them: the first 100, or why none were searched.

    After cross-validation, by the predictions that were evaluated. With a hold-out, a linear head is cross-validated
    on the training and validation rows, where that takes seconds. Test rows are not searched then: correcting only
    those test labels that a model disagrees with would flatter the model.
    """
    examples = features.examples
    if not examples.task.exclusive:
        return LabelErrors(reason=f"label errors are not defined for {examples.task.noun}")
    if split_of(examples).mode == "cv":
        found = label_errors(evaluation.held_out, features.rows, "the held-out predictions of this run")
        return found.first(LISTED)
    rows = split_of(examples).rows(TRAIN, VALIDATION)
    n, classes = len(rows), len(examples.classes)
    if len(features.shape) > 1:
        return LabelErrors(reason="not searched with a hold-out and features that are not pooled; " + COMMAND)
    if n > CHEAP_ROWS or n * features.dim * classes > CHEAP:
        return LabelErrors(reason=f"not searched: cross-validating {n:,} rows of {features.dim:,} features and "
                                  f"{classes:,} classes only for this would take too long; {COMMAND}")
    try:
        return _cross_validated(*_training_part(features, rows)).first(LISTED)
    except DataError as error:  # too few rows of a class; the run itself is not affected
        return LabelErrors(reason=f"not searched: {error.got}")


def _cross_validated(features: Features, small: dict[str, int]) -> LabelErrors:
    """Likely label errors by a linear head. Classes are not weighted, so that its probabilities mean what they say."""
    fitted = fit(features, options=TrainingOptions(class_weights="none"))
    held_out = evaluate(features.examples, fitted).held_out
    return replace(label_errors(held_out, features.rows, "a cross-validated linear head"), not_searched=small)


def _training_part(features: Features, rows: NDArray[np.intp]) -> tuple[Features, dict[str, int]]:
    """The features of some training rows, to be cross-validated, and the classes that are too small for that."""
    examples = replace(features.examples.take(rows), split=None, soft_targets=None, min_per_class=FEWEST)
    rest, keys = enough(examples), features.keys or features.examples.ids
    key_of = {content: keys[row] for row, content in enumerate(features.examples.ids)}
    return replace(features, examples=split(rest, "cv"), held_out_space=features.space,
                   keys=[key_of[content] for content in rest.ids]), _small(examples)


def _small(examples: Examples) -> dict[str, int]:
    return {name: n for name, n in examples.counts().items() if n < FEWEST}
