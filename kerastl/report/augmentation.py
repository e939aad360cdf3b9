"""The report's section on augmentation: what was done to the images in fine-tuning, shown on some of them."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.inputs.batches import decode_file
from kerastl.training.augmentation import Augmentation
from kerastl.training.fine_tuning.augment import augmenter
from kerastl.versions.record import RunRecord

ROWS, COPIES = 4, 5  # images, and augmented copies of each
SIDE = 132  # pixels


def augmentation_context(record: RunRecord, examples: Examples) -> Mapping[str, Any]:
    """What augmentation.html shows: an image of each of up to four classes, as it is and augmented five times. Images
    that are gone are left out. Nothing where no backbone was fine-tuned on images."""
    chosen = record.fine_tuning.augmentation if record.fine_tuning else None
    if chosen is None or not record.modality.augments:
        return {"augmentation": None, "augmented": []}
    size = record.input["size"]
    rows = [(row, pixels) for row in _one_per_class(examples) if not isinstance(
        pixels := decode_file(examples.items[row], size, accept_truncated=True), str)][:ROWS] if chosen.acts else []
    grid = _grid(chosen, np.stack([pixels for _, pixels in rows]), record.seed) if rows else []
    return {"augmentation": chosen, "augmented": [
        {"origin": examples.origins[row], "images": images} for (row, _), images in zip(rows, grid, strict=True)]}


def _one_per_class(examples: Examples) -> list[int]:
    """The first row of each class, in the order of the classes."""
    first: dict[int, int] = {}
    for row in range(len(examples)):
        for number in examples.classes_of(row):
            first.setdefault(number, row)
    return list(dict.fromkeys(first[number] for number in sorted(first)))


def _grid(chosen: Augmentation, pixels: NDArray[np.uint8], seed: int) -> list[list[str]]:
    """For each image the addresses of its copies, the plain one first. pixels: [n, size, size, 3]."""
    images, augment = tf.constant(pixels, tf.float32), tf.function(augmenter(chosen, seed), autograph=False)
    columns = [images, *(augment(images, tf.constant(number, tf.int64)) for number in range(COPIES))]
    small = [tf.cast(tf.round(tf.image.resize(column, (SIDE, SIDE), "area")), tf.uint8) for column in columns]
    return [[_address(column[row]) for column in small] for row in range(len(pixels))]


def _address(pixels: tf.Tensor) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(tf.io.encode_jpeg(pixels, quality=80).numpy()).decode()
