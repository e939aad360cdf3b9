"""Pixels of images that are compared: where they are kept, how similar two are, and how similar they are at most."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.near_duplicates.contents import Rows
from kerastl.data.spool import Unnamed

SIDE = 32  # pixels of what is compared
CELL = 4  # pixels: the side of the squares whose differences are compared
CELLS = SIDE // CELL
PLAIN = 2.0  # of 255: the standard deviation of an image below which its hash is noise, and its contrast is set to this
CROPS = (0.0, 0.025, 0.05)  # cut off at each border
BLOCK = 256  # pairs compared at a time
Floats = NDArray[np.float32]


class ImagesFile:
    """Images of one size, [channels, side, side] uint8, in a file without a name."""

    def __init__(self, shape: tuple[int, ...], folder: Path | None = None) -> None:
        self._file, self._size, self.shape = Unnamed(folder), 0, shape

    def append(self, images: NDArray[np.uint8]) -> None:
        """Append [n, *shape]."""
        self._file.write(bytearray(np.ascontiguousarray(images).tobytes()), self._size)
        self._size += images.nbytes

    def take(self, rows: Rows) -> NDArray[np.uint8]:
        """Read rows: [len(rows), *shape]."""
        distinct, place = np.unique(rows, return_inverse=True)
        size = int(np.prod(self.shape))
        data = b"".join(self._file.read(size, row * size) for row in distinct.tolist())
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape)[place]


@cache
def area(side: int, crop: float) -> Floats:
    """The weights of pixels in area averages of what a crop leaves, [SIDE, side]."""
    edges = side * (crop + (1 - 2 * crop) * np.arange(SIDE + 1) / SIDE)
    covered = np.clip(edges[:, None] - np.arange(side)[None], 0, 1)  # how much of each pixel is before each edge
    weights = np.diff(covered, axis=0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


@cache
def _cells(crop: float) -> Floats:
    """The same for the means of cells, [CELLS, SIDE]."""
    return area(SIDE, crop).reshape(CELLS, CELL, SIDE).mean(axis=1)


def averaged(images: Floats, weights: Floats) -> Floats:
    """Area averages. images: [n, channels, side, side]; weights: [new, side] -> [n, channels, new, new]."""
    return weights @ (images @ weights.T)  # one small product for each channel, for which no threads are woken


def cropped(images: Floats, crop: float) -> Floats:
    """Images without a share of each border, at SIDE x SIDE. [n, channels, side, side] -> [n, channels, SIDE, SIDE]."""
    return averaged(images, area(images.shape[-1], crop))


def cell_means(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The rounded means of the cells of each image and of its crops, by which `most_similar` rejects pairs.
    pixels: [n, 3, SIDE, SIDE] -> [n, 3 * len(CROPS), CELLS, CELLS]."""
    floats = pixels.astype(np.float32)
    return np.rint(np.concatenate([averaged(floats, _cells(crop)) for crop in CROPS], axis=1)).astype(np.uint8)


def contrast_of(images: Floats) -> Floats:
    """The standard deviation of each image's pixels. [n, channels, side, side] -> [n]."""
    return images.reshape(len(images), -1).std(axis=1)


def largest_difference(a: Floats, b: Floats) -> Floats:
    """The root of the mean squared difference in the most different cell. a, b: [n, 3, SIDE, SIDE] -> [n]."""
    difference = a - b
    difference *= difference
    columns = difference.sum(axis=1).reshape(-1, CELLS, CELL, SIDE).sum(axis=2)
    worst = columns.reshape(-1, CELLS, CELLS, CELL).sum(axis=3).max(axis=(1, 2))
    return np.sqrt(worst / (CELL * CELL * a.shape[1]))


def pixel_similarity(a: Floats, b: Floats, contrast: NDArray[Any] | None = None) -> NDArray[Any]:
    """1 less the largest difference of a cell, in units of the images' contrast: the mean of their standard deviations,
    where it is not given. At least 0. a, b: [n, 3, SIDE, SIDE] -> [n]."""
    units = (contrast_of(a) + contrast_of(b)) / 2 if contrast is None else contrast
    return np.asarray(np.clip(1 - largest_difference(a, b) / np.maximum(units, PLAIN), 0, 1))


def most_similar(a: Floats, b: Floats, contrast: tuple[Floats, Floats], crops: tuple[float, float]) -> NDArray[Any]:
    """A bound on `pixel_similarity` of crops of images, by the means of their cells: the mean square of a difference is
    at least the square of its mean. a, b: [n, 3, CELLS, CELLS], rounded; contrast: of the whole images. -> [n]."""
    difference = a - b
    difference *= difference
    return similarity_within(np.sqrt(difference.mean(axis=1).max(axis=(1, 2))), *contrast, crops)


def similarity_within(worst: NDArray[Any], of_a: Floats, of_b: Floats, crops: tuple[float, float]) -> NDArray[Any]:
    """The most that crops of images are similar whose most different cells differ by at least `worst` on average.
    of_a, of_b: the contrast of the whole images."""
    # Pixels of a crop average those of the image, each of which counts at most 1 / (1 - 2 * crop) ** 2 times as much.
    contrast = (of_a / (1 - 2 * crops[0]) + of_b / (1 - 2 * crops[1])) / 2
    worst = np.maximum(worst - 1.01, 0)  # the means are rounded: each moves by half a level
    return np.asarray(np.clip(1.001 - worst / np.maximum(contrast, PLAIN), 0, 1))
