"""Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
PRIOR = 0.5  # standard deviation of the temperature's logarithm before any row was seen


def fit_temperature(logits: NDArray[Any], truth: NDArray[Any],
                    log_loss: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]) -> float:
    """The number in [0.05, 20] that logits are divided by for the least log loss. logits, truth: [n, classes].

    A few rows that are all predicted correctly would ask for certainty, so the number's logarithm has a normal prior of
    mean 0; hundreds of rows outweigh it. The loss is computed from logits: clipped probabilities would hide the most
    confident mistakes.
    """
    from scipy.optimize import minimize_scalar

    z = logits.astype(np.float64)

    def loss(log_t: float) -> float:
        prior = (log_t / PRIOR) ** 2 / (2 * max(1, len(z)))
        return float(log_loss(z / np.exp(log_t), truth).mean()) + prior

    result = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(result.x))
