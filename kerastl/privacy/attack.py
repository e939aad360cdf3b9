"""Membership inference: can a head's answers tell whether a group was among its training groups?

Two attacks, each a number per group: the loss (Yeom and others 2018, "Privacy Risk in Machine Learning",
https://arxiv.org/abs/1709.01604), and the likelihood ratio with shadow heads (Carlini and others 2022, "Membership
Inference Attacks From First Principles", https://arxiv.org/abs/2112.03570). Thresholds come from shadow heads alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm

from kerastl.privacy.rows import Array, Rows

LOSS, RATIO = "loss threshold", "likelihood ratio"
LEAST = 1e-3  # standard deviation of a confidence
Fit = Callable[[Rows], Callable[[Array], Array]]  # training rows -> (features -> logits)


@dataclass(frozen=True)
class Shadows:
    """Heads that were fitted on random halves of the groups. member: [heads, groups]; confidence: [heads, groups]."""

    member: NDArray[np.bool_]
    confidence: Array


@dataclass(frozen=True)
class Guess:
    """Whether each group is guessed to be a member, [groups], by each attack."""

    loss: NDArray[np.bool_]
    ratio: NDArray[np.bool_]


def confidences(logits: Array, rows: Rows) -> Array:
    """The log odds of the given class, the mean over the rows of each group, [groups] in the order of their names."""
    place = np.arange(len(logits))
    others = logits.astype(np.float64).copy()
    others[place, rows.y] = -np.inf
    odds = logits[place, rows.y] - logsumexp(others, axis=1)
    _, number = np.unique(np.asarray(rows.groups), return_inverse=True)
    return np.asarray(np.bincount(number, weights=odds) / np.bincount(number))


def shadow_heads(rows: Rows, fit: Fit, n: int, seed: int = 0) -> Shadows:
    """n heads, each fitted on half of the groups: every group is in half of the heads, drawn at random. n: even."""
    names, number = np.unique(np.asarray(rows.groups), return_inverse=True)
    drawn = np.random.default_rng(seed).random((n, len(names)))
    member = np.asarray(np.argsort(np.argsort(drawn, axis=0), axis=0) < n // 2)
    scores = []
    for among in member:
        chosen = np.flatnonzero(among[number])
        head = fit(Rows(rows.x[chosen], rows.y[chosen], [rows.groups[row] for row in chosen.tolist()]))
        scores.append(confidences(head(rows.x), rows))
    return Shadows(member, np.stack(scores))


def guesses(shadows: Shadows, confidence: Array) -> Guess:
    """What the attacks guess about a head, from its confidence in each group, [groups]."""
    return Guess(confidence > _threshold(shadows), _log_ratio(shadows, confidence) > 0)


def advantage(guess: NDArray[np.bool_], member: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """True minus false positive rate, and its 95% confidence interval (normal approximation, Agresti and Caffo 2000:
    one success and one failure are added to each rate)."""
    rates, variance = [], 0.0
    for among in (member, ~member):
        n, hits = int(among.sum()), int(guess[among].sum())
        p = (hits + 1) / (n + 2)
        rates.append((hits / max(n, 1), p))
        variance += p * (1 - p) / (n + 2)
    middle, half = rates[0][1] - rates[1][1], 1.959964 * float(np.sqrt(variance))
    return rates[0][0] - rates[1][0], (max(-1.0, middle - half), min(1.0, middle + half))


def _threshold(shadows: Shadows) -> float:
    """The confidence that tells members best in all shadow heads together."""
    scores, member = shadows.confidence.ravel(), shadows.member.ravel()
    order = np.argsort(-scores)
    gained = np.cumsum(np.where(member[order], 1 / member.sum(), -1 / (~member).sum()))
    return float(scores[order][int(gained.argmax())]) - 1e-12


def _log_ratio(shadows: Shadows, confidence: Array) -> Array:
    """log p(confidence | member) - log p(confidence | not), by normal distributions of each group's confidence, whose
    standard deviations all groups share, as the paper does with few shadow heads."""
    likelihoods = []
    for among in (shadows.member, ~shadows.member):
        n = among.sum(axis=0)
        mean = (shadows.confidence * among).sum(axis=0) / np.maximum(n, 1)
        spread = ((shadows.confidence - mean) ** 2 * among).sum() / max(int(among.sum() - shadows.member.shape[1]), 1)
        likelihoods.append(norm.logpdf(confidence, mean, max(float(np.sqrt(spread)), LEAST)))
    return np.asarray(likelihoods[0] - likelihoods[1])
