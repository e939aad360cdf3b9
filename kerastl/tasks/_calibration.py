"""What a calibration can fit: a temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599), and a bias for each
class, which corrects the shares of classes that class weights, for example, have shifted.

Each fit is regularised by a normal prior of no change, which hundreds of rows outweigh. The loss is computed from
logits: clipped probabilities would hide the most confident mistakes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.decision import Calibration

Array = NDArray[Any]
LogLoss = Callable[[Array, Array], Array]  # logits, truth -> the loss of each row
LossAndGradient = Callable[[Array, Array], tuple[Array, Array]]

LOWEST, HIGHEST = 0.05, 20.0  # temperature
LARGEST = 10.0  # bias, in either direction
PRIOR = 0.5  # standard deviation of the temperature's logarithm before any row was seen
PRIOR_SHARES = 1.0  # of the strength of the classes' shares
PRIOR_BIAS = 1.0  # of the bias of a class

NONE, TEMPERATURE, SHARES, BIAS = "none", "temperature", "temperature + class shares", "temperature + bias per class"


def none(logits: Array, truth: Array) -> Calibration:
    """No calibration."""
    return Calibration(1.0)


def fit_temperature(logits: Array, truth: Array, log_loss: LogLoss) -> float:
    """The number in [0.05, 20] that logits are divided by for the least log loss. logits, truth: [n, classes].

    A few rows that are all predicted correctly would ask for certainty, so the number's logarithm has a normal prior of
    mean 0.
    """
    from scipy.optimize import minimize_scalar

    z = logits.astype(np.float64)

    def loss(log_t: float) -> float:
        prior = (log_t / PRIOR) ** 2 / (2 * max(1, len(z)))
        return float(log_loss(z / np.exp(log_t), truth).mean()) + prior

    result = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(result.x))


def fit_bias(logits: Array, truth: Array, loss_and_gradient: LossAndGradient, *, shares: bool, each: bool
             ) -> Calibration:
    """A temperature, and a bias for each class, fitted together for the least log loss. logits, truth: [n, classes].

    shares: the bias has a part `strength * log(share of the class)`, centred. Weighting classes by the inverse of their
    shares is undone by a strength of 1 and a temperature of 1, so this fits one number whatever the number of classes.
    each: every class also has a part of its own.
    """
    from scipy.optimize import minimize

    z, truth = logits.astype(np.float64), truth.astype(np.float64)
    n, classes = z.shape
    counts = truth.sum(axis=0) + 0.5  # no class has a share of zero
    prior = np.log(counts / counts.sum())
    # [1 + classes, classes]
    directions = np.concatenate([(prior - prior.mean())[None] * shares, np.eye(classes) * each])
    spread = np.concatenate([[PRIOR, PRIOR_SHARES], np.full(classes, PRIOR_BIAS)])
    free = np.array([True, shares, *[each] * classes])
    if n == 0:
        return Calibration(1.0)

    def loss(x: Array) -> tuple[float, Array]:
        scaled = z / np.exp(x[0])
        losses, gradient = loss_and_gradient(scaled + x[1:] @ directions, truth)
        by_bias = gradient.sum(axis=0)
        by_log_t = -float(np.einsum("nk,nk->", gradient, scaled))
        slope = np.concatenate([[by_log_t], directions @ by_bias]) + x / spread**2
        value = float(losses.sum() + ((x / spread) ** 2).sum() / 2)
        return value / n, slope * free / n

    bounds = [(np.log(LOWEST), np.log(HIGHEST)), (-2.0, 2.0), *[(-LARGEST, LARGEST)] * classes]
    result = minimize(loss, np.zeros(2 + classes), jac=True, method="L-BFGS-B", bounds=bounds)
    bias = result.x[1:] @ directions
    return Calibration(float(np.exp(result.x[0])), bias=tuple(bias.tolist()))
