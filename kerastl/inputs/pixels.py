"""Images as a network's input: files decoded by the one decoder, and prefetched in threads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.errors import DataError, OptionError, one_line
from kerastl.inputs import Batch
from kerastl.inputs.batches import pixel_batches
from kerastl.inputs.images import VERSION, decode_batch
from kerastl.modality import IMAGE, Modality


@dataclass(frozen=True)
class Pixels:
    """Images of `size` x `size` pixels. Values: [batch, size, size, 3] uint8. An item is the path of a file."""

    size: int
    modality: Modality = IMAGE
    raw_name: str = IMAGE.raw_input
    values_name: str = IMAGE.values

    def __repr__(self) -> str:
        return f"Pixels({self.size} x {self.size})"

    @property
    def version(self) -> str:
        """The size, and the version of the decoder."""
        return f"{self.size} decoder {VERSION}"

    @property
    def raw_spec(self) -> tf.TensorSpec:
        """[batch] string: whole files."""
        return tf.TensorSpec([None], tf.string, name=self.raw_name)

    @property
    def spec(self) -> tf.TensorSpec:
        """[batch, size, size, 3] uint8."""
        return tf.TensorSpec([None, self.size, self.size, 3], tf.uint8, name=self.values_name)

    @property
    def single_spec(self) -> tf.TensorSpec:
        """[1, size, size, 3] uint8."""
        return tf.TensorSpec([1, self.size, self.size, 3], tf.uint8, name=self.values_name)

    def tables(self) -> None:
        """None: decoding needs no tables."""

    def contents(self, items: Sequence[str]) -> list[bytes]:
        """The files' bytes."""
        return [Path(path).read_bytes() for path in items]

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, None]:
        """[batch] string -> [batch, size, size, 3] uint8. One image that cannot be decoded makes the call fail."""
        return decode_batch(raw, self.size), None

    def batches(self, items: Sequence[str], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = True) -> Iterator[Batch]:
        """Batches of pixels, always in order."""
        for places, pixels in pixel_batches(items, self.size, batch_size, refused, progress):
            yield Batch(places, pixels)

    def single(self) -> "Pixels":
        """The input itself."""
        return self

    def stepped(self) -> "Pixels":
        """The input itself, because all images have one shape."""
        return self

    def shuffled(self, items: Sequence[str], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """A random order; all images take the same time."""
        return generator.permutation(len(items))

    def keys(self, ids: Sequence[str], items: Sequence[str]) -> Sequence[str]:
        """The ids, because images are never truncated."""
        return ids

    def fixed(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[size, size, 3] -> [1, size, size, 3]."""
        return values[np.newaxis]

    def record(self) -> dict[str, Any]:
        """The size, in pixels."""
        return {"size": self.size}

    def save(self, folder: Path) -> None:
        """Write nothing, because the size is in the record."""

    def client_modules(self) -> dict[str, str]:
        """None: a client resizes with any library."""
        return {}


def input_of_backbone(name: str, model: Any, tokenizer: None, max_length: int) -> Pixels:
    """The input of an image network. Raises OptionError if it does not take squares of a fixed size."""
    _, height, width, _ = model.input_shape
    if height != width or height is None:
        raise OptionError(f"the backbone {name} takes images of {height} x {width} pixels", "a fixed square size",
                          "choose another backbone")
    return Pixels(height)


def describe_input(record: dict[str, Any]) -> str:
    """What a model takes, in words. record: as `Pixels.record` gives it."""
    size = record["size"]
    return f"JPEG, PNG, GIF, BMP or WebP images, resized to {size} x {size} pixels without keeping the aspect ratio"


def client_content(item: Any, record: dict[str, Any]) -> bytes:
    """What a client sends of an image: the bytes of its file. Raises OSError when the file cannot be read, DataError
    for an item that is neither a path nor bytes."""
    if isinstance(item, bytes):
        return item
    if not isinstance(item, str | PathLike):
        raise DataError(f"an input is {one_line(item)}", "the path of an image, or the bytes of an image file",
                        "pass paths or bytes; a decoded image can be saved as PNG first")
    return Path(item).read_bytes()


def restore_input(record: dict[str, Any], folder: Path) -> Pixels:
    """The input of an exported version. record: as `Pixels.record` returned it."""
    return Pixels(record["size"])
