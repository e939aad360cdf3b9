"""What `joint` and `best` are made of: `linear` and `plain`, solved on the same rows, and the shares in which their
logits are added. The shares, and the choice among the three, use only logits of rows that no solution has seen."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.data.examples import Examples
from kerastl.features.compute import Features
from kerastl.heads import resolve_head
from kerastl.tasks import Task
from kerastl.training.fitters import Job
from kerastl.training.fitters.convex import LARGE, solve_rows
from kerastl.training.fitters.plain import Plain, PlainRows
from kerastl.training.fitters.solver import Linear
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.targets import row_weights

LINEAR, PLAIN, JOINT = "linear", "plain", "joint"  # from simple to less so
WORKERS = 2  # jobs that are solved side by side; much of it is Python
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Contenders:
    """The three heads of a job. shares: of linear and plain in joint. rows: that chose, [n]; no solution has seen those
    whose logits it gave. losses: of these rows, [n] each, weighted as in training, after scaling by shares that were
    fitted on other rows."""

    features: Features
    linear: Linear
    plain: Plain
    shares: tuple[float, float]
    rows: NDArray[np.intp]
    losses: dict[str, NDArray[np.float64]]

    def logits(self, name: str, rows: NDArray[np.intp], held_out: bool = True) -> Array:
        """Logits by one of the three, of rows that report or, where `held_out` is False, of others."""
        if name == PLAIN:
            return self.plain.logits(rows)
        read = self.features.held_out_rows if held_out else self.features.rows
        linear = read(rows) @ self.linear.kernel + self.linear.bias
        if name == LINEAR:
            return linear
        return np.asarray(self.shares[0] * linear + self.shares[1] * self.plain.logits(rows), np.float32)

    def model(self, name: str) -> Any:
        """The keras.Model of one of the three."""
        head, features = resolve_head(name, self.features.parts), self.features
        model = head.build(features.shape, len(features.examples.classes),
                           features.raw if head.spec.takes_raw else None)
        own, other = self.shares if name == JOINT else (1.0, 1.0)
        if name != PLAIN:
            layer = model.get_layer("logits" if name == LINEAR else "linear")
            layer.set_weights([own * self.linear.kernel, own * self.linear.bias])
        if name != LINEAR:
            kernel, bias, *fixed = self.plain.weights
            model.get_layer("plain").set_weights([other * kernel, other * bias, *fixed])
        return model

    def settings(self, name: str) -> dict[str, float | str | int]:
        """What was chosen, for the run record."""
        own = {LINEAR: {"l2": self.linear.l2}, PLAIN: {"l2": self.plain.l2, "fitted_on": len(self.plain.rows)},
               JOINT: {"l2": self.linear.l2, "l2_plain": self.plain.l2, "fitted_on": len(self.plain.rows),
                       "share_linear": self.shares[0], "share_plain": self.shares[1]}}
        return {"solver": "L-BFGS", **own[name]}

    def curve(self, name: str) -> tuple[dict[str, float], ...]:
        """The L2 strengths that were tried, and their log loss; of joint those of linear."""
        path = self.plain.path if name == PLAIN else self.linear.path
        return tuple({"l2": l2, "log_loss": loss} for l2, loss in path)


def contenders(features: Features, plain_rows: PlainRows, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
               options: TrainingOptions) -> Contenders:
    """Solve linear and plain on rows, and the shares of joint."""
    linear, plain = solve_rows(features, rows, validation, options), plain_rows.solve(rows, validation, options)
    unseen, of_linear = (plain.rows, linear.held_out[np.searchsorted(rows, plain.rows)]) if validation is None else \
        (validation, linear.held_out)
    return Contenders(features, linear, plain, *_shares_and_losses(features.examples, unseen, of_linear, plain.held_out,
                                                                   options))


def _shares_and_losses(examples: Examples, rows: NDArray[np.intp], linear: Array, plain: Array, options: TrainingOptions
                       ) -> tuple[tuple[float, float], NDArray[np.intp], dict[str, NDArray[np.float64]]]:
    task, y = examples.task, examples.one_hot(rows).astype(np.float64)
    weight = row_weights(examples, rows, options.class_weights).astype(np.float64)
    z = np.stack([linear, plain]).astype(np.float64)  # [2, n, outputs]
    parts = {LINEAR: z[:1], PLAIN: z[1:], JOINT: z}
    losses = {name: np.zeros(len(rows)) for name in parts}
    for mask in inner_folds(examples, rows):
        others = mask if mask.all() else ~mask  # all rows are of one cluster
        for name, part in parts.items():  # a share of its own for each, so that none is better by its scale alone
            shares = best_shares(part[:, others], y[others], weight[others], task)
            losses[name][mask] = task.log_loss(np.einsum("s,snk->nk", shares, part[:, mask]), y[mask])
    own, other = best_shares(z, y, weight, task)
    return (float(own), float(other)), rows, {name: loss * weight for name, loss in losses.items()}


def best_shares(z: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64], task: Task
                ) -> NDArray[np.float64]:
    """The shares, not below 0, in which logits [m, n, outputs] are added for the least log loss: [m]."""

    def objective(shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, error = task.loss_and_gradient(np.einsum("s,snk->nk", shares, z), y)
        return float(weight @ loss) / len(y), np.einsum("snk,nk,n->s", z, error, weight) / len(y)

    result = scipy.optimize.minimize(objective, np.full(len(z), 1 / len(z)), jac=True, method="L-BFGS-B",
                                     bounds=[(0.0, None)] * len(z))
    return np.asarray(result.x)


def side_by_side(jobs: Sequence[Job], options: TrainingOptions) -> Iterator[Contenders]:
    """The contenders of each job of a cross-validation, in order. Jobs share the plain features."""
    plain_rows = PlainRows(jobs[-1][0])
    solve: Callable[[Job], Contenders] = partial(_of_job, plain_rows=plain_rows, options=options)
    workers = 1 if max(len(features) * features.dim for features, _ in jobs) > LARGE else WORKERS
    with threadpool_limits(1 if workers > 1 else None, "blas"), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(solve, jobs)


def _of_job(job: Job, plain_rows: PlainRows, options: TrainingOptions) -> Contenders:
    return contenders(job[0], plain_rows, job[1], None, options)
