"""The prediction for one input: what of a model's outputs it contains. Imports no TensorFlow, so that what was asked
for is checked at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import all_of, broken
from kerastl.evaluation.rejection import LABEL
from kerastl.tasks import Task

Row = dict[str, Any]  # the outputs of `serving_default` for one input


@dataclass(frozen=True)
class Prediction:
    """The prediction for one input. `top` holds (label, score) pairs, the highest score first; scores are calibrated
    probabilities in [0, 1]. With several labels per row, `label` joins them by `|`, and is empty where there is none.

    `unknown_score` is higher for an input that is more unlike the training data, and above 0 where it is more so than
    the rows of the coverage that the model was trained with; None for a model of an earlier version. Where the input
    could not be decoded, `error` says why and `label` is empty. `probabilities` are those of all classes by name, in
    the order of the model, where they were asked for. `withheld`: whether `min_score` removed a label."""

    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    error: str = ""
    unknown_score: float | None = None
    probabilities: Mapping[str, float] | None = field(default=None, hash=False)
    withheld: bool = False


@dataclass(frozen=True)
class PredictionForm:
    """What predictions contain. classes, task, thresholds: of the model. top: so many labels with their scores; None:
    those that the SavedModel returns, at most 5. probabilities: whether all of them. min_score: below it, a label of
    these classes is removed.

    With several labels per row, each label is removed by its own probability. The label "none of these" stays: it is of
    no class.
    """

    classes: tuple[str, ...]
    task: Task
    thresholds: tuple[float, ...]
    top: int | None = None
    probabilities: bool = False
    min_score: float | None = None

    def __post_init__(self) -> None:
        check_form(self.top, self.min_score)

    def prediction(self, row: Row | str) -> Prediction:
        """The prediction in the outputs of a row, or with the reason why there are none."""
        if isinstance(row, str):
            return Prediction("", 0.0, (), row)
        p = row["probabilities"]
        if self.top is None:
            top = [(name.decode(), float(score)) for name, score in
                   zip(row["top_labels"], row["top_scores"], strict=True)]
        else:
            top = [(self.classes[place], float(p[place])) for place in np.argsort(-p, kind="stable")[:self.top]]
        unknown, label, score = row.get("unknown_score"), row["label"].decode(), float(row["score"])
        sure = self._sure(label, score, p)
        every = dict(zip(self.classes, p.tolist(), strict=True)) if self.probabilities else None
        return Prediction(sure, score, tuple(top), unknown_score=None if unknown is None else float(unknown),
                          probabilities=every, withheld=sure != label)

    def _sure(self, label: str, score: float, p: NDArray[np.float32]) -> str:
        """The label, or what `min_score` leaves of it. p: [classes]."""
        if self.min_score is None or not label or (label == LABEL and LABEL not in self.classes):
            return label
        least = np.float32(self.min_score)
        if self.task.exclusive:
            return label if np.float32(score) >= least else ""
        thresholds = np.array(self.thresholds or self.task.half(len(self.classes)).thresholds, np.float32)
        return self.task.label(self.task.predict(p[None], np.maximum(thresholds, least))[0], self.classes)


def check_form(top: int | None, min_score: float | None) -> None:
    """Raises OptionError for a number of labels, or a least score, that cannot be used. None is what was not set."""
    rules = (("top", "an integer, at least 1", lambda value: _is_number(value, Integral) and value >= 1),
             ("min_score", "a number from 0 to 1", lambda value: _is_number(value, Real) and 0 <= value <= 1))
    values = {"top": top, "min_score": min_score}
    if faults := broken(rules, {name: value for name, value in values.items() if value is not None}):
        raise all_of(faults)


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
