"""Images as a network's input: files decoded by the one decoder, read ahead in threads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.inputs import Batch
from kerastl.inputs.batches import pixel_batches
from kerastl.inputs.images import VERSION, decode_batch


@dataclass(frozen=True)
class Pixels:
    """Images of `size` x `size`. Values: [batch, size, size, 3] uint8. An item is the path of its file."""

    size: int
    kind: str = "image"
    raw: str = "image_bytes"
    values: str = "images"

    @property
    def version(self) -> str:
        """See `Input`."""
        return f"{self.size} decoder {VERSION}"

    @property
    def raw_spec(self) -> tf.TensorSpec:
        """[batch] string: whole files."""
        return tf.TensorSpec([None], tf.string, name=self.raw)

    @property
    def spec(self) -> tf.TensorSpec:
        """[batch, size, size, 3] uint8."""
        return tf.TensorSpec([None, self.size, self.size, 3], tf.uint8, name=self.values)

    @property
    def one(self) -> tf.TensorSpec:
        """[1, size, size, 3] uint8."""
        return tf.TensorSpec([1, self.size, self.size, 3], tf.uint8, name=self.values)

    def tables(self) -> None:
        """None: decoding takes operations alone."""

    def contents(self, items: Sequence[str]) -> list[bytes]:
        """The files' bytes."""
        return [Path(path).read_bytes() for path in items]

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, None]:
        """[batch] string -> [batch, size, size, 3] uint8; one bad image fails the call."""
        return decode_batch(raw, self.size), None

    def batches(self, items: Sequence[str], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = True) -> Iterator[Batch]:
        """Files as batches of pixels, always in order."""
        for places, pixels in pixel_batches(items, self.size, batch_size, refused, progress):
            yield Batch(places, pixels)

    def single(self) -> "Pixels":
        """As it is."""
        return self

    def stepped(self) -> "Pixels":
        """As it is: all have one shape."""
        return self

    def shuffled(self, items: Sequence[str], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """Any random order: all images cost the same."""
        return generator.permutation(len(items))

    def keys(self, ids: Sequence[str], items: Sequence[str]) -> Sequence[str]:
        """The ids: nothing of an image is cut."""
        return ids

    def fixed(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[size, size, 3] -> [1, size, size, 3]."""
        return values[np.newaxis]

    def record(self) -> dict[str, Any]:
        """The size, in pixels."""
        return {"size": self.size}

    def save(self, folder: Path) -> None:
        """Nothing: the size says all."""

    def client_modules(self) -> dict[str, str]:
        """None: a client resizes with any library."""
        return {}


def describe_input(record: dict[str, Any]) -> str:
    """What a model takes, in words. record: as `Pixels.record` gives it."""
    size = record["size"]
    return (f"JPEG, PNG, GIF, BMP or WebP images, resized to {size} x {size} pixels without keeping the aspect ratio")


def client_content(item: str | Path | bytes, record: dict[str, Any]) -> bytes:
    """What a client sends of an image: the bytes of its file. Raises OSError when the file cannot be read."""
    return item if isinstance(item, bytes) else Path(item).read_bytes()
