"""The rows of a comparison. Test rows are set aside before anything else is done.

Of the other rows, seed s holds out fold s of 5; a part of the remaining four is used for validation (epochs, L2
strength). So seeds differ in rows and in the initial weights, and every combination is evaluated on the same folds.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.data.split import FOLDS, carve, folds, split, split_of
from kerastl.errors import DataError


def set_aside(examples: Examples) -> Examples:
    """The same rows with test rows set aside: those of the source's own split, or a tenth by content hash. Raises
    DataError for too few rows."""
    try:
        aside = split(examples, "auto" if any(examples.source_split) else "holdout")
    except DataError as error:
        raise DataError(error.got, error.expected, "add data: a comparison sets test rows aside") from error
    return replace(aside, min_per_class=0)  # otherwise one row that cannot be decoded could remove a class


def without_test(examples: Examples) -> Examples:
    """The rows that are not test rows, dealt into 5 folds. Raises DataError for fewer than 5 groups of them."""
    rest = examples.take(np.flatnonzero(split_of(examples).part != TEST))
    if (groups := len(set(rest.clusters))) < FOLDS:
        raise DataError(f"{examples.source} has {groups} groups of rows besides the test rows", f"{FOLDS} or more",
                        "add data")
    return replace(rest, split=Split("cv", "each row is held out for one seed in five", folds(rest, FOLDS)))


def hold_out(rest: Examples, seed: int) -> Examples:
    """The same rows; fold `seed` of 5 is held out, and a part of the others is for validation. Beyond 5 seeds, rows are
    dealt into other folds."""
    deal, fold = divmod(seed, FOLDS)
    dealt = replace(rest, groups=tuple(f"{deal} {group}" for group in rest.groups),
                    near_duplicates=tuple(f"{deal} {cluster}" for cluster in rest.clusters)) if deal else rest
    part = folds(dealt, FOLDS)
    return replace(rest, split=Split("holdout", f"fold {fold + 1} of {FOLDS} is held out", _parts(rest, part == fold)))


def for_final_training(examples: Examples) -> Examples:
    """Examples as `set_aside` returns them, with a part of the rows that are not test rows used for validation."""
    aside = split_of(examples)
    return replace(examples, split=replace(aside, part=_parts(examples, aside.part == TEST)))


def _parts(examples: Examples, held_out: NDArray[np.bool_]) -> NDArray[np.int8]:
    others = np.flatnonzero(~held_out)
    parts = np.where(held_out, TEST, TRAIN).astype(np.int8)
    parts[others[carve(examples, others)]] = VALIDATION
    return parts
