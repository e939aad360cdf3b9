"""Images as a network's input: files decoded by the one decoder, and prefetched in threads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.errors import DataError, OptionError, one_line
from kerastl.files import read_bytes, write_file
from kerastl.inputs import Batch
from kerastl.inputs.batches import decoder_for, pixel_batches
from kerastl.inputs.fixed_shape import FixedShape
from kerastl.inputs.images import VERSION, decode_batch
from kerastl.inputs.keys import DECODER, is_affected, keys_of
from kerastl.modality import IMAGE, Modality


@dataclass(frozen=True)
class Pixels(FixedShape):
    """Images of `size` x `size` pixels. Values: [batch, size, size, 3] uint8. An item is the path of a file.

    accept_truncated: whether a JPEG file may end early; the part that is missing is grey. decoder: of the version that
    the input was restored from.
    """

    size: int
    accept_truncated: bool = False
    decoder: int = DECODER
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

    def keys(self, ids: Sequence[str], items: Sequence[str]) -> Sequence[str]:
        """The ids; for a file whose pixels have changed with the decoder, a hash of its id and of that version. A JPEG
        that may be accepted only because it may end early has a key of its own."""
        return keys_of(ids, items, self.accept_truncated)

    def changed(self, items: Sequence[str | bytes]) -> Sequence[int]:
        """Those of formats whose pixels have changed, if the version was exported before that."""
        return () if self.decoder >= DECODER else [place for place, item in enumerate(items) if is_affected(item)]

    def contents(self, items: Sequence[str]) -> list[bytes]:
        """The files' bytes."""
        return [read_bytes(path) for path in items]

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, None]:
        """[batch] string -> [batch, size, size, 3] uint8. One image that cannot be decoded makes the call fail."""
        return decode_batch(raw, self.size, self.accept_truncated), None

    def decoded(self, contents: Sequence[bytes], refused: dict[int, str]) -> Batch:
        """The pixels of the files that can be decoded."""
        decode = decoder_for(self.size, self.accept_truncated)
        results = [decode(content) for content in contents]
        refused |= {place: result for place, result in enumerate(results) if isinstance(result, str)}
        pixels = [result for result in results if not isinstance(result, str)]
        return Batch([place for place in range(len(results)) if place not in refused],
                     np.stack(pixels) if pixels else np.zeros((0, self.size, self.size, 3), np.uint8))

    def batches(self, items: Sequence[str], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = True,
                ids: Sequence[str] = ()) -> Iterator[Batch]:
        """Batches of pixels, always in order."""
        for places, pixels in pixel_batches(items, self.size, batch_size, refused, progress, ids=ids,
                                            accept_truncated=self.accept_truncated):
            yield Batch(places, pixels)

    def client_modules(self) -> dict[str, str]:
        """The reference decoder, which also classifies."""
        return {"classify_image.py": "kerastl.export.reference_images"}

    def record(self) -> dict[str, Any]:
        """The size, in pixels, and whether truncated files are accepted, if they are."""
        return {"size": self.size} | ({"accept_truncated": True} if self.accept_truncated else {})

    def provenance(self) -> dict[str, Any]:
        """The number of the decoder."""
        return {"decoder": DECODER}


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
    truncated = "; the missing part of a JPEG that ends early is grey" if record.get("accept_truncated") else ""
    return (f"JPEG, PNG, GIF, BMP or WebP images, resized to {size} x {size} pixels without keeping the aspect ratio"
            f"{truncated}")


def client_content(item: Any, record: dict[str, Any]) -> bytes:
    """What a client sends of an image: the bytes of its file. Raises OSError when the file cannot be read, DataError
    for an item that is neither a path nor bytes."""
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if not isinstance(item, str | PathLike) or not str(item):
        raise DataError(f"an input is {one_line(item)}", "the path of an image, or the bytes of an image file",
                        "pass paths or bytes; a decoded image can be saved as PNG first")
    return read_bytes(Path(item))


def restore_input(record: dict[str, Any], folder: Path) -> Pixels:
    """The input of an exported version. record: as `Pixels.record` returned it."""
    return Pixels(record["size"], bool(record.get("accept_truncated")), record.get("decoder", 3))


def public_items(source: Pixels, folder: Path, n: int) -> list[str]:
    """Images that are made up, always the same, to compare artifacts on without the data: gradients with noise. They
    are written into a folder; returns their paths."""
    generator, paths = np.random.default_rng(0), []
    for number in range(n):
        height, width = generator.integers(40, 400, size=2)
        corners = generator.integers(0, 256, size=(2, 2, 3))
        v, u = (np.linspace(0, 1, size)[:, None] for size in (height, width))
        image = np.einsum("ha,wb,abc->hwc", np.hstack([1 - v, v]), np.hstack([1 - u, u]), corners)
        noise = generator.normal(size=image.shape) * generator.uniform(0, 60)
        path = folder / f"public_{number:03d}.png"
        write_file(path, tf.io.encode_png(np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)).numpy())
        paths.append(str(path))
    return paths
