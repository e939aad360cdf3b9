"""The check that frozen weights did not change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import CheckFailed


def prove_frozen(paths: Sequence[str], before: Sequence[NDArray[Any]], after: Sequence[NDArray[Any]],
                 may_change: Sequence[bool]) -> None:
    """Compare weights bit by bit, except those that may change; all in the order of `paths`, their names in the model.

    Raises CheckFailed naming the layers of frozen weights that changed.
    """
    changed = [path for path, old, new, free in zip(paths, before, after, may_change, strict=True)
               if not free and not np.array_equal(old, new)]
    if changed:
        layers = list(dict.fromkeys(path.rpartition("/")[0] for path in changed))
        raise CheckFailed(f"{len(changed)} frozen weights changed during training, in {', '.join(layers[:5])}"
                          + (f" and {len(layers) - 5} more layers" if len(layers) > 5 else ""),
                          "frozen weights, and those of every BatchNorm, equal bit by bit",
                          "the layer updates itself: keep its block frozen, and report this as a bug")
