"""The predictions of a version for its held-out rows, in `held_out.npz`: a later version is compared with them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.errors import ModelError
from kerastl.evaluation.result import HeldOutRows
from kerastl.files import read_bytes, write_file
from kerastl.versions.folder import VERIFY

FILE = "held_out.npz"
MOST = 5_000_000  # probabilities that are kept; of more rows and classes only the predicted labels


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions for rows by models that were not trained on them, each content once. ids: [n] content hashes.
    predicted: [n, ...] targets, as the task has them. probabilities: calibrated, [n, classes] float32, or [n, 0] where
    these would be too many."""

    ids: Sequence[str]
    predicted: NDArray[Any]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each content hash."""
        return {content: place for place, content in enumerate(self.ids)}

    def to_bytes(self) -> bytes:
        """As a .npz file without pickles."""
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, ids=Hashes.of(self.ids).raw, predicted=self.predicted,
                            probabilities=self.probabilities)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "HeldOutPredictions":
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                ids, predicted, probabilities = arrays["ids"], arrays["predicted"], arrays["probabilities"]
        except Exception as error:  # of many types, for a damaged archive
            raise ValueError(f"it holds no predictions: {error}") from error
        if ids.ndim != 2 or ids.shape[1] != 16 or ids.dtype != np.uint8 or predicted.dtype.kind not in "iu" or \
                not len(ids) == len(predicted) == len(probabilities) or probabilities.ndim != 2:
            raise ValueError("its arrays do not fit together")
        return cls(Hashes(ids), predicted.astype(np.int64), probabilities)


def held_out_predictions_of(held_out: HeldOutRows) -> HeldOutPredictions:
    """The predictions of an evaluation, as a version keeps them."""
    examples = held_out.examples
    ids = Hashes.of(examples.ids).take(held_out.rows)
    first = ids.first_of_each()
    first = first[ids.take(first).order()]
    size = len(first) * len(examples.classes)
    p = examples.task.probabilities(held_out.logits[first]) if size <= MOST else np.zeros((len(first), 0))
    predicted = held_out.predicted[first]
    return HeldOutPredictions(ids.take(first),
                              predicted.astype(np.int32 if predicted.ndim == 1 else np.uint8), p.astype(np.float32))


def write_held_out(folder: Path, held_out: HeldOutRows) -> None:
    """Write `held_out.npz` into a version folder: hashes, labels and probabilities, no inputs."""
    write_file(folder / FILE, held_out_predictions_of(held_out).to_bytes())


def read_held_out(folder: Path, classes: int) -> HeldOutPredictions | None:
    """The held-out predictions of a version with so many classes; None where it was written without them, by an earlier
    version of kerastl. Raises ModelError for a damaged file."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        kept = HeldOutPredictions.from_bytes(read_bytes(path))
        if kept.probabilities.shape[1] not in (0, classes) or kept.predicted.shape[1:] not in ((), (classes,)) or \
                (kept.predicted.ndim == 1 and len(kept) and not 0 <= kept.predicted.min() <= kept.predicted.max()
                 < classes):
            raise ValueError(f"it is of a model with other classes than the {classes} in run.json")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}", "the file that `kerastl run` wrote", VERIFY) from error
    return kept
