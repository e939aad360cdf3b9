"""Contents that occur with different labels."""

import numpy as np

from kerastl.compact import Hashes
from kerastl.data.examples import Examples


def conflicts(examples: Examples) -> int:
    """The number of contents that occur with different labels."""
    numbers = Hashes.of(examples.ids).numbers()
    order = np.argsort(numbers, kind="stable")
    numbers, targets = numbers[order], examples.targets[order]
    other = targets[1:] != targets[:-1]
    other = other if other.ndim == 1 else other.any(axis=1)
    return len(np.unique(numbers[1:][other & (numbers[1:] == numbers[:-1])]))
