"""Scores compared by leaving classes out: each is fitted without a class, and its AUROC is that of the class's rows
above the others."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.data.examples import lowest
from kerastl.evaluation.ranking import roc_auc
from kerastl.evaluation.rejection import (
    DISTANCES,
    LOGIT_SCORES,
    NEIGHBOURS,
    Axes,
    Detector,
    LeftOutClass,
    ScoreTrial,
    numpy_ops,
    principal_axes,
)
from kerastl.features.compute import Features

ROWS = 800  # compared, at most
FITS = 20  # classes left out, over all pairs of folds, at most
# AUROC by which another score has to be better than an earlier one in `ORDER`. Distances come first, because only they
# notice inputs that are far from anything seen: a logit may be large there, too.
WORTH = 0.02
ORDER = (*DISTANCES, *LOGIT_SCORES)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """One measurement. name: of the class; fold: whose rows were ranked; other: the second fold that no score was
    fitted on; n: rows of the class; aurocs: by score."""

    name: str
    fold: int
    other: int
    n: int
    aurocs: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Measurements, and the score that they choose. otherwise: the score where there are none, for the reason that
    `why` gives. notes: what was not measured, in sentences."""

    measurements: tuple[LeftOut, ...]
    otherwise: str = NEIGHBOURS
    why: str = ""
    notes: tuple[str, ...] = ()

    def chosen(self, without: int | None = None, unknown: str | None = None) -> str:
        """The score with the highest mean AUROC, or an earlier one in `ORDER` that is within 0.02 of it. without: a
        fold, none of whose rows has a part in the choice. unknown: a class by whose rejection nothing is chosen."""
        if self.why:
            return self.otherwise
        means = _means([each for each in self.measurements if each.name != unknown and (
            without is None or (each.other == without and each.fold != without))])
        if not means:
            return self.otherwise
        best = max(means.values())
        return next(name for name in ORDER if means.get(name, -1.0) >= best - WORTH)

    def trials(self) -> tuple[ScoreTrial, ...]:
        """The scores that were compared; none where there was no choice."""
        return () if self.why else tuple(ScoreTrial(name, mean) for name, mean in _means(self.measurements).items())

    def classes(self) -> tuple[LeftOutClass, ...]:
        """The AUROC of each class that was left out. The rows of each fold are ranked by the score that is chosen
        without them, by how well the other classes are rejected: the rows of a class, of whatever fold, do not choose
        the score that their rejection is measured with."""
        values: dict[str, list[tuple[float, int]]] = {}
        for each in self.measurements:
            auroc = each.aurocs.get(self.chosen(each.fold, each.name))
            if auroc is not None:  # there are no logits of a single class
                values.setdefault(each.name, []).append((auroc, each.n))
        return tuple(LeftOutClass(name, float(np.mean([auroc for auroc, _ in some])), max(n for _, n in some))
                     for name, some in sorted(values.items()))

    def auroc(self) -> float | None:
        """The mean over the classes."""
        classes = self.classes()
        return float(np.mean([each.auroc for each in classes])) if classes else None

    def reason(self) -> str:
        """Why this score, in words."""
        if self.why:
            return self.why
        if not self.measurements:
            return "There were too few rows to leave a class out, so the scores were not compared."
        return (f"Of {len(_means(self.measurements))} scores, it ranks the rows of a class that it has not seen best "
                "above the others, or as well as the best within 0.02.")

    @property
    def limits(self) -> tuple[str, ...]:
        """What was not measured, in sentences."""
        return self.notes


def compare_scores(features: Features, rows: NDArray[np.intp], part: NDArray[np.int8], members: Array) -> Comparison:
    """Leave classes out of training rows. features: pooled, or means over places; part: the fold of each row; members:
    [n, classes].

    Scores are fitted on all folds but two, without a class, and rank the rows of each of these two. At most 800 rows
    are used, and 20 classes left out in all. The logits are those of a logistic regression on the axes, which stands in
    for the head."""
    examples = features.examples
    classes = examples.one_hot(rows) > 0
    if classes.shape[1] < 2 or len(set(part.tolist())) < 3:
        return Comparison((), notes=("No class was left out, because there is a single class or are too few folds.",))
    if len(rows) > ROWS:
        kept = np.sort(lowest(Hashes.of(examples.ids).take(rows), most=ROWS))
        rows, part, members, classes = rows[kept], part[kept], members[kept], classes[kept]
    x = features.rows(rows)
    measurements = tuple(_measurements(x, part, members, classes, examples.classes, examples.task.exclusive))
    left = {each.name for each in measurements}
    notes = (f"{len(left)} of {len(examples.classes)} classes were left out in turn.",) * (
        len(left) < len(examples.classes))
    if examples.task.exclusive and classes.shape[1] == 2:
        return Comparison(measurements, NEIGHBOURS, "With two classes, leaving one out leaves a single one, which says "
                          "little about inputs of another kind: the score was not chosen by it.", notes)
    return Comparison(measurements, notes=notes)


def _measurements(x: NDArray[np.float32], part: NDArray[np.int8], members: Array, classes: NDArray[np.bool_],
                  names: tuple[str, ...], exclusive: bool) -> Iterator[LeftOut]:
    numbers = sorted(set(part.tolist()))
    each = min(classes.shape[1], max(1, FITS // len(numbers)))  # left out for a pair of folds
    for turn, first in enumerate(numbers):
        pair = (first, numbers[(turn + 1) % len(numbers)])
        inside = ~np.isin(part, pair)
        for number in ((turn * each + step) % classes.shape[1] for step in range(each)):
            of_class = classes[:, number]
            fitted = inside & ~of_class
            if fitted.sum() < 2:
                continue
            scores = score_rows(principal_axes(x[fitted], members[fitted]), classes[fitted], x, exclusive)
            for fold, other in (pair, pair[::-1]):
                known, unknown = (part == fold) & ~of_class, of_class & (inside | (part == fold))
                if known.any() and unknown.any():
                    yield LeftOut(names[number], fold, other, int(unknown.sum()),
                                  {name: _auroc(score, known, unknown) for name, score in scores.items()})


def score_rows(axes: Axes, classes: NDArray[np.bool_], x: NDArray[np.float32], exclusive: bool) -> dict[str, Array]:
    """Every score of rows, [n, dim], fitted on those of the axes. classes: of the latter, [rows, classes]; exclusive:
    whether each has one. The logits are those of a logistic regression on the axes."""
    ops = numpy_ops()
    names = [name for name in DISTANCES if exclusive or name == NEIGHBOURS]
    scores = {name: np.asarray(Detector(name, axes.distances(name)).scores(x, None, ops)) for name in names}
    labels = classes.argmax(axis=1)
    if exclusive and len(set(labels.tolist())) > 1:
        logits = _logits(axes, labels, x)
        scores |= {name: np.asarray(Detector(name).scores(None, logits, ops)) for name in LOGIT_SCORES}
    return scores


def _logits(axes: Axes, labels: NDArray[np.intp], x: NDArray[np.float32]) -> Array:
    """Those of a logistic regression on the features along the axes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    unit = float(np.sqrt((axes.along**2).mean())) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=0.1, max_iter=50).fit(axes.along / unit, labels)
    length = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    logits = model.decision_function((x / length - axes.mean) @ axes.axes / unit)
    return logits if logits.ndim > 1 else np.stack([-logits, logits], axis=1) / 2


def _auroc(score: Array, known: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> float:
    used = known | unknown
    found = roc_auc(score[used], unknown[used], np.arange(int(used.sum())))
    return found.value if found else float("nan")


def _means(measurements: "tuple[LeftOut, ...] | list[LeftOut]") -> dict[str, float]:
    """The mean AUROC of each score that every measurement has, over classes."""
    names = [name for name in ORDER if measurements and all(name in each.aurocs for each in measurements)]
    return {name: float(np.mean([each.aurocs[name] for each in measurements])) for name in names}
