"""Whether one model answers better than another on the same rows, and the simplest that is not told from the best.

Rows are the unit: one that was judged several times counts once, with its mean. What training with other rows would
have changed is not in it (Dietterich 1998, https://doi.org/10.1162/089976698300017197).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from kerastl.evaluation.metrics import Z95

FLIPS = 10_000
LEVEL = 0.05


@dataclass(frozen=True)
class Paired:
    """gain: accuracy of the first less that of the second, on `n` rows. p: how often chance alone would part them as
    far, in [0, 1]; after Holm's correction where several were compared."""

    n: int
    gain: float
    gain_ci95: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Verdict:
    """Places among the contenders. tests: of the best against each; None for itself."""

    best: int
    chosen: int
    tests: tuple[Paired | None, ...]


def paired(one: NDArray[Any], other: NDArray[Any], groups: Sequence[str]) -> Paired:
    """Compare two models on the same rows. one, other: [n], how often each row was answered rightly, in [0, 1].

    The signs of the differences are flipped at random (Fisher's randomisation test, 1935), those of a group together.
    Where all differences are of one size that is done exactly: then it is McNemar's exact test.
    """
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    n, (names, member) = len(difference), np.unique(np.asarray(groups), return_inverse=True)
    units, sizes = np.bincount(member, weights=difference).astype(np.float64), np.bincount(member)
    gain = float(difference.mean())
    spread = float(((units - gain * sizes) ** 2).sum()) * len(names) / max(1, len(names) - 1)
    reach = Z95 * spread**0.5 / n
    return Paired(n, gain, (gain - reach, gain + reach), _p_value(units[np.abs(units) > 1e-12]))


def _p_value(units: NDArray[np.float64]) -> float:
    """Two-sided. units: [m], differences that are not 0."""
    if not len(units):
        return 1.0
    size = np.abs(units)
    if np.allclose(size, size[0]):
        return float(scipy.stats.binomtest(int((units > 0).sum()), len(units)).pvalue)
    generator, seen, block = np.random.default_rng(0), 0, max(1, 10_000_000 // len(units))
    for start in range(0, FLIPS, block):
        signs = generator.integers(0, 2, (min(block, FLIPS - start), len(units)), dtype=np.int8) * 2 - 1
        seen += int((np.abs(signs @ units) >= abs(units.sum()) - 1e-9).sum())
    return (1 + seen) / (1 + FLIPS)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values corrected for their number, in the same order (Holm 1979)."""
    found, least = [0.0] * len(ps), 0.0
    for rank, place in enumerate(np.argsort(ps, kind="stable").tolist()):
        least = max(least, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = least
    return found


def simplest_within_noise(right: Sequence[NDArray[Any]], costs: Sequence[tuple[float, ...]], groups: Sequence[str]
                          ) -> Verdict:
    """The simplest contender that the best is not shown to beat. right: of each, [n] as `paired` takes it. costs: of
    each, compared from the first number on; of equals in accuracy the simplest is the best.

    The best was picked on the same rows, out of all: that is why the p values are corrected for their number.
    """
    best = min(range(len(right)), key=lambda i: (-round(float(right[i].mean()), 12), costs[i]))
    others = [i for i in range(len(right)) if i != best]
    found = [paired(right[best], right[i], groups) for i in others]
    corrected = holm([one.p for one in found])
    tests: list[Paired | None] = [None] * len(right)
    for i, one, p in zip(others, found, corrected, strict=True):
        tests[i] = Paired(one.n, one.gain, one.gain_ci95, p)
    within = [i for i, one in enumerate(tests) if one is None or one.p >= LEVEL]
    return Verdict(best, min(within, key=lambda i: costs[i]), tuple(tests))
