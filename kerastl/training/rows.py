"""Rows that training holds out inside the training rows."""

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.data.split import folds


def inner_folds(examples: Examples, rows: NDArray[np.intp]) -> list[NDArray[np.bool_]]:
    """Masks over training rows that are each held out in turn, to choose a setting on: 5, of more than 2,000 rows 3."""
    fold_of = folds(examples, 5 if len(rows) <= 2000 else 3, rows)
    return [fold_of == fold for fold in sorted(set(fold_of.tolist()))]
