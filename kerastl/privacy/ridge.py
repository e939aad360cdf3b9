"""A linear head under differential privacy: one-shot ridge regression from noised sufficient statistics.

AdaSSP: Wang 2018, "Revisiting Differentially Private Linear Regression", https://arxiv.org/abs/1803.02596. Under
privacy, least squares are better than logistic regression on the features of a frozen network: Mehta and others 2023,
"Differentially Private Image Classification from Features", https://arxiv.org/abs/2211.13403.

Each row has norm 1 and each group weight 1, so that one group changes each statistic by at most 1 in L2 norm.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from kerastl.privacy.accounting import shares
from kerastl.privacy.head import PrivateHead, centred
from kerastl.privacy.noise import SYSTEM, Entropy, gaussian, symmetric
from kerastl.privacy.record import Payment
from kerastl.privacy.rows import Array, Rows, dimensions_for, projection, unit

NAME = "linear"
WEIGHTS = {"count": 0.02, "mean": 0.10, "smallest": 0.03, "gram": 0.25, "cross": 0.60}  # of the squared strength
WORDS = {"count": "number of training groups", "mean": "mean of the features", "smallest": "smallest eigenvalue of X'X",
         "gram": "X'X", "cross": "X'Y"}
CONSTANT = 0.3  # of each row's norm 1, the part that the constant feature has; the intercept hangs on it
SCALE = 6.0  # logits are scores times this. It is fixed: choosing a temperature would read the data


@dataclass(frozen=True)
class Statistics:
    """The sums that are released after noise was added. gram: [k + 1, k + 1], cross: [k + 1, classes]."""

    gram: Array
    cross: Array


def statistics(rows: Rows, x: Array, classes: int) -> Statistics:
    """X'X and X'Y of rows of norm 1, x: [n, k], each weighted so that a group has weight 1. A row of Y is its class
    minus 1 over the number of classes, scaled to norm 1."""
    weighted = with_constant(x) * np.sqrt(rows.weights)[:, None]
    y = (np.eye(classes)[rows.y] - 1 / classes) / np.sqrt(1 - 1 / classes)
    return Statistics(weighted.T @ weighted, weighted.T @ (y * np.sqrt(rows.weights)[:, None]))


def with_constant(x: Array) -> Array:
    """Rows of norm 1 with a constant feature at the end, again of norm 1: [n, k] -> [n, k + 1]."""
    return np.hstack([x * np.sqrt(1 - CONSTANT**2), np.full((len(x), 1), CONSTANT)])


def fit(rows: Rows, classes: int, strength: float, entropy: Entropy = SYSTEM) -> PrivateHead:
    """The head from training rows. strength: of all releases together, see `accounting`."""
    parts = shares(strength, WEIGHTS)
    noise = {name: 1 / part for name, part in parts.items()}
    groups = rows.n_groups + float(gaussian((), noise["count"], entropy))
    public = projection(rows.x.shape[1], dimensions_for(groups, strength))
    k = public.shape[1]
    first = unit(rows.x @ public)
    centre = (first * rows.weights[:, None]).sum(axis=0) + gaussian((k,), noise["mean"], entropy)
    centre = centre / max(groups, 1.0)
    centre = centre / max(1.0, float(np.linalg.norm(centre)))  # a mean of unit rows is not longer than 1
    exact = statistics(rows, centred(rows.x, public, centre), classes)
    gram = exact.gram + symmetric(k + 1, noise["gram"], entropy)
    cross = exact.cross + gaussian((k + 1, classes), noise["cross"], entropy)
    smallest = float(eigh(exact.gram, eigvals_only=True, subset_by_index=[0, 0])[0])
    smallest = max(0.0, smallest + float(gaussian((), noise["smallest"], entropy)))
    weights = SCALE * solved(gram, cross, smallest, noise["gram"])
    kernel, bias = weights[:-1] * np.sqrt(1 - CONSTANT**2), weights[-1] * CONSTANT
    return PrivateHead(NAME, groups, public, centre, kernel, bias, tuple(
        Payment(WORDS[name], "training", parts[name], noise[name]) for name in WEIGHTS))


def solved(gram: Array, cross: Array, smallest: float, noise: float) -> Array:
    """Ridge regression from noised statistics. The penalty is the size of the noise in `gram`, the square root of its
    rows times its standard deviation, less the noised smallest eigenvalue, which needs no help."""
    values, vectors = np.linalg.eigh(gram)
    penalty = max(0.0, np.sqrt(len(gram)) * noise - smallest)
    return np.asarray(vectors @ ((vectors.T @ cross) / (np.maximum(values, smallest) + penalty + 1e-6)[:, None]))
