"""The simplest of several models that is not significantly worse than the best, on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from kerastl.stats import LEVEL, Groups, PairedDifference, holm, paired_difference


@dataclass(frozen=True)
class Verdict:
    """The best model and the recommended one, as places in the list. tests: the best against each; None for itself."""

    best: int
    chosen: int
    tests: tuple[PairedDifference | None, ...]


def simplest_within_noise(correct: Sequence[NDArray[Any]], costs: Sequence[tuple[float, ...]], groups: Groups
                          ) -> Verdict:
    """The simplest model that the best is not significantly better than.

    correct: of each model [n], as `paired_difference` takes it. costs: of each model, compared from the first number
    on; of models with equal accuracy the simplest is the best. The best was picked on these rows, out of all: that is
    why the p values are corrected for their number.
    """
    best = min(range(len(correct)), key=lambda i: (-round(float(correct[i].mean()), 12), costs[i]))
    others = [i for i in range(len(correct)) if i != best]
    differences = [paired_difference(correct[best], correct[i], groups) for i in others]
    corrected = holm([difference.p for difference in differences])
    tests: list[PairedDifference | None] = [None] * len(correct)
    for i, difference, p in zip(others, differences, corrected, strict=True):
        tests[i] = replace(difference, p=p)
    within = [i for i, test in enumerate(tests) if test is None or test.p >= LEVEL]
    return Verdict(best, min(within, key=lambda i: costs[i]), tuple(tests))
