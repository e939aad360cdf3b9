"""The layers of the `plain` and `joint` heads: plain features of the raw input, without a pretrained network. Importing
this registers them, so that Keras can load a saved model that has them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl.heads.layers.blending import BUCKETS, buckets_of

CELLS, DIRECTIONS, SHADES = 4, 9, 4
LEAST = 1e-4  # added to a share before its square root, which is steep at 0


@keras.saving.register_keras_serializable("kerastl")
class Tfidf(keras.layers.Layer):
    """A linear map of the TF-IDF of tokens and pairs of neighbouring tokens, hashed to 65,536 buckets: 1 + the
    logarithm of how often a bucket occurs, times its inverse document frequency, divided by the norm of the row.
    tokens: [batch, length] int32, 0 where there is padding -> [batch, width]."""

    def __init__(self, width: int, **more: Any) -> None:
        super().__init__(**more)
        self.width = width

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        self.idf = self.add_weight(name="idf", shape=(BUCKETS,), initializer="ones", trainable=False)
        self.table = self.add_weight(name="table", shape=(BUCKETS, self.width), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros")

    def call(self, tokens: Any) -> Any:
        """Called by Keras."""
        buckets, present = buckets_of(tokens)
        present = ops.cast(present, "float32")
        rows = ops.shape(buckets)[0]
        place = buckets + ops.expand_dims(ops.arange(rows, dtype="int32") * BUCKETS, 1)  # in one long row
        # not `ops.scatter`: OpenVINO does not add up what it puts into the same place
        counts = ops.segment_sum(ops.reshape(present, (-1,)), ops.reshape(place, (-1,)), rows * BUCKETS)
        often = ops.maximum(ops.take(counts, place), 1.0)  # how often each occurrence's bucket occurs in its row
        weights = ops.take(self.idf, buckets) * (1.0 + ops.log(often)) * present  # the same for each of them
        norm = ops.sqrt(ops.sum(weights**2 / often, axis=1, keepdims=True)) + 1e-6
        return ops.einsum("bn,bnw->bw", weights / (often * norm), ops.take(self.table, buckets, axis=0)) + self.bias

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("kerastl")
class Histograms(keras.layers.Layer):
    """For each of 4 x 4 cells the directions of gradients, weighted by their size (after Dalal and Triggs 2005), and
    for the whole image the colours, 4 shades per channel. Each histogram sums to 1; square roots are returned. [batch,
    side, side, 3] in [0, 255] -> [batch, 208].

    A pixel is shared among neighbouring bins, so that a rounding error cannot move it from one bin to another."""

    def build(self, shape: Any) -> None:
        """Called by Keras."""
        side = int(shape[1])
        cell = np.minimum(np.arange(side - 2) * CELLS // (side - 2), CELLS - 1)
        self.cells = (cell[:, None] == np.arange(CELLS)).astype(np.float32)  # [side - 2, cells]
        angles = np.pi * (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS
        self.directions = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)

    def call(self, pixels: Any) -> Any:
        """Called by Keras."""
        pixels = ops.cast(pixels, "float32")
        return ops.sqrt(ops.concatenate([self._edges(pixels), self._colours(pixels)], axis=1) + LEAST)

    def _edges(self, pixels: Any) -> Any:
        grey = ops.mean(pixels, axis=3)
        right, down = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
        size = ops.expand_dims(right**2 + down**2, 3) + 1.0
        along = ops.matmul(ops.stack([right, down], axis=3), self.directions) ** 2  # [batch, side, side, directions]
        shares = along**2 / size**1.5  # the size of the gradient times cos^4 of the angle between
        by_row = ops.einsum("bhwd,hi->biwd", shares, self.cells)
        in_cells = ops.reshape(ops.einsum("biwd,wj->bijd", by_row, self.cells), (-1, CELLS**2 * DIRECTIONS))
        return in_cells / (ops.sum(in_cells, axis=1, keepdims=True) + 1.0)

    def _colours(self, pixels: Any) -> Any:
        step = 256 / SHADES
        centres = np.array([(shade + 0.5) * step for shade in range(SHADES)], np.float32)
        flat = ops.clip(ops.reshape(pixels, (-1, pixels.shape[1] * pixels.shape[2], 3, 1)), centres[0], centres[-1])
        shades = ops.relu(1.0 - ops.abs(flat - centres) / step)  # [batch, pixels, channels, shades]; sum to 1
        red, green, blue = (shades[:, :, channel] for channel in range(3))
        both = ops.reshape(ops.expand_dims(red, 3) * ops.expand_dims(green, 2), (-1, flat.shape[1], SHADES**2))
        counts = ops.matmul(ops.transpose(both, (0, 2, 1)), blue) / flat.shape[1]
        return ops.reshape(counts, (-1, SHADES**3))
