"""Features as the input of a head that is exported alone, because its backbone is too large to export."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.inputs import Batch
from kerastl.inputs.fixed_shape import FixedShape

NAME = "features"


@dataclass(frozen=True)
class FeatureRows(FixedShape):
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

    def contents(self, items: Sequence[NDArray[np.float32]]) -> list[Any]:
        """The rows."""
        return list(items)

    def decode(self, raw: Any) -> tuple[Any, None]:
        """The rows unchanged."""
        return raw, None

    def decoded(self, contents: Sequence[NDArray[np.float32]], refused: dict[int, str]) -> Batch:
        """The rows unchanged."""
        return Batch([*range(len(contents))], np.stack([*contents]).astype(np.float32))

    def batches(self, items: Sequence[NDArray[np.float32]], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False,
                ids: Sequence[str] = ()) -> Iterator[Batch]:
        """Rows in order; none is refused."""
        for start in range(0, len(items), batch_size):
            places = list(range(start, min(start + batch_size, len(items))))
            yield Batch(places, np.stack([items[place] for place in places]).astype(np.float32))
            progress(len(places))

    def record(self) -> dict[str, Any]:
        """The shape of a row."""
        return {"shape": list(self.shape)}
