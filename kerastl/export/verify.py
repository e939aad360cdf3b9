"""Checking an exported model again: every file, whether each format loads, and whether all of them still give the same
predictions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import KerastlError
from kerastl.export.parity import Reference, choose_rows, compare_saved_model, compare_tflite
from kerastl.features.cache import chosen_dir
from kerastl.files import read_bytes
from kerastl.versions.damage import check_manifest, damaged, faults
from kerastl.versions.folder import find_version
from kerastl.versions.large import as_exported, with_weights
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import read_split, restore_examples, restore_input, restore_model
from kerastl.versions.saved_graph import check_tflite, load_saved_model
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
           cache_dir: str | None = None, trust: bool = False) -> VerifyResult:
    """Check every file's SHA-256 and that each format loads, then compare the formats with Keras on at most 256
    held-out rows.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. data: the new location of its data, if they
    moved. weights: the new location of the backbone's folder, for a model that was exported without its backbone.
    trust: also load a graph that contains operations that no model needs.
    Raises CheckFailed that lists every fault: files that are missing or were added or changed, links out of the folder,
    and files that cannot be read or loaded; DataError when the data are gone.
    """
    folder = find_version(model)
    intact, found = _load(folder, trust)
    if found or intact is None:
        raise damaged(folder, found)
    record, cache = with_weights(intact.record, weights), chosen_dir(cache_dir)
    examples = restore_examples(folder, record, data=data, data_dir=data_dir, cache_dir=cache)
    examples = examples.take(choose_rows(examples))  # first: features are then computed for these rows only
    rows = as_exported(examples, record, cache)
    reference = Reference(intact.model, intact.input, rows, np.arange(len(rows)))
    parity = [compare_saved_model(reference, folder)]
    for path, content in _tflite_files(folder):
        parity.append(compare_tflite(reference, path.stem.removeprefix("model_"), content))
    return VerifyResult(str(folder), check_manifest(folder), len(reference.items), tuple(parity))


@dataclass(frozen=True)
class _Intact:
    record: RunRecord
    model: Any
    input: Any


def _load(folder: Path, trust: bool) -> tuple[_Intact | None, list[str]]:
    """A version's record, model and input, and all that is wrong with the folder, a line each."""
    found: list[str] = []

    def attempt(load: Callable[[], Any]) -> Any:
        try:
            return load()
        except KerastlError as error:
            found.append(error.got)
            return None

    attempt(lambda: found.extend(faults(folder)))
    record = attempt(lambda: RunRecord.read(folder))
    if record is None:  # nothing else says what the other files should be
        return None, found
    attempt(lambda: load_saved_model(folder, record, trust))
    model, source = attempt(lambda: restore_model(folder, record)), attempt(lambda: restore_input(folder, record))
    attempt(lambda: read_split(folder))
    for path, content in _tflite_files(folder):
        attempt(partial(check_tflite, str(path), content, trust))
    return _Intact(record, model, source), found


def _tflite_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((path, read_bytes(path)) for path in sorted((folder / "tflite").glob("model_*.tflite")))
