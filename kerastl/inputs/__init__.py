"""What a client sends (an image's bytes, a text), and how it becomes what a network takes: the same in every place.

`Input` is that way for one backbone: `inputs.pixels.Pixels` for images, `inputs.texts.Texts` for texts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Items as a network takes them. `places`: of each row among the items asked for. values: [pieces, ...].

    A piece is a row, unless rows came in several (windows of a long text): then owners, [pieces] ascending, holds the
    index in `places` of each piece's row.
    """

    places: list[int]
    values: NDArray[Any]
    owners: NDArray[np.int32] | None = None

    def merged(self, pieces: NDArray[np.float32]) -> NDArray[np.float32]:
        """A row's mean over its pieces. [pieces, dim] -> [len(places), dim]."""
        if self.owners is None:
            return pieces
        first = np.searchsorted(self.owners, np.arange(len(self.places)))
        counts = np.diff(np.append(first, len(self.owners)))
        return (np.add.reduceat(pieces, first, axis=0) / counts[:, None]).astype(np.float32)


class Input(Protocol):
    """From what a client sends to what a network takes, in Python and in the graph."""

    @property
    def kind(self) -> str:
        """image or text, as of examples."""

    @property
    def raw(self) -> str:
        """The name of a serving signature's input."""

    @property
    def values(self) -> str:
        """The name of the decoded input."""

    @property
    def version(self) -> str:
        """Words that change when the same item would give other values: part of the cache's key."""

    @property
    def raw_spec(self) -> Any:
        """tf.TensorSpec of what a client sends, [batch] or [batch, 2] string."""

    @property
    def spec(self) -> Any:
        """tf.TensorSpec of what the network takes, [batch, ...]."""

    @property
    def one(self) -> Any:
        """tf.TensorSpec of one example of fixed size, [1, ...]: what a TFLite file takes. None where an example may
        be several pieces."""

    def tables(self) -> Any:
        """What a saved graph that decodes must hold on to: lookup tables and the like; or None."""

    def contents(self, items: Sequence[Any]) -> list[Any]:
        """What a client would send for these items: bytes each, or two for a pair. Raises OSError for a lost file."""

    def decode(self, raw: Any) -> tuple[Any, Any]:
        """In the graph: raw, as `raw_spec` -> values as `spec`, and owners [pieces] int32, or None (see `Batch`)."""

    def batches(self, items: Sequence[Any], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False) -> Iterator[Batch]:
        """Items in batches, in whatever order is quick, unless `in_order`. What cannot be decoded goes into `refused`
        by its place, with the reason. `progress` is called with the number of items done."""

    def single(self) -> "Input":
        """The same with one piece an item, for training: of texts in chunks the first."""

    def stepped(self) -> "Input":
        """The same in few shapes, for graphs that are compiled anew for each."""

    def shuffled(self, items: Sequence[Any], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """An order to train in: random, and such that batches of `batch_size` in a row are quick to compute."""

    def keys(self, ids: Sequence[str], items: Sequence[Any]) -> Sequence[str]:
        """What decides each item's values: its id, or a hash of that and of how it was cut."""

    def fixed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of one item as `one` wants them. [...] -> [1, ...]."""

    def record(self) -> dict[str, Any]:
        """What the run record says of it; with `save`, enough to make it again."""

    def save(self, folder: Path) -> None:
        """Write what an exported version needs to read texts again (nothing for images)."""

    def client_modules(self) -> dict[str, str]:
        """Reference code for clients outside TensorFlow: file names, each with the module that is copied to it."""


def floats(values: Any) -> Any:
    """Pixels as the floats that networks take, in [0, 255]; tokens stay as they are."""
    import tensorflow as tf

    return tf.cast(values, tf.float32) if values.dtype == tf.uint8 else values


def restored(run: dict[str, Any], folder: Path) -> Input:
    """The input of an exported version, from its run record and folder."""
    if run.get("large"):
        from kerastl.inputs.features import FeatureRows

        return FeatureRows(tuple(run["large"]["shape"]))
    if run["kind"] == "image":
        from kerastl.inputs.pixels import Pixels

        return Pixels(run["input"]["size"])
    from kerastl.inputs.texts import read_texts_input

    return read_texts_input(run["input"], folder)
