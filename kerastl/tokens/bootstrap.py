"""Intervals of figures over sentences, which are drawn with replacement: words of a sentence are not independent."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.stats import wilson_interval

DRAWS = 2000
METHOD = f"bootstrap of sentences, {DRAWS:,} draws"


def sentence_interval(counts: NDArray[Any], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
                      ids: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """The 95% interval of a figure in [0, 1].

    counts: [sentences, k], what each sentence adds to k totals, such as correct words and words. statistic: totals
    [draws, k] -> the figure [draws]. ids: of each sentence; those of equal words are drawn together. Where nothing
    varies, as where every word is correct, the interval is Wilson's for as many rows as there are sentences. One
    sentence says nothing about others: another value of it has the interval from 0 to 1.
    """
    names, member = np.unique(np.asarray(ids), return_inverse=True)
    totals = np.stack([np.bincount(member, weights=column, minlength=len(names)) for column in counts.T], 1)
    generator, n = np.random.default_rng(seed), len(names)
    drawn = generator.multinomial(n, np.full(n, 1 / n), size=DRAWS) @ totals
    values = statistic(drawn.astype(np.float64))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    if high - low < 1e-12:
        value = float(statistic(totals.sum(0, keepdims=True))[0])
        if value in (0.0, 1.0):
            return wilson_interval(np.full(n, value == 1), range(n)).ends
        if n == 1:
            return 0.0, 1.0
    return float(low), float(high)


def ratio(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first of two totals by the second; 0 where that is 0. [draws, 2] -> [draws]."""
    return np.asarray(totals[:, 0] / np.maximum(totals[:, 1], 1))


def f1(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the first total by the sum of the others: of correct, predicted and given ones. [draws, 3] -> [draws]."""
    return np.asarray(2 * totals[:, 0] / np.maximum(totals[:, 1] + totals[:, 2], 1))
