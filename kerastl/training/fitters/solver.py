"""The convex problem of a linear head, solved: L-BFGS on the regularised log loss, the L2 strength chosen on held-out
rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.decision import numpy_backend
from kerastl.tasks import Task
from kerastl.training.scaling import scale_of

Array = NDArray[np.float32]

SMALL = 200_000_000  # multiplications in one pass over the rows

# Strength of the penalty on scaled features, per row of loss; from strong to weak, each starting at the last solution.
STRENGTHS = tuple(float(x) for x in np.logspace(0.5, -4, 10))


@dataclass(frozen=True)
class Linear:
    """A solution. kernel: [dim, outputs], bias: [outputs], for features as they are (the scaling is folded in)."""

    kernel: Array
    bias: Array
    l2: float
    path: tuple[tuple[float, float], ...]  # each strength tried, and its log loss on the rows that chose it


def solve(x: Array, y: Array, weight: Array, held_out: Sequence[NDArray[np.bool_]], *, task: Task,
          validation: tuple[Array, Array] | None = None, parts: Sequence[int] = ()) -> Linear:
    """Fit a linear head. x: [n, dim], y: [n, outputs] in [0, 1], weight: [n].

    The strength is the one with the least log loss: on `validation` where given, else over `held_out`, masks [n] that
    are each held out in turn. The returned head is fitted on all n rows. parts: as `scale_of` takes them.
    """
    # NumPy and SciPy bring a BLAS each, whose idle threads spin: on small problems that costs far more than it gains.
    with threadpool_limits(1 if x.size * y.shape[1] < SMALL else None, "blas"):
        return _solve(x, y, weight, held_out, task, validation, parts)


def _solve(x: Array, y: Array, weight: Array, held_out: Sequence[NDArray[np.bool_]], task: Task,
           validation: tuple[Array, Array] | None, parts: Sequence[int]) -> Linear:
    mean, scale = x.mean(axis=0), scale_of(x.var(axis=0), parts)
    z = (x - mean) / scale
    rotation = _rotation(z)
    z = z @ rotation if rotation is not None else z
    problems: list[tuple[Callable[[float, Array], Array], Array, Array]] = []
    if validation is not None:
        other = (validation[0] - mean) / scale
        problems.append((_solver(z, y, weight, task), other @ rotation if rotation is not None else other,
                         validation[1]))
    else:
        for mask in held_out:
            problems.append((_solver(z[~mask], y[~mask], weight[~mask], task), z[mask], y[mask]))
    path, solutions = [], [np.zeros((z.shape[1] + 1, y.shape[1]), np.float32) for _ in problems]
    for strength in STRENGTHS:
        solutions = [solver(strength, start) for (solver, _, _), start in zip(problems, solutions, strict=True)]
        losses = [_mean_loss(_logits(other, w), truth, task) * len(truth)
                  for (_, other, truth), w in zip(problems, solutions, strict=True)]
        path.append((strength, sum(losses) / sum(len(truth) for _, _, truth in problems)))
        if len(path) > 2 and path[-1][1] > path[-2][1] > path[-3][1]:
            break  # past the minimum: weaker strengths only overfit more
    best = min(path, key=lambda point: point[1])[0]
    solver = problems[0][0] if validation is not None else _solver(z, y, weight, task)
    w = np.zeros((z.shape[1] + 1, y.shape[1]), np.float32)
    for strength in (s for s in STRENGTHS if s >= best):
        w = solver(strength, w)
    kernel = rotation @ w[:-1] if rotation is not None else w[:-1]
    kernel = kernel / scale[:, None]
    return Linear(kernel.astype(np.float32), (w[-1] - mean @ kernel).astype(np.float32), best, tuple(path))


def _mean_loss(logits: Array, y: Array, task: Task) -> float:
    return float(task.log_loss(logits.astype(np.float64), y).mean())


def _logits(x: Array, w: Array) -> Array:
    return x @ w[:-1] + w[-1]


def _rotation(z: Array) -> Array | None:
    """With fewer rows than features: an orthonormal basis [dim, rank] of the rows' span. The regularised solution lies
    in it, so solving there is exact and cheaper. None where it would not be cheaper."""
    n, dim = z.shape
    if n >= dim:
        return None
    _, singular, basis = np.linalg.svd(z, full_matrices=False)
    return np.ascontiguousarray(basis[singular > singular[0] * 1e-6].T)


def _solver(x: Array, y: Array, weight: Array, task: Task) -> Callable[[float, Array], Array]:
    """A function from strength and start to the solution, [dim + 1, outputs], the bias last."""
    total, backend = float(weight.sum()), numpy_backend()

    def solution(strength: float, start: Array) -> Array:
        shape = start.shape

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            w = flat.reshape(shape).astype(np.float32)
            logits = _logits(x, w)
            error = (task.activation(logits, backend) - y) * (weight[:, None] / total)
            loss = float(weight @ task.log_loss(logits, y)) / total
            gradient = np.vstack([x.T @ error + strength * w[:-1], error.sum(axis=0)])
            return loss + strength / 2 * float((w[:-1] ** 2).sum()), gradient.astype(np.float64).ravel()

        result = scipy.optimize.minimize(objective, start.ravel().astype(np.float64), jac=True, method="L-BFGS-B",
                                         options={"maxiter": 300, "gtol": 1e-4, "ftol": 1e-8, "maxcor": 20})
        return result.x.reshape(shape).astype(np.float32)

    return solution
