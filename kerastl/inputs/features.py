"""Features as an input: of a head that ships alone, because its backbone is too large to ship with it."""

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
    """Rows of features, all of one shape: (dim,), or (length, dim) of token states, zero where a token is padding. An
    item is a row; nothing is decoded."""

    shape: tuple[int, ...]
    kind: str = NAME
    raw: str = NAME
    values: str = NAME
    version: str = "features"

    @property
    def raw_spec(self) -> tf.TensorSpec:
        """[batch, *shape] float32."""
        return tf.TensorSpec([None, *self.shape], tf.float32, name=NAME)

    spec = raw_spec

    @property
    def one(self) -> tf.TensorSpec:
        """[1, *shape] float32."""
        return tf.TensorSpec([1, *self.shape], tf.float32, name=NAME)

    def tables(self) -> None:
        """None: nothing is looked up."""

    def contents(self, items: Sequence[NDArray[np.float32]]) -> list[Any]:
        """The rows."""
        return list(items)

    def decode(self, raw: Any) -> tuple[Any, None]:
        """As they are."""
        return raw, None

    def batches(self, items: Sequence[NDArray[np.float32]], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False) -> Iterator[Batch]:
        """In order; nothing is refused."""
        for start in range(0, len(items), batch_size):
            places = list(range(start, min(start + batch_size, len(items))))
            yield Batch(places, np.stack([items[place] for place in places]).astype(np.float32))
            progress(len(places))

    def single(self) -> "FeatureRows":
        """Itself."""
        return self

    def stepped(self) -> "FeatureRows":
        """Itself: all are of one shape."""
        return self

    def shuffled(self, items: Sequence[Any], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Random."""
        return generator.permutation(len(items))

    def keys(self, ids: Sequence[str], items: Sequence[Any]) -> Sequence[str]:
        """The ids."""
        return ids

    def fixed(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """[*shape] -> [1, *shape]."""
        return values[np.newaxis]

    def record(self) -> dict[str, Any]:
        """The shape."""
        return {"shape": list(self.shape)}

    def save(self, folder: Path) -> None:
        """Nothing."""

    def client_modules(self) -> dict[str, str]:
        """None."""
        return {}
