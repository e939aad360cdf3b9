"""From what a client sends (the bytes of an image, a text) to what a network takes, in the same way everywhere.

An `Input` describes this for one backbone: `inputs.pixels.Pixels` for images, `inputs.texts.Texts` for texts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.fields import Section, key
from kerastl.modality import Modality

EMPTY_TEXT = "empty text"  # in messages
_SOMETHING = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]")
Text = str | tuple[str, str]  # a text, or a pair of texts
Shape = tuple[int | None, ...]  # of one example's features: (dim,), (height, width, channels), (length, dim)


@dataclass(frozen=True)
class Batch:
    """Decoded items. places: the index of each row among the requested items. values: [pieces, ...].

    Usually a piece is a row. If a row consists of several pieces (the windows of a long text), owners, [pieces]
    ascending, contains for each piece the index of its row in `places`.
    """

    places: list[int]
    values: NDArray[Any]
    owners: NDArray[np.int32] | None = None

    def merged(self, pieces: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean of each row over its pieces. [pieces, dim] -> [len(places), dim]."""
        if self.owners is None:
            return pieces
        first = np.searchsorted(self.owners, np.arange(len(self.places)))
        counts = np.diff(np.append(first, len(self.owners)))
        return (np.add.reduceat(pieces, first, axis=0) / counts[:, None]).astype(np.float32)


@dataclass(frozen=True)
class TokenLengths(Section):
    """Tokens per text, special tokens included, before truncation, over the rows that are not held out. truncated: of
    all `rows`."""

    median: int
    p99: int
    longest: int
    rows: int
    truncated: int = key("cut")


class Input(Protocol):
    """From what a client sends to what a network takes, in Python and in the graph."""

    @property
    def modality(self) -> Modality | None:
        """The modality; None for features, which are decoded already."""

    @property
    def raw_name(self) -> str:
        """The name of the serving signature's input."""

    @property
    def values_name(self) -> str:
        """The name of the decoded input."""

    @property
    def version(self) -> str:
        """Identifies how items are decoded; part of the cache's key."""

    @property
    def raw_spec(self) -> Any:
        """tf.TensorSpec of what a client sends, [batch] or [batch, 2] string."""

    @property
    def spec(self) -> Any:
        """tf.TensorSpec of what the network takes, [batch, ...]."""

    @property
    def single_spec(self) -> Any:
        """tf.TensorSpec of one example of fixed size, [1, ...], which a TFLite file takes. None if an example may
        consist of several pieces."""

    @property
    def network_length(self) -> int | None:
        """How many values of an example the network takes, where a head takes more than these; else None."""

    def tables(self) -> Any:
        """What a saved graph that decodes must reference, such as lookup tables; or None."""

    def contents(self, items: Sequence[Any]) -> list[Any]:
        """What a client would send for these items: bytes for each, two for a pair. Raises OSError for a missing
        file."""

    def decode(self, raw: Any) -> tuple[Any, Any]:
        """In the graph: raw, as `raw_spec` -> values, as `spec`, and owners [pieces] int32 or None (see `Batch`)."""

    def decoded(self, contents: Sequence[Any], refused: dict[int, str]) -> Batch:
        """As `decode`, for contents of which some cannot be decoded: these are added to `refused`, as by `batches`."""

    def batches(self, items: Sequence[Any], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False,
                ids: Sequence[str] = ()) -> Iterator[Batch]:
        """Items in batches, in the fastest order, or in their own order if `in_order`. Items that cannot be decoded are
        added to `refused`: their index, with the reason. progress: called with the number of finished items. ids: the
        content hashes of the items; a file that has other content by now is refused, not decoded."""

    def single(self) -> "Input":
        """The same with one piece per item, for training: of a text in chunks the first."""

    def for_network(self) -> "Input":
        """The same with only the values that the network takes."""

    def stepped(self) -> "Input":
        """The same with few distinct shapes, for graphs that are compiled for each shape."""

    def shuffled(self, items: Sequence[Any], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """A random order for training, in which consecutive batches of `batch_size` are fast to compute."""

    def keys(self, ids: Sequence[str], items: Sequence[Any]) -> Sequence[str]:
        """What determines the values of each item: its id, or a hash of its id and of how it was truncated."""

    def changed(self, items: Sequence[Any]) -> Sequence[int]:
        """The places of items that the graph of the exported version may decode otherwise than this code."""

    def fixed(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values of one item in the shape of `single_spec`. [...] -> [1, ...]."""

    def provenance(self) -> dict[str, Any]:
        """What a version records beside `record`: how the graph that is exported now decodes. It is part of no key."""

    def record(self) -> dict[str, Any]:
        """The entry in the run record of a version that this code exports, which together with the files of `save` is
        enough to restore the input."""

    def save(self, folder: Path) -> None:
        """Write the files that an exported version needs to decode its input, if any."""

    def client_modules(self) -> dict[str, str]:
        """Reference code for clients outside TensorFlow: file names, each with the module that is copied to it."""


def is_empty_text(text: str) -> bool:
    """Whether a text has nothing but blanks and control characters, which become spaces before tokenization."""
    return _SOMETHING.search(text) is None


def floats(values: Any) -> Any:
    """Pixels as float32 in [0, 255], as networks take them; tokens are returned unchanged."""
    import tensorflow as tf

    return tf.cast(values, tf.float32) if values.dtype == tf.uint8 else values


def check_unchanged(items: Sequence[Any], refused: Mapping[int, str]) -> None:
    """Raise DataError if one of the items, all of which could be decoded before, was refused now."""
    for place, reason in refused.items():
        raise DataError(f"{items[place]} can no longer be read: {reason}", "files that stay in place while a model "
                        "trains", "restore the file and run again: finished epochs are kept")


def restored(modality: Modality, record: dict[str, Any], folder: Path) -> Input:
    """The input of an exported version. record: as `Input.record` gave it; folder: as `Input.save` was given it."""
    restored_input: Input = modality.load(modality.input_module, "restore_input")(record, folder)
    return restored_input
