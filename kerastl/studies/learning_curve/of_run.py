"""The learning curve of a run, for its record and report: a single round, where that takes seconds."""

from dataclasses import replace

import numpy as np

from kerastl.features.compute import Features
from kerastl.studies.learning_curve.measurement import INNER_FOLDS
from kerastl.studies.learning_curve.study import learning_curve, scope_of, usable_rows
from kerastl.studies.learning_curve.subsets import FOLDS, sizes_of
from kerastl.training.options import TrainingOptions
from kerastl.training.train import TrainedModel
from kerastl.versions.learning_curve import LearningCurve

CHEAP = 400_000_000  # multiplications in one pass over the rows of all fits, up to which a run measures its curve
MOST_MAPS = 3_000  # rows of maps or token states that are averaged only for this
WITH_PLAIN = ("plain", "joint")  # heads that also take features which are not the backbone's
COMMAND = "`kerastl curve` measures it"


def learning_curve_of_run(features: Features, trained: TrainedModel) -> LearningCurve:
    """The curve of a run's rows, or why a run does not measure it. Test rows of a hold-out are not used."""
    rows, exported = usable_rows(features.examples), _exported(trained)
    empty = LearningCurve(rows=len(rows), nouns=features.examples.modality.nouns, scope=scope_of(features),
                          exported=exported)
    if len(features.shape) > 1 and len(rows) > MOST_MAPS:
        return replace(empty, reason=f"averaging the features of {len(rows):,} {empty.nouns} over places only for this "
                                     f"would take too long; {COMMAND}")
    if _passes(features, len(rows)) > CHEAP:
        return replace(empty, reason=f"fitting heads on subsets of {len(rows):,} {empty.nouns} only for this would "
                                     f"take too long; {COMMAND}")
    weighted = str(trained.fitted.settings.get("class_weights", "auto"))  # as the head that ships
    curve = learning_curve(features, repeats=1, options=TrainingOptions(class_weights=weighted))
    return replace(curve, exported=exported)


def _passes(features: Features, rows: int) -> int:
    """Multiplications in one pass over the rows of all fits."""
    sizes, outputs = np.array(sizes_of(rows, len(features.examples.classes))), len(features.examples.classes)
    return int((sizes * np.minimum(sizes, features.dim)).sum()) * outputs * (INNER_FOLDS + 1) * FOLDS


def _exported(trained: TrainedModel) -> str:
    """How the exported model differs from the head of the curve; empty where it does not."""
    tuned, name = trained.fine_tuning, trained.fitted.name
    if tuned and tuned.kept:
        return "The backbone of the exported model was fine-tuned; the curve is that of linear on the frozen backbone."
    if name in WITH_PLAIN:
        return (f"The exported head is {name}; the curve is that of linear, without the plain features (n-grams or "
                "colours), which may gain more from more rows.")
    return "" if name == "linear" else f"The exported head is {name}; the curve is that of linear."
