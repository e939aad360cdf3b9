"""For the `prototype` head: class means, computed in one pass over the rows.

Features are divided by a scale first (see `scaling.scale_of`): on held-out stamps that gave less log loss than raw rows
or rows of norm 1, in each of 5 draws. Logits are divided by a temperature.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead
from kerastl.training.fitters import Fitter, RowsFit
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.scaling import blocks_of

NEVER = -1e3  # the logit of a class without a row
TEMPERATURES = np.logspace(-1, 6, 71)  # 1 is about right for features that vary independently, which they do not
TIE = 1e-3  # nats
Array = NDArray[np.float64]
Choice = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows to compute means of, rows to choose on


def fit_rows(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], validation: NDArray[np.intp] | None,
             options: TrainingOptions, *, epochs: int | None = None) -> RowsFit:
    """See `Fitter`. With several labels per row, a label is predicted by which mean is nearer: that of the rows that
    have it, or that of the rows that do not."""
    if validation is None:
        choices = [(rows[~mask], rows[mask]) for mask in inner_folds(features.examples, rows)]
    else:
        choices = [(rows, validation)]
    temperature = _temperature(features, choices)
    kernel, bias = _layer(features, rows)
    model = head.build(features.shape, len(features.examples.classes))
    model.set_weights([(kernel / temperature).astype(np.float32), _cooled(bias, temperature).astype(np.float32)])
    return RowsFit(model, {"solver": "class means", "temperature": temperature})


def _temperature(features: Features, choices: Sequence[Choice]) -> float:
    """The highest temperature whose log loss on the rows to choose on is within TIE of the least: where classes lie far
    apart the loss hardly changes, and logits should not be large for nothing."""
    logits, truth = [], []
    for training, choosing in choices:
        kernel, bias = _layer(features, training)
        for block in blocks_of(choosing):
            logits.append(features.rows(block) @ kernel + bias)
            truth.append(features.examples.one_hot(block))
    z, y = np.concatenate(logits), np.concatenate(truth).astype(np.float64)
    losses = np.array([features.examples.task.log_loss(_cooled(z, t), y).mean() for t in TEMPERATURES])
    return float(TEMPERATURES[losses <= losses.min() + TIE].max())


def _layer(features: Features, rows: NDArray[np.intp]) -> tuple[Array, Array]:
    """Kernel [dim, outputs] and bias [outputs] at temperature 1. The bias of a class without a row is -inf."""
    examples, dim = features.examples, features.dim
    classes = len(examples.classes)
    counts, total, squares, of_class = np.zeros((classes, 1)), np.zeros(dim), np.zeros(dim), np.zeros((classes, dim))
    for block in blocks_of(rows):
        x, y = features.rows(block).astype(np.float64), examples.one_hot(block).astype(np.float64)
        total, squares = total + x.sum(axis=0), squares + (x**2).sum(axis=0)
        counts, of_class = counts + y.sum(axis=0)[:, None], of_class + y.T @ x
    n, mean = len(rows), total / len(rows)
    variance = (squares / n - mean**2).clip(0)
    scale = variance + (variance.mean() or 1.0)  # squared
    with_label = of_class / counts.clip(1) - mean
    kernel, bias = 2 * with_label / scale, -(with_label**2 / scale).sum(axis=1)
    if not examples.task.exclusive:
        without = (total - of_class) / (n - counts).clip(1) - mean
        kernel, bias = kernel - 2 * without / scale, bias + (without**2 / scale).sum(axis=1)
    present = counts > 0
    return np.where(present, kernel, 0.0).T, np.where(present[:, 0], bias - kernel @ mean, -np.inf)


def _cooled(logits: Array, temperature: float) -> Array:
    return np.where(np.isneginf(logits), NEVER, logits / temperature)


FITTER = Fitter(fit_rows, minimises_loss=False)
