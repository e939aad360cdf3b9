"""The targets of the training loss: smoothed labels, and a weight for each row."""

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples

IMBALANCE = 10.0  # the largest class over the smallest, from which `auto` weights classes


def row_weights(examples: Examples, rows: NDArray[np.intp], class_weights: str) -> NDArray[np.float32]:
    """The loss weight of each row, [len(rows)], with mean 1. class_weights: one of CLASS_WEIGHTS."""
    counts = examples.one_hot(rows).sum(axis=0)
    present = counts[counts > 0]
    balanced = class_weights == "balanced" or (class_weights == "auto" and present.max() >= IMBALANCE * present.min())
    if not balanced or not examples.task.exclusive:
        return np.ones(len(rows), np.float32)
    of_class = len(rows) / (len(present) * counts.clip(1))
    return of_class[examples.targets[rows]].astype(np.float32)


def smoothed_targets(examples: Examples, rows: NDArray[np.intp], share: float) -> NDArray[np.float32]:
    """The targets of rows, [len(rows), classes], of which a share is spread evenly over the classes."""
    targets = examples.training_targets(rows)
    return (targets * (1 - share) + share * examples.task.even(targets.shape[1])).astype(np.float32)


def loss_settings(examples: Examples, rows: NDArray[np.intp], class_weights: str, label_smoothing: float
                  ) -> dict[str, float | str | int]:
    """How the loss was weighted and smoothed, for the run record and for fine-tuning, which does the same."""
    balanced = not np.allclose(row_weights(examples, rows, class_weights), 1.0)
    return {"class_weights": "balanced" if balanced else "none", "label_smoothing": label_smoothing}
