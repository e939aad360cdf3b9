"""What inputs have in common whose items all have one shape, so that there is nothing to pad, truncate or sort."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class FixedShape:
    """The part of an `Input` that follows from its one shape."""

    @property
    def network_length(self) -> None:
        """None: the network takes all values."""

    def tables(self) -> None:
        """None: decoding looks nothing up."""

    def single(self) -> Self:
        """The input itself."""
        return self

    def for_network(self) -> Self:
        """The input itself."""
        return self

    def stepped(self) -> Self:
        """The input itself."""
        return self

    def shuffled(self, items: Sequence[Any], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """A random order; all items take the same time."""
        return generator.permutation(len(items))

    def keys(self, ids: Sequence[str], items: Sequence[Any]) -> Sequence[str]:
        """The ids, because nothing is truncated."""
        return ids

    def changed(self, items: Sequence[Any]) -> Sequence[int]:
        """None: every version decodes alike."""
        return ()

    def provenance(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def fixed(self, values: NDArray[Any]) -> NDArray[Any]:
        """[*shape] -> [1, *shape]."""
        return values[np.newaxis]

    def save(self, folder: Path) -> None:
        """Write nothing, because the record holds the shape."""

    def client_modules(self) -> dict[str, str]:
        """None: a client needs no module of ours."""
        return {}
