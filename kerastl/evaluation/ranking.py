"""How well scores rank the rows of a class above the others: ROC-AUC and average precision; and balanced accuracy.

Each comes with its influence: how much it would change with the weight of each row. Summed within clusters, influences
give a standard error without resampling (the infinitesimal jackknife; for ROC-AUC that is DeLong et al. 1988,
https://doi.org/10.2307/2531595), and those of a mean over classes are the mean of the influences.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.stats import Interval, influence_interval

Array = NDArray[Any]


@dataclass(frozen=True)
class Statistic:
    """A statistic of [n] rows. influence: [n], its derivative by the weight of each row. least: the effective number of
    rows below which its interval does not assume it to be, as where every row is correct."""

    value: float
    influence: Array
    least: float

    def interval(self, cluster: NDArray[np.intp]) -> Interval:
        """Its 95% interval. cluster: [n], the number of each row's cluster."""
        return influence_interval(self.value, self.influence, cluster, self.least)


class Mean:
    """The mean of statistics, which are added up one by one, so that there may be many classes."""

    def __init__(self, statistics: Iterable[Statistic | None] = ()) -> None:
        self._count, self._value, self._inverse, self._influence = 0, 0.0, 0.0, np.zeros(1)
        for statistic in statistics:
            self.add(statistic)

    def add(self, statistic: Statistic | None) -> None:
        """Add one that is defined."""
        if statistic is not None:
            self._count, self._value = self._count + 1, self._value + statistic.value
            self._inverse, self._influence = self._inverse + 1 / statistic.least, self._influence + statistic.influence

    @property
    def statistic(self) -> Statistic | None:
        """The mean; None if none was defined."""
        n = self._count
        return Statistic(self._value / n, self._influence / n, n**2 / self._inverse) if n else None


def roc_auc(scores: Array, positive: NDArray[np.bool_], cluster: NDArray[np.intp]) -> Statistic | None:
    """The probability that a positive row has a higher score than a negative one; equal scores count a half. None
    where rows of either are missing. scores, positive, cluster: [n]."""
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(above) or not len(below):
        return None
    share = np.where(positive, _rank(below, scores), 1 - _rank(above, scores))  # of the other rows ranked correctly
    value = float(share[positive].mean())
    return Statistic(value, (share - value) / np.where(positive, len(above), len(below)),
                     min(_clusters(cluster[positive]), _clusters(cluster[~positive])))


def average_precision(scores: Array, positive: NDArray[np.bool_], cluster: NDArray[np.intp]) -> Statistic | None:
    """The mean over the positive rows of the precision at their score, as scikit-learn defines it. None where there is
    no positive row. scores, positive, cluster: [n]."""
    total = int(positive.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hit = -scores[order], positive[order].astype(np.float64)
    last = np.searchsorted(ranked, ranked, "right") - 1  # of the rows with the same score
    first = np.searchsorted(ranked, ranked, "left")
    rows, hits = last + 1.0, hit.cumsum()[last]
    precision = hits / rows
    value = float((hit * precision).sum() / total)
    # a row at or above a positive one changes its precision: one over the rows there if it is positive, less hits
    gained, lost = (np.append(part[::-1].cumsum()[::-1], 0.0)[first] for part in (hit / rows, hit * hits / rows**2))
    influence = np.empty(len(scores))
    influence[order] = (hit * (precision - value + gained) - lost) / total
    return Statistic(value, influence, _clusters(cluster[positive]))


def recall(predicted: NDArray[np.bool_], positive: NDArray[np.bool_], cluster: NDArray[np.intp]) -> Statistic | None:
    """The fraction of the positive rows that are predicted. None where there is none. All: [n]."""
    total = int(positive.sum())
    if not total:
        return None
    value = float(predicted[positive].mean())
    return Statistic(value, positive * (predicted - value) / total, _clusters(cluster[positive]))


def _rank(others: Array, scores: Array) -> Array:
    """The share of `others`, sorted, that lie below each score; equal ones count a half."""
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / (2 * len(others))


def _clusters(cluster: NDArray[np.intp]) -> int:
    return len(np.unique(cluster))
