"""Which rows training may use."""

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, Split
from kerastl.data.split import folds
from kerastl.errors import DataError


def split_of(examples: Examples) -> Split:
    """The split of examples. Raises DataError where they have none."""
    if examples.split is None:
        raise DataError(f"the examples of {examples.source} are not split", "rows to train on and rows to evaluate on",
                        "examples = kerastl.split(examples)")
    return examples.split


def inner_folds(examples: Examples, rows: NDArray[np.intp]) -> list[NDArray[np.bool_]]:
    """Masks over training rows that are each held out in turn, to choose a setting on: 5, of more than 2,000 rows 3."""
    fold_of = folds(examples, 5 if len(rows) <= 2000 else 3, rows)
    return [fold_of == fold for fold in sorted(set(fold_of.tolist()))]
