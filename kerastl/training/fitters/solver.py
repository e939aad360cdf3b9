"""The convex problem of a linear head, solved: L-BFGS on the regularised log loss, the L2 strength chosen on held-out
rows.

All held-out folds, and the head of all rows, are solved together along one path of strengths, on the principal axes of
the rows. One factorisation serves them all, one matrix product computes the logits of all, and with the curvature along
each axis known, tens of steps reach the optimum.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.tasks import Task
from kerastl.training.fitters.axes import Axes, principal_axes
from kerastl.training.scaling import scale_of

Array = NDArray[np.float32]

SMALL = 200_000_000  # multiplications in one pass over the rows

# Strength of the penalty on scaled features, per row of loss; from strong to weak, each starting where the last two
# solutions point to.
STRENGTHS = tuple(float(x) for x in np.logspace(0.5, -4, 10))
PROBLEMS = 6  # at most: five inner folds, and all rows
COLUMNS = 256  # outputs of problems that are solved together
STEPS, MEMORY = 300, 10  # of L-BFGS
ROUGH, FINE = 1e-7, 1e-9  # the relative decrease of the loss at which it stops: to choose a strength, and to ship
FLATTEST = 1e-4  # the least curvature of the loss that steps are scaled by


@dataclass(frozen=True)
class Linear:
    """A solution. kernel: [dim, outputs], bias: [outputs], for features as they are (the scaling is folded in).
    held_out: the logits of the rows that chose the strength, each by the solution that has not seen it: of the
    validation rows, or of the n rows themselves, NaN where a row was never held out."""

    kernel: Array
    bias: Array
    l2: float
    path: tuple[tuple[float, float], ...]  # each strength tried, and its log loss on the rows that chose it
    held_out: Array


def solve(x: Array, y: Array, weight: Array, held_out: Sequence[NDArray[np.bool_]], *, task: Task,
          validation: tuple[Array, Array] | None = None, parts: Sequence[int] = ()) -> Linear:
    """Fit a linear head. x: [n, dim], y: [n, outputs] in [0, 1], weight: [n].

    The strength is the one with the least log loss: on `validation` where given, else over `held_out`, masks [n] that
    are each held out in turn. The returned head is fitted on all n rows. parts: as `scale_of` takes them.
    """
    # NumPy and SciPy bring a BLAS each, whose idle threads spin: on small problems that costs far more than it gains.
    with threadpool_limits(1 if x.size * y.shape[1] < SMALL else None, "blas"):
        return _solve(x, y, weight, held_out, task, validation, parts)


def memory_of(n: int, dim: int, outputs: int) -> int:
    """Bytes that `solve` takes for n rows at most: the rows as they are and scaled; the square matrix, its axes, and
    what LAPACK works in; the solutions along the path; and for the problems that are solved together the vectors of
    L-BFGS, in float64, and logits."""
    rank, columns = min(n, dim), max(outputs, min(COLUMNS, PROBLEMS * outputs))
    return (4 * (2 * n * dim + 4 * rank**2 + (4 * PROBLEMS + len(STRENGTHS)) * outputs * rank)
            + columns * (8 * (2 * MEMORY + 16) * rank + 4 * 8 * n))


def _solve(x: Array, y: Array, weight: Array, held_out: Sequence[NDArray[np.bool_]], task: Task,
           validation: tuple[Array, Array] | None, parts: Sequence[int]) -> Linear:
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    z = x - mean
    scale = scale_of(np.einsum("nd,nd->d", z, z, dtype=np.float64) / len(z), parts)
    z /= scale
    axes = principal_axes(z)
    if validation is None:
        masks, other = list(held_out), None
    else:
        masks, other = [], ((validation[0] - mean) / scale, validation[1])
    shares = np.stack([*(weight * ~mask for mask in masks), weight], axis=1).astype(np.float64)
    shares /= shares.sum(axis=0)
    path, of_all_rows = [], []  # the strengths with their losses; the solutions for all rows, [axes + 1, outputs]
    unseen = np.zeros((0, y.shape[1]), np.float32)  # logits of the rows that choose
    for strength, solutions in _along_the_path(axes, y, shares, task):
        of_all_rows.append(solutions[:, -1])
        logits = (_logits(axes, of_all_rows[-1], other[0]) if other else
                  logits_of_masked(lambda w: axes.logits(w[:-1]) + w[-1], solutions.swapaxes(0, 1), masks))
        path.append((strength, mean_loss(logits, other[1] if other else y, task)))
        if path[-1][1] <= min(loss for _, loss in path):
            unseen = logits
        if len(path) > 2 and path[-1][1] > path[-2][1] > path[-3][1]:
            break  # past the minimum: weaker strengths only overfit more
    chosen = int(np.argmin([loss for _, loss in path]))
    w = _minimum(axes, y, shares[:, -1:], path[chosen][0], of_all_rows[chosen][:, None], task, FINE)[:, 0]
    kernel = axes.kernel(w[:-1]) / scale[:, None]
    return Linear(kernel.astype(np.float32), (w[-1] - mean @ kernel).astype(np.float32), path[chosen][0], tuple(path),
                  unseen)


def _along_the_path(axes: Axes, y: Array, shares: NDArray[np.float64], task: Task) -> Iterator[tuple[float, Array]]:
    """Each strength with the solutions of all problems, [axes + 1, problems, outputs], see `_minimum`."""
    problems, size = shares.shape[1], max(1, COLUMNS // y.shape[1])
    groups = [slice(i, i + size) for i in range(0, problems, size)]
    start = before = np.zeros((len(axes.variance) + 1, problems, y.shape[1]), np.float32)
    for place, strength in enumerate(STRENGTHS):
        solutions = np.concatenate([_minimum(axes, y, shares[:, group], strength, start[:, group], task, ROUGH)
                                    for group in groups], axis=1)
        yield strength, solutions
        # Strengths are evenly spaced on a logarithmic scale, along which solutions move smoothly.
        start, before = 2 * solutions - before if place else solutions, solutions


def logits_of_masked(logits: Callable[[Any], Array], solutions: Iterable[Any], masks: Sequence[NDArray[np.bool_]]
                     ) -> Array:
    """The logits of each row by the problem that has not seen it, [n, outputs]; NaN for rows that are in no mask.
    solutions: one for each mask; more are ignored."""
    of_each = [logits(solution) for _, solution in zip(masks, solutions, strict=False)]  # the last has seen all rows
    of_rows = np.full_like(of_each[0], np.nan)
    for mask, own in zip(masks, of_each, strict=True):
        of_rows[mask] = own[mask]
    return of_rows


def _logits(axes: Axes, w: Array, other: Array) -> Array:
    """Logits of rows that are not those of the axes, [m, dim] -> [m, outputs]."""
    return other @ axes.kernel(w[:-1]) + w[-1]


def mean_loss(logits: Array, y: Array, task: Task) -> float:
    """Over the rows that have logits."""
    known = ~np.isnan(logits[:, 0])
    return float(task.log_loss(logits[known].astype(np.float64), y[known]).mean())


def _minimum(axes: Axes, y: Array, shares: NDArray[np.float64], strength: float, start: Array, task: Task,
             tolerance: float) -> Array:
    """Solutions of problems that differ in the shares of the rows in the loss, [n, problems]. start, solution: [axes +
    1, problems, outputs], the biases last."""
    n, shape = len(y), start.shape
    columns = shape[1] * shape[2]
    truth, share = y[:, None], shares.astype(np.float32)[:, :, None]

    def loss_and_error(w: Array) -> tuple[Array, Array]:
        logits = axes.logits(w[:-1].reshape(-1, columns)).reshape(n, *shape[1:])
        logits += w[-1]
        return task.loss_and_gradient(logits, truth)

    p = loss_and_error(start)[1] + truth
    curvature = np.einsum("np,npk->pk", shares, p * (1 - p)).clip(FLATTEST)
    variance, penalty = np.append(axes.variance, 1.0), np.append(np.full(shape[0] - 1, strength), 0.0)
    # In this unit of each weight, the second derivative of the objective is near 1.
    unit = (1 / np.sqrt(curvature * variance[:, None, None] + penalty[:, None, None])).astype(np.float32)
    drag = penalty.astype(np.float32)[:, None, None]

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(shape).astype(np.float32) * unit
        loss, error = loss_and_error(w)
        error *= share
        flat_error = error.reshape(n, columns)
        gradient = np.concatenate([axes.gradient(flat_error), flat_error.sum(axis=0)[None]]).reshape(shape)
        pull = drag * w
        gradient = (gradient + pull) * unit
        value = float((shares * loss).sum()) + float((pull * w).sum(dtype=np.float64)) / 2
        return value, gradient.astype(np.float64).ravel()

    result = scipy.optimize.minimize(objective, (start / unit).astype(np.float64).ravel(), jac=True, method="L-BFGS-B",
                                     options={"maxiter": STEPS, "maxcor": MEMORY, "ftol": tolerance, "gtol": 1e-7})
    return result.x.reshape(shape).astype(np.float32) * unit
