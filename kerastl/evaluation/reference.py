"""What a model made of its held-out rows, to compare later inputs with: features, probabilities, sizes, no inputs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.data.examples import Examples, lowest
from kerastl.evaluation.result import Evaluation
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.files import is_file, size_of

FILE = "reference.npz"
ROWS = 1000  # kept, at most


@dataclass(frozen=True)
class Reference:
    """At most 1,000 held-out rows. features: [n, dim] float16; dim is 0 where the cached features are not those of the
    exported model. probabilities: [n, classes] float32, calibrated, of heads that were not fitted on the row. sizes:
    [n], of files in bytes or of texts in characters."""

    features: NDArray[np.float16]
    probabilities: NDArray[np.float32]
    sizes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.probabilities)

    def to_bytes(self) -> bytes:
        """As a .npz file without pickles."""
        file = io.BytesIO()
        np.savez_compressed(file, features=self.features, probabilities=self.probabilities, sizes=self.sizes)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Reference":
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = cls(arrays["features"], arrays["probabilities"], arrays["sizes"])
        except Exception as error:  # of many types, for a damaged archive
            raise ValueError(f"it is no reference of a model: {error}") from error
        if not len(found.features) == len(found.probabilities) == len(found.sizes):
            raise ValueError("its arrays have different lengths")
        return found


def reference_of(features: Features, evaluation: Evaluation, *, with_features: bool) -> Reference:
    """The reference of a model. features: that it was evaluated on. with_features: whether the exported model computes
    these."""
    examples, held_out = features.examples, evaluation.held_out
    chosen = reference_rows(examples, held_out.rows)
    rows = held_out.rows[chosen]
    kept = means_of(features).held_out_rows(rows) if with_features else np.zeros((len(rows), 0), np.float32)
    return Reference(as_kept(kept), np.asarray(examples.task.probabilities(held_out.logits[chosen]),
                                                              np.float32),
                     sizes_of([examples.items[row] for row in rows.tolist()]))


def reference_rows(examples: Examples, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The places among held-out rows of those that are kept: with the lowest content hashes, so that they are a random
    sample that is always the same."""
    return np.sort(lowest(Hashes.of(examples.ids).take(rows), most=ROWS))


def as_kept(features: NDArray[Any]) -> NDArray[np.float16]:
    """Features as a reference has them. Those that are compared with it are rounded likewise, so that the rounding
    itself is no difference; numbers beyond float16's range become its largest."""
    most = float(np.finfo(np.float16).max)
    return np.asarray(np.clip(features, -most, most), np.float16)


def sizes_of(items: Sequence[Any]) -> NDArray[np.float64]:
    """Of paths the sizes of the files in bytes, of bytes their number, of texts the number of characters."""
    return np.array([_size(item) for item in items], np.float64)


def _size(item: Any) -> float:
    if isinstance(item, bytes):
        return float(len(item))
    if isinstance(item, tuple | list):
        return sum(map(_size, item))
    return float(len(item)) if isinstance(item, str) and not is_file(item) else float(size_of(item))
