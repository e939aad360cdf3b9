"""Rows that training holds out inside the training rows."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.data.split import folds
from kerastl.features.compute import Features


def inner_folds(examples: Examples, rows: NDArray[np.intp], k: int | None = None) -> list[NDArray[np.bool_]]:
    """Masks over training rows that are each held out in turn, to choose a setting on. k: how many; default: 5, of more
    than 2,000 rows 3."""
    fold_of = folds(examples, k or (5 if len(rows) <= 2000 else 3), rows)
    return [fold_of == fold for fold in sorted(set(fold_of.tolist()))]


def trained_and_validated(features: Features, train: NDArray[np.intp], validation: NDArray[np.intp], mode: str,
                          reason: str) -> Features:
    """These training and validation rows, and no others. `fit` also needs held-out rows: they are the validation rows
    again. mode, reason: of the split."""
    rows = np.concatenate([train, validation, validation])
    parts = np.repeat([TRAIN, VALIDATION, TEST], [len(train), len(validation), len(validation)]).astype(np.int8)
    keys = features.keys or features.examples.ids
    return replace(features, examples=replace(features.examples.take(rows), split=Split(mode, reason, parts)),
                   keys=[keys[row] for row in rows])
