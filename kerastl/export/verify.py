"""Checking an exported model again: file hashes, and whether all formats still give the same predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.export.parity import Reference, choose_rows, compare_saved_model, compare_tflite
from kerastl.features.cache import chosen_dir
from kerastl.files import read_bytes
from kerastl.versions.folder import check_manifest, find_version
from kerastl.versions.large import as_exported, with_weights
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_examples, restore_input, restore_model
from kerastl.versions.sections import Compared, Parity


@dataclass(frozen=True)
class VerifyResult(Compared):
    """files: how many have the SHA-256 that the manifest lists. rows: held-out rows that formats were compared on."""

    model: str
    files: int
    rows: int
    parity: tuple[Parity, ...]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl verify --json` prints it."""
        return {"model": self.model, "files": self.files, "rows": self.rows,
                "parity": [artifact.to_dict() for artifact in self.parity]}


def verify(model: str, *, data: str | None = None, weights: str | None = None, data_dir: str | None = None,
           cache_dir: str | None = None) -> VerifyResult:
    """Check every file's SHA-256, then compare the formats with Keras on at most 256 held-out rows.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. data: the new location of its data, if they
    moved. weights: the new location of the backbone's folder, for a model that was exported without its backbone.
    Raises CheckFailed when a file was added, changed or removed, DataError when the data are gone.
    """
    folder = find_version(model)
    files = check_manifest(folder)
    record = with_weights(RunRecord.read(folder), weights)
    cache = chosen_dir(cache_dir)
    examples = restore_examples(folder, record, data=data, data_dir=data_dir, cache_dir=cache)
    examples = examples.take(choose_rows(examples))  # first: features are then computed for these rows only
    rows = as_exported(examples, record, cache)
    reference = Reference(restore_model(folder, record), restore_input(folder, record), rows, np.arange(len(rows)))
    parity = [compare_saved_model(reference, folder)]
    for path in sorted((folder / "tflite").glob("model_*.tflite")):
        parity.append(compare_tflite(reference, path.stem.removeprefix("model_"), read_bytes(path)))
    return VerifyResult(str(folder), files, len(reference.items), tuple(parity))
