"""Likely label errors: rows that a head which was not trained on them confidently assigns to another class.

Confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl import backbones
from kerastl.backbones import Backbone
from kerastl.data.examples import Examples, enough
from kerastl.data.split import split
from kerastl.errors import DataError
from kerastl.features.compute import compute_features
from kerastl.features.lengths import fit_length
from kerastl.runtime import Runtime, apply
from kerastl.training.fit import fit

FEWEST = 5  # rows of a class, so that each fold has one


@dataclass(frozen=True)
class LabelError:
    """A row whose given label is probably wrong. probability: that of the predicted label, in [0, 1]."""

    origin: str
    label: str
    predicted: str
    probability: float

    def to_dict(self) -> dict[str, str | float]:
        """As `kerastl check --json` prints it."""
        return {"origin": self.origin, "label": self.label, "looks_like": self.predicted,
                "probability": self.probability}


def find_label_errors(examples: Examples, *, cache_dir: str | Path | None = None,
                      backbone: str | Backbone | None = None, weights: str | None = None,
                      runtime: Runtime | None = None) -> tuple[LabelError, ...]:
    """The rows of an exclusive task whose given label is probably wrong, the least likely label first.

    A linear head on frozen features is cross-validated. A row is reported if its most likely class, among those that
    are at least as likely as they are on average for their own rows, is not the given label. backbone: a name, or a
    loaded backbone; default: the bundled one of the modality. Raises DataError where fewer than two classes have 5
    rows, and where rows may have several labels.
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
    rest = features.examples
    logits = fit(features).held_out.logits.astype(np.float64)
    p = task.probabilities(logits)
    rows, predicted = confidently_other(p, rest.targets)
    return tuple(LabelError(rest.origins[row], rest.label_of(row), rest.classes[c], float(p[row, c]))
                 for row, c in zip(rows.tolist(), predicted.tolist(), strict=True))


def confidently_other(p: NDArray[np.float64], labels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows that are confidently assigned to another class than their label, the least likely label first, and that
    class. p: held-out probabilities, [n, classes]; labels: [n] class numbers; each class needs a row."""
    average = np.array([p[labels == c, c].mean() for c in range(p.shape[1])])
    confident = np.where(p >= average, p, 0.0)
    predicted = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) > 0) & (predicted != labels))
    rows = rows[np.argsort(p[rows, labels[rows]], kind="stable")]
    return rows, predicted[rows]
