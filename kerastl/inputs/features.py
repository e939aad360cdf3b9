"""Features as the input of a head that is exported alone, because its backbone is too large to export."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.inputs import Batch

NAME = "features"


@dataclass(frozen=True)
class FeatureRows:
    """Rows of features, all of one shape: (dim,), or (length, dim) for token states, which are zero at padding. An item
    is a row; nothing is decoded."""

    shape: tuple[int, ...]
    modality: None = None
    raw_name: str = NAME
    values_name: str = NAME
    version: str = "features"

    @property
    def raw_spec(self) -> tf.TensorSpec:
        """[batch, *shape] float32."""
        return tf.TensorSpec([None, *self.shape], tf.float32, name=NAME)

    spec = raw_spec

    @property
    def single_spec(self) -> tf.TensorSpec:
        """[1, *shape] float32."""
        return tf.TensorSpec([1, *self.shape], tf.float32, name=NAME)

    def tables(self) -> None:
        """None: nothing is looked up."""

    def contents(self, items: Sequence[NDArray[np.float32]]) -> list[Any]:
        """The rows."""
        return list(items)

    def decode(self, raw: Any) -> tuple[Any, None]:
        """The rows unchanged."""
        return raw, None

    def batches(self, items: Sequence[NDArray[np.float32]], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False) -> Iterator[Batch]:
        """Rows in order; none is refused."""
        for start in range(0, len(items), batch_size):
            places = list(range(start, min(start + batch_size, len(items))))
            yield Batch(places, np.stack([items[place] for place in places]).astype(np.float32))
            progress(len(places))

    def single(self) -> "FeatureRows":
        """The input itself."""
        return self

    def stepped(self) -> "FeatureRows":
        """The input itself, because all rows have one shape."""
        return self

    def shuffled(self, items: Sequence[Any], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """A random order."""
        return generator.permutation(len(items))

    def keys(self, ids: Sequence[str], items: Sequence[Any]) -> Sequence[str]:
        """The ids."""
        return ids

    def fixed(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """[*shape] -> [1, *shape]."""
        return values[np.newaxis]

    def record(self) -> dict[str, Any]:
        """The shape of a row."""
        return {"shape": list(self.shape)}

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def client_modules(self) -> dict[str, str]:
        """None."""
        return {}
