"""Confidence intervals, paired tests and the mean log loss.

Rows of the same group (duplicates, or rows that the user grouped) are not independent observations. Every function that
returns an interval therefore takes the group of each row; if rows are independent, each is a group of its own. No
interval narrows when every row is repeated within its group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # 97.5th percentile of the normal distribution
LEVEL = 0.05  # below which a p value is significant
FLIPS = 10_000  # random sign assignments in the randomisation test
HELPED, HURT, UNCLEAR = "helped", "hurt", "unclear"  # verdicts
Groups = Sequence[Any] | NDArray[Any]  # [n], the name or the number of each row's group


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval. method: how it was computed, in words."""

    low: float
    high: float
    method: str

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end."""
        return self.low, self.high


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same `n` rows. gain: the mean of the first minus that of the second. p: two-sided, of the null
    hypothesis that both models are equally accurate, in [0, 1]."""

    n: int
    gain: float
    gain_ci95: tuple[float, float]
    p: float


class HasLogLoss(Protocol):
    """What `log_loss` needs of a task."""

    @property
    def log_loss(self) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
        """Logits and truth, [n, classes] each -> the loss of each row in nats, [n]."""


def wilson_interval(correct: NDArray[np.bool_], groups: Groups) -> Interval:
    """Wilson's interval of an accuracy. correct: [n] of booleans.

    If rows share groups, n is replaced by the effective sample size (Korn and Graubard 1998): the number of independent
    rows whose accuracy would have the same variance. Bootstrapping groups instead gives an interval of zero width when
    every row is correct.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    n, p = len(correct), float(np.mean(correct))
    hits, sizes = np.bincount(member, weights=correct), np.bincount(member)
    variance = _variance_of_mean(hits, sizes)
    fewest = n**2 / float((sizes**2).sum())  # if all rows of a group were identical
    # At most n; n / k where every group could be k copies of its rows, since copies must not narrow the interval.
    most = n / int(np.gcd.reduce(np.concatenate([hits, sizes - hits]).astype(int)))
    rows = min(max(p * (1 - p) / variance, fewest), most) if variance > 0 else fewest
    method = f"Wilson, {n:,} rows" + (f" in {len(names):,} groups" if len(names) < n else "")
    return Interval(*_wilson(p, rows), method)


def share_interval(hits: NDArray[np.bool_], base: NDArray[np.bool_], groups: NDArray[Any]) -> Interval | None:
    """Wilson's interval of the share of `hits` among the rows of `base`, such as a precision or a recall, [n] each;
    None where there are no such rows."""
    return wilson_interval(hits[base], groups[base]) if base.any() else None


def mean_interval(values: NDArray[Any], groups: Groups, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """The interval of a mean: 1.96 standard errors to either side, clipped to the bounds of the values. values: [n].

    The variation between groups cannot be estimated from a single group: the interval then spans the bounds.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) == 1:
        return Interval(*bounds, "a single group: the interval is unknown")
    mean, half = float(np.mean(values)), Z95 * standard_error(values, member)
    low, high = max(bounds[0], mean - half), min(bounds[1], mean + half)
    return Interval(low, high, f"mean +- 1.96 standard errors, {len(names)} groups")


def standard_error(values: NDArray[Any], groups: Groups) -> float:
    """The standard error of a mean over grouped rows; infinite for a single group. values: [n]."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) == 1:
        return float("inf")
    return float(_variance_of_mean(np.bincount(member, weights=values), np.bincount(member)) ** 0.5)


def influence_interval(value: float, influence: NDArray[Any], groups: Groups, least: float) -> Interval:
    """The interval of a statistic in [0, 1] of which the influence of each row is known, [n]: Wilson's, with the number
    of independent rows whose mean would have the same variance. least: that number where the variance is smaller than
    can be true, as where every row is correct; it is never above the number of groups."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    variance = float((np.bincount(member, weights=influence) ** 2).sum()) * len(names) / max(1, len(names) - 1)
    rows = min(max(value * (1 - value) / variance if variance > 0 else 0.0, least), len(names))
    low, high = _wilson(value, rows)
    return Interval(low, high, f"Wilson, by the influence of each row, {len(names):,} groups")


def paired_difference(a: NDArray[Any], b: NDArray[Any], groups: Groups) -> PairedDifference:
    """Compare two models on the same rows. a, b: [n], how often each row was predicted correctly, in [0, 1].

    p is that of Fisher's randomisation test (1935), which swaps the models' results for all rows of a group together.
    If all differences have the same size, that is McNemar's exact test. The test does not cover the variation that
    other training rows would cause (Dietterich 1998, https://doi.org/10.1162/089976698300017197). The interval is that
    of Agresti and Min (2005), because the mean +- 1.96 standard errors is too narrow where few rows are predicted
    differently, as by two versions of a model.
    """
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    gain, sums = float(difference.mean()), np.bincount(member, weights=difference)
    ends = _paired_interval(sums, np.bincount(member))
    return PairedDifference(len(difference), gain, ends, randomisation_test(sums))


def randomisation_test(differences: NDArray[Any]) -> float:
    """The two-sided p value of the sum of independent differences, [m], under the null hypothesis that both signs of
    each difference are equally likely. Exact if they have the same size; otherwise signs are drawn 10,000 times."""
    differences = differences[np.abs(differences) > 1e-12]
    if not len(differences):
        return 1.0
    size = np.abs(differences)
    if np.allclose(size, size[0]):
        return _sign_test(int((differences > 0).sum()), len(differences), "two-sided")
    generator, extreme, block = np.random.default_rng(0), 0, max(1, 10_000_000 // len(differences))
    for start in range(0, FLIPS, block):
        signs = generator.integers(0, 2, (min(block, FLIPS - start), len(differences)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9).sum())
    return (1 + extreme) / (1 + FLIPS)


def mcnemar(a: Sequence[bool] | NDArray[np.bool_], b: Sequence[bool] | NDArray[np.bool_],
            alternative: str = "two-sided") -> float:
    """The exact p value of equal accuracy, from the rows that exactly one of two models predicts correctly (McNemar
    1947). a, b: [n], independent rows. alternative: `two-sided`, or `greater`: the first model is better."""
    only_a, only_b = int((np.asarray(a) & ~np.asarray(b)).sum()), int((~np.asarray(a) & np.asarray(b)).sum())
    return _sign_test(only_a, only_a + only_b, alternative)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for multiple comparisons, in the same order (Holm 1979)."""
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def verdict(interval: tuple[float, float]) -> str:
    """What the interval of a gain shows: `helped` if it lies above 0, `hurt` if it lies below, otherwise `unclear`."""
    low, high = interval
    return HELPED if low > 0 else HURT if high < 0 else UNCLEAR


def in_points(gain: float, interval: tuple[float, float], sign: str = "") -> str:
    """A gain in accuracy with its interval, `5.6 points (95% CI 1.8 to 9.3)`. sign: `+` shows it of positive numbers
    too."""
    value, low, high = (f"{100 * number:{sign}.1f}" for number in (gain, *interval))
    return f"{value} points (95% CI {low} to {high})"


def verdict_sentence(gain: float, interval: tuple[float, float], *, helped: str, hurt: str, unclear: str) -> str:
    """One of three sentences, by the verdict. Each has a place `{points}` for the gain with its interval: for `hurt`
    this is how much is lost, for `unclear` it has its sign."""
    low, high = interval
    return {HELPED: helped.format(points=in_points(gain, interval)),
            HURT: hurt.format(points=in_points(-gain, (-high, -low))),
            UNCLEAR: unclear.format(points=in_points(gain, interval, "+"))}[verdict(interval)]


def log_loss(logits: NDArray[Any], truth: NDArray[Any], task: HasLogLoss) -> float:
    """The mean log loss in nats. logits, truth: [n, classes]; truth may be soft. It is computed from logits, since
    clipped probabilities would hide the most confident mistakes."""
    return float(task.log_loss(np.asarray(logits, np.float64), truth).mean())


def _wilson(p: float, rows: float) -> tuple[float, float]:
    z2 = Z95**2 / rows
    centre = (p + z2 / 2) / (1 + z2)
    half = float(np.sqrt(max(0.0, z2 * p * (1 - p) + z2**2 / 4))) / (1 + z2)
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def _paired_interval(sums: NDArray[Any], sizes: NDArray[np.intp]) -> tuple[float, float]:
    """The interval of the mean of differences in [-1, 1]. sums, sizes: their sum and number in each group.

    Half a group is added to each cell of the table of two models, correct and incorrect (Agresti and Min 2005,
    https://doi.org/10.1002/sim.1781): half a group with a difference in either direction, and one without. They are of
    the average size, and differ by as much as the groups that differ. The variation between groups cannot be estimated
    from a single one: the interval then spans all values.
    """
    groups, n = len(sizes), int(sizes.sum())
    if groups == 1:
        return -1.0, 1.0
    size, differing = n / groups, sums[np.abs(sums) > 1e-12]
    step = float(np.sqrt((differing**2).mean())) if len(differing) else size
    gain, centre = float(sums.sum()) / n, float(sums.sum()) / (n + 2 * size)
    squares = ((sums - centre * sizes)**2).sum() + step**2 + 2 * (centre * size)**2
    half = Z95 * float(squares)**0.5 / (n + 2 * size)
    return max(-1.0, min(gain, centre - half)), min(1.0, max(gain, centre + half))


def _variance_of_mean(sums: NDArray[Any], sizes: NDArray[np.intp]) -> float:
    """The variance of a mean over grouped rows, by linearisation. sums, sizes: the sum and the number of the rows of
    each group. If each row is its own group, the sample variance divided by n; for a single group 0."""
    n = sizes.sum()
    residuals = sums - sums.sum() / n * sizes
    return float((residuals**2).sum()) / float(n) ** 2 * len(sizes) / max(1, len(sizes) - 1)


def _sign_test(successes: int, trials: int, alternative: str) -> float:
    from scipy.stats import binomtest

    return float(binomtest(successes, trials, alternative=alternative).pvalue) if trials else 1.0
