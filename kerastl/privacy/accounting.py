"""How much Gaussian noise a privacy budget needs: the analytic Gaussian mechanism.

Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal
Denoising", https://arxiv.org/abs/1805.06530, theorem 8. Several releases together are as private as one of strength
`sqrt(sum of squares)`: Dong, Roth and Su 2019, "Gaussian Differential Privacy", https://arxiv.org/abs/1905.02383,
corollary 3.3. The strength of a release is its L2 sensitivity over the standard deviation of its noise.
"""

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

SMALLEST, TINIEST = 1e-3, 1e-300  # epsilon and delta of a budget: below, `delta_of` loses its digits


def delta_of(epsilon: float, strength: float) -> float:
    """The delta that Gaussian noise gives at an epsilon, in [0, 1]. epsilon: 0 or above. strength: above 0."""
    first = ndtr(strength / 2 - epsilon / strength)
    second = math.exp(min(0.0, epsilon + float(log_ndtr(-strength / 2 - epsilon / strength))))
    return max(0.0, float(first) - second)


def strength_of(epsilon: float, delta: float) -> float:
    """The largest strength that is (epsilon, delta)-private. epsilon: SMALLEST or above, delta: TINIEST or above
    and below 1. It is rounded down, so that the budget is never exceeded."""
    low, high = 1.0, 1.0
    while delta_of(epsilon, low) > delta:
        low /= 2
    while delta_of(epsilon, high) < delta:
        high *= 2
    found = brentq(lambda power: delta_of(epsilon, math.exp(power)) - delta, math.log(low), math.log(high), xtol=1e-12)
    return math.exp(float(found)) * (1 - 1e-9)


def shares(strength: float, weights: dict[str, float]) -> dict[str, float]:
    """The strength of each of several releases that have `strength` together. weights: how the square of it is
    divided; they sum to 1."""
    return {name: strength * math.sqrt(weight) for name, weight in weights.items()}


def advantage_bound(epsilon: float, delta: float) -> float:
    """The largest advantage (true minus false positive rate) of any attack that tells whether a group was used in
    training: (e^epsilon - 1 + 2 delta) / (e^epsilon + 1); without delta it is tanh(epsilon / 2). Kairouz, Oh and
    Viswanath 2015, "The Composition Theorem for Differential Privacy", https://arxiv.org/abs/1311.0776, theorem 2.1."""
    return min(1.0, math.tanh(epsilon / 2) + 2 * delta / (1 + math.exp(min(epsilon, 700.0))))
