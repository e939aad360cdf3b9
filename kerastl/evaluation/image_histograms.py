"""Plain features of images: histograms of colours and of the directions of gradients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.inputs import check_unchanged
from kerastl.inputs.batches import pixel_batches

SIZE, CELLS, DIRECTIONS, SHADES = 64, 4, 9, 4


class ImageHistograms:
    """Images as vectors, [rows, 16 x 9 + 64], scaled by the mean and the standard deviation of the rows that the
    baseline is fitted on."""

    name = "colours and gradients + logistic regression"

    def __init__(self, examples: Examples, rows: NDArray[np.intp] | None = None) -> None:
        """rows: that will be asked for; None: all."""
        rows = np.arange(len(examples)) if rows is None else rows
        self.vectors = np.zeros((len(examples), CELLS**2 * DIRECTIONS + SHADES**3), np.float32)
        refused: dict[int, str] = {}
        some = examples.take(rows)
        # of the files that the features were computed of, whether these may end early or not
        for places, pixels in pixel_batches(some.items, SIZE, 32, refused, ids=some.ids, accept_truncated=True):
            self.vectors[rows[places]] = histograms(pixels)
        check_unchanged(some.items, refused)

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[NDArray[np.float32]]:
        """Vectors of the rows `fit_on`, then of each of the others, [rows, 208] float32."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self.vectors[fit_on])
        return [scaler.transform(self.vectors[rows]) for rows in (fit_on, *others)]


plain_features = ImageHistograms


def histograms(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """For each of 4 x 4 cells the directions of gradients, weighted by their size (after Dalal and Triggs 2005), and
    for the whole image the colours, 4 shades per channel. Both histograms sum to 1; their square roots are returned.
    pixels: [n, 64, 64, 3] -> [n, 208] float32."""
    grey = pixels.astype(np.float32).mean(axis=3)
    down, right = np.gradient(grey, axis=(1, 2))
    size, angle = np.hypot(down, right), np.arctan2(down, right) % np.pi
    direction = np.minimum((angle * DIRECTIONS / np.pi).astype(np.int32), DIRECTIONS - 1)
    cell = np.arange(SIZE) * CELLS // SIZE
    edges = _counts((cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS + direction, CELLS**2 * DIRECTIONS, size)
    shade = pixels // (256 // SHADES)
    colours = _counts((shade[..., 0] * SHADES + shade[..., 1]) * SHADES + shade[..., 2], SHADES**3)
    return np.sqrt(np.hstack([edges / edges.sum(axis=1, keepdims=True).clip(1e-6),
                              colours / colours.sum(axis=1, keepdims=True)])).astype(np.float32)


def _counts(bins: NDArray[Any], number: int, weights: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
    """The histogram of each image. bins: [n, 64, 64], each below `number` -> [n, number]."""
    n = len(bins)
    own = bins.reshape(n, -1) + number * np.arange(n)[:, None]
    counts = np.bincount(own.ravel(), None if weights is None else weights.ravel(), n * number)
    return counts.reshape(n, number).astype(np.float64)
