"""Plain features of images: histograms of colours and of the directions of gradients."""

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

    def __init__(self, examples: Examples) -> None:
        self.vectors = np.zeros((len(examples), CELLS**2 * DIRECTIONS + SHADES**3), np.float32)
        refused = self._read(examples, np.arange(len(examples)), accept_truncated=False)
        if refused:  # of the files that the features were computed of, which may end early where that was requested
            refused = self._read(examples, np.array(sorted(refused)), accept_truncated=True)
        check_unchanged(examples.items, refused)

    def _read(self, examples: Examples, rows: NDArray[np.intp], accept_truncated: bool) -> dict[int, str]:
        """Compute the vectors of some rows. Returns those whose files are refused, with the reason."""
        refused: dict[int, str] = {}
        for places, pixels in pixel_batches([examples.items[row] for row in rows], SIZE, 32, refused,
                                            ids=[examples.ids[row] for row in rows], accept_truncated=accept_truncated):
            self.vectors[rows[places]] = [histograms(image) for image in pixels]
        return {int(rows[place]): reason for place, reason in refused.items()}

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[NDArray[np.float32]]:
        """Vectors of the rows `fit_on`, then of each of the others, [rows, 208] float32."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(self.vectors[fit_on])
        return [scaler.transform(self.vectors[rows]) for rows in (fit_on, *others)]


plain_features = ImageHistograms


def histograms(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """For each of 4 x 4 cells the directions of gradients, weighted by their size (after Dalal and Triggs 2005), and
    for the whole image the colours, 4 shades per channel. Both histograms sum to 1; their square roots are returned.
    pixels: [64, 64, 3] -> [208] float32."""
    grey = pixels.astype(np.float32).mean(axis=2)
    down, right = np.gradient(grey)
    size, angle = np.hypot(down, right), np.arctan2(down, right) % np.pi
    direction = np.minimum((angle * DIRECTIONS / np.pi).astype(int), DIRECTIONS - 1)
    cell = np.arange(SIZE) * CELLS // SIZE
    bin_of = (cell[:, None] * CELLS + cell[None, :]) * DIRECTIONS + direction
    edges = np.bincount(bin_of.ravel(), size.ravel(), CELLS**2 * DIRECTIONS)
    shade = pixels.astype(int) * SHADES // 256
    colours = np.bincount((shade @ (SHADES**2, SHADES, 1)).ravel(), minlength=SHADES**3)
    return np.sqrt(np.concatenate([edges / max(1e-6, edges.sum()), colours / colours.sum()])).astype(np.float32)
