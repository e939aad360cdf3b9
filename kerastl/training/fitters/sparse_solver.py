"""A linear head on sparse rows, such as TF-IDF: L-BFGS on the regularised log loss, along a path of L2 strengths. Rows
are not centred, which would fill them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from kerastl.tasks import Task

Array = NDArray[np.float32]

STRENGTHS = (2.0, 0.4, 0.08, 0.016)  # of the penalty, over the number of rows: 1 / C of scikit-learn
STEPS, MEMORY, TOLERANCE = 200, 10, 1e-5  # of L-BFGS: the relative decrease of the loss at which it stops
FLATTEST = 1e-3  # the least curvature that steps are scaled by, over the largest


def path_of(x: Any, y: Array, weight: Array, task: Task) -> Iterator[tuple[float, Array, Array]]:
    """The solutions from strong to weak, each starting from the one before: strength, kernel [dim, outputs] and bias
    [outputs]. x: a SciPy sparse matrix [n, dim] with rows of norm 1, y: [n, outputs] in [0, 1], weight: [n].

    Of two exclusive classes the logits are opposite, so that one column is solved."""
    used = np.flatnonzero(np.diff(x.tocsc().indptr))
    problem = _Problem(x[:, used].tocsr(), y, weight / weight.sum(), task)
    w = np.zeros((len(used) + 1, len(problem.spread)), np.float32)
    for strength in STRENGTHS:
        w = problem.minimum(strength / len(y), w)
        kernel = np.zeros((x.shape[1], y.shape[1]), np.float32)
        kernel[used] = w[:-1] @ problem.spread
        yield strength / len(y), kernel, w[-1] @ problem.spread


class _Problem:
    """x: [n, dim], share: of each row in the loss, [n]. spread: [columns, outputs], makes the outputs of columns."""

    def __init__(self, x: Any, y: Array, share: Array, task: Task) -> None:
        opposite = task.exclusive and y.shape[1] == 2
        self.spread = np.array([[-1, 1]], np.float32) if opposite else np.eye(y.shape[1], dtype=np.float32)
        self._x, self._transposed, self._y, self._task = x, x.T.tocsr(), y, task
        self._share = share.astype(np.float32)[:, None]
        self._moment = np.append(np.asarray(x.multiply(x).mean(axis=0)).ravel(), 1.0)

    def minimum(self, strength: float, start: Array) -> Array:
        """The solution at a strength, [dim + 1, columns], the biases last."""
        scale = float((self.spread**2).sum(axis=1)[0])  # outputs for which a column stands
        penalty = np.append(np.full(len(start) - 1, strength * scale), 0.0).astype(np.float32)[:, None]
        curvature = np.maximum(self._moment * scale / 4, FLATTEST * self._moment[:-1].max(initial=0))[:, None]
        unit = (1 / np.sqrt(curvature + penalty)).astype(np.float32)  # in it, the second derivative is near 1

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w = flat.reshape(start.shape).astype(np.float32) * unit
            loss, error = self._task.loss_and_gradient((self._x @ w[:-1] + w[-1]) @ self.spread, self._y)
            error = (error * self._share) @ self.spread.T
            pull = penalty * w
            gradient = (np.concatenate([self._transposed @ error, error.sum(axis=0)[None]]) + pull) * unit
            value = float((self._share[:, 0] * loss).sum(dtype=np.float64))
            value += float((pull * w).sum(dtype=np.float64)) / 2
            return value, gradient.astype(np.float64).ravel()

        result = scipy.optimize.minimize(objective, (start / unit).astype(np.float64).ravel(), jac=True,
                                         method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": MEMORY,
                                                                     "ftol": TOLERANCE, "gtol": 1e-6})
        return np.asarray(result.x.reshape(start.shape).astype(np.float32) * unit)
