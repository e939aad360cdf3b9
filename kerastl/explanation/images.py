"""Explanations of images: by the activation map where it is exact, else by covering one patch after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.explanation.exact import linear_parts, plain_part
from kerastl.explanation.explainer import Explained
from kerastl.explanation.network import Array, Network
from kerastl.explanation.record import ACTIVATION_MAP, COVERED
from kerastl.inputs import Batch, Input
from kerastl.model import Parts

BATCH = 32
FINE, COARSE = 7, 4  # patches along a side
Pixels = NDArray[np.uint8]


def explainer(parts: Parts, source: Input, fine: bool) -> "ImageExplainer":
    """See `explainer.explainer_for`."""
    return ImageExplainer(Network(parts, source), FINE if fine else COARSE)


class ImageExplainer:
    """See `explainer.Explainer`. A row is [size, size, 3] uint8; its parts are cells, row by row. side: patches along a
    side, where patches are covered."""

    noun = "image"

    def __init__(self, network: Network, side: int) -> None:
        self.network, self.side = network, side

    def _dense(self, head: Any) -> Any:
        return None if self.network.maps is None else linear_parts(head)[0]

    def method(self, head: Any) -> tuple[str, bool]:
        """See `Explainer`."""
        return (COVERED, False) if self._dense(head) is None else (ACTIVATION_MAP, True)

    def read(self, items: Sequence[Any], refused: dict[int, str]) -> list[Pixels | None]:
        """See `Explainer`."""
        rows: list[Pixels | None] = [None] * len(items)
        for batch in self.network.source.batches([str(item) for item in items], BATCH, refused, in_order=True):
            for place, values in zip(batch.places, batch.values, strict=True):
                rows[place] = values
        return rows

    def logits(self, rows: Sequence[Pixels], head: Any) -> Array:
        """See `Explainer`."""
        return np.concatenate([self.network.logits(_batch(rows[i:i + BATCH]), head)[0]
                               for i in range(0, len(rows), BATCH)])

    def explain(self, rows: Sequence[Pixels], places: Sequence[int], *heads: Any) -> list[list[Explained]]:
        """See `Explainer`."""
        explained: list[list[Explained]] = [[] for _ in heads]
        if all(self._dense(head) is not None for head in heads):
            for start in range(0, len(rows), BATCH):
                values = np.stack(rows[start:start + BATCH])
                outputs = self.network.outputs(values)
                for head, own in zip(heads, explained, strict=True):
                    own += self._mapped(values, outputs, places[start:start + BATCH], head)
            return explained
        for values, place in zip(rows, places, strict=True):
            for own, one in zip(explained, self._covered(values, place, heads), strict=True):
                own.append(one)
        return explained

    def _mapped(self, values: Pixels, outputs: Array, places: Sequence[int], head: Any) -> list[Explained]:
        """By the activation map. outputs: [n, height, width, dim]."""
        dense, plain = linear_parts(head)
        kernel, bias = np.asarray(dense.kernel), np.asarray(dense.bias)
        n, height, width, _ = outputs.shape
        logits = self.network.head_logits(head, self.network.features(outputs), values)
        added = None if plain is None else self.network.plain_logits(plain, values)
        maps = np.einsum("nhwd,dn->nhw", outputs, kernel[:, list(places)]) / (height * width)
        return [Explained(logits[row], place, maps[row].ravel(), (height, width), constant=float(bias[place]),
                          plain=None if added is None else float(added[row, place]))
                for row, place in enumerate(places)]

    def _covered(self, values: Pixels, place: int, heads: Sequence[Any]) -> list[Explained]:
        """By how much the logit falls when a patch is covered."""
        shape, copies = (self.side, self.side), [values]
        copies += [_cover(values, shape, np.array([cell])) for cell in range(self.side**2)]
        of_blocks = [self.network.logits(_batch(copies[i:i + BATCH]), *heads) for i in range(0, len(copies), BATCH)]
        explained = []
        for number, head in enumerate(heads):
            logits = np.concatenate([block[number] for block in of_blocks])
            plain = plain_part(head)
            added = None if plain is None else float(self.network.plain_logits(plain, values[None])[0, place])
            explained.append(Explained(logits[0], place, logits[0, place] - logits[1:, place], shape, plain=added))
        return explained

    def without(self, row: Pixels, explained: Explained, chosen: NDArray[np.intp]) -> Pixels:
        """See `Explainer`: these cells get the mean colour of the image."""
        return _cover(row, explained.shape, chosen)

    def elsewhere(self, explained: Explained, chosen: NDArray[np.intp], generator: np.random.Generator
                  ) -> NDArray[np.intp]:
        """See `Explainer`: the same form, moved along both sides and round the edges."""
        height, width = explained.shape
        steps = int(generator.integers(1, height * width)) if height * width > 1 else 0
        down, right = divmod(steps, width)
        rows, columns = np.divmod(chosen, width)
        return np.asarray((rows + down) % height * width + (columns + right) % width)


def _batch(rows: Sequence[Pixels]) -> Batch:
    return Batch([*range(len(rows))], np.stack(rows))


def _cover(values: Pixels, shape: tuple[int, ...], cells: NDArray[np.intp]) -> Pixels:
    """The image with these cells in its mean colour. values: [size, size, 3]; shape: rows and columns of cells."""
    mask = np.zeros(shape, bool)
    mask.flat[cells] = True
    size = len(values)
    down, right = (np.arange(size) * count // size for count in shape)
    covered = values.copy()
    covered[mask[down][:, right]] = values.mean(axis=(0, 1)).round().astype(np.uint8)
    return covered
