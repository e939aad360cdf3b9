"""The proof that what is frozen did not move."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import CheckFailed


def prove_frozen(paths: Sequence[str], before: Sequence[NDArray[Any]], after: Sequence[NDArray[Any]],
                 may_move: Sequence[bool]) -> None:
    """Compare weights exactly, but for those that may move; all in one order, `paths` are theirs in the model.

    Raises CheckFailed naming the layers of weights that moved though they are frozen.
    """
    moved = [path for path, old, new, free in zip(paths, before, after, may_move, strict=True)
             if not free and not np.array_equal(old, new)]
    if moved:
        layers = list(dict.fromkeys(path.rpartition("/")[0] for path in moved))
        raise CheckFailed(f"{len(moved)} frozen weights moved while others trained, in {', '.join(layers[:5])}"
                          + (f" and {len(layers) - 5} layers more" if len(layers) > 5 else ""),
                          "frozen weights, and BatchNorm's everywhere, equal to the last bit",
                          "the layer updates itself: leave its block frozen, and report it")
