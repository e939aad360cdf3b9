"""Where the errors of a model concentrate: classes that are taken for others, and labels that are missed or predicted
by mistake."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import all_of, at_least, broken, expect
from kerastl.evaluation.result import Figures
from kerastl.fields import Section


@dataclass(frozen=True)
class Confusion(Section):
    """How many rows of one class are predicted as another, and which share of the rows of `actual` that is."""

    actual: str
    predicted: str
    rows: int
    share: float


@dataclass(frozen=True)
class LabelCounts(Section):
    """A label where a row may have several. rows: that have it; correct: of these, those for which it is predicted;
    missed: the others; false_alarms: rows without it for which it is predicted."""

    name: str
    rows: int
    correct: int
    missed: int
    false_alarms: int


def check_worst(worst: int) -> None:
    """Raises OptionError for a number of mistakes that cannot be listed."""
    expect(int, "a number of mistakes", worst=worst)
    if faults := broken(at_least(0, "worst"), {"worst": worst}):
        raise all_of(faults)


def confusions(test: Figures) -> tuple[Confusion, ...]:
    """The classes that are taken for others, the most rows first; none where a row may have several labels."""
    matrix = np.array(test.confusion, np.int64).reshape(len(test.confusion), len(test.confusion))
    totals = matrix.sum(axis=1)
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(matrix), strict=True) if i != j]
    found = [Confusion(test.classes[i].name, test.classes[j].name, int(matrix[i, j]), float(matrix[i, j] / totals[i]))
             for i, j in pairs]
    return tuple(sorted(found, key=lambda confusion: (-confusion.rows, -confusion.share)))


def label_counts(names: Sequence[str], predicted: NDArray[Any], actual: NDArray[Any]) -> tuple[LabelCounts, ...]:
    """The counts of each label, the most errors first. predicted, actual: [n, labels] of 0 and 1."""
    told, positive = predicted > 0, actual > 0
    counts = [LabelCounts(name, int(has.sum()), int((says & has).sum()), int((has & ~says).sum()),
                          int((says & ~has).sum())) for name, says, has in zip(names, told.T, positive.T, strict=True)]
    return tuple(sorted(counts, key=lambda label: -(label.missed + label.false_alarms)))
