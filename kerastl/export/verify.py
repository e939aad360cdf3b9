"""Checking an exported model again: every file, whether each format loads, and whether all of them still give the same
predictions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.errors import DataError, KerastlError, ModelError
from kerastl.evaluation.rejection import Detector
from kerastl.export.parity import Reference, choose_rows, compare_saved_model, compare_tflite
from kerastl.features.cache import chosen_dir
from kerastl.files import read_bytes, shown
from kerastl.versions.damage import check_manifest, damaged, faults
from kerastl.versions.detector import read_detector
from kerastl.versions.folder import MANIFEST, VERIFY, is_export, locate_version, read_json
from kerastl.versions.large import as_exported, with_weights
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import read_split, restore_examples, restore_input, restore_model
from kerastl.versions.saved_graph import check_tflite, load_saved_model
from kerastl.versions.sections import Compared, Parity
from kerastl.versions.token_models import is_token_model, loader_of

FILES_ONLY = "predictions were not compared, because only files were checked"
PRIVATE = "predictions were not compared, because a private version does not keep which rows it was trained on"


@dataclass(frozen=True)
class VerifyResult(Compared):
    """files: how many have the SHA-256 that the manifest lists. rows: held-out rows that formats were compared on.
    notes: what the user should know about the comparison."""

    model: str
    files: int
    rows: int
    parity: tuple[Parity, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl verify --json` prints it."""
        return {"model": self.model, "files": self.files, "rows": self.rows, "notes": list(self.notes),
                "parity": [artifact.to_dict() for artifact in self.parity]}


def verify(model: str, *, data: str | None = None, weights: str | None = None, data_dir: str | None = None,
           cache_dir: str | None = None, trust: bool = False, files_only: bool = False) -> VerifyResult:
    """Check every file's SHA-256 and that each format loads, then compare the formats with Keras on at most 256
    held-out rows.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder; or a folder that `export_tflite` wrote, of
    which the files are checked. data: the new location of its data, if they
    moved. weights: the new location of the backbone's folder, for a model that was exported without its backbone.
    trust: also load a graph that contains operations that no model needs. files_only: check the files and that each
    format loads, without the data.
    Raises CheckFailed that lists every fault: files that are missing or were added or changed, links out of the folder,
    and files that cannot be read or loaded; DataError when the data are gone.
    """
    folder = locate_version(model)
    if is_export(folder):
        return _verify_export(folder, trust)
    if _on_tokens(folder):
        return _verify_tokens(folder, trust)
    intact, found = _load(folder, trust)
    if found or intact is None:
        raise damaged(folder, found)
    if files_only or intact.record.private is not None:
        reason = FILES_ONLY if files_only else PRIVATE
        return VerifyResult(shown(folder), check_manifest(folder), 0, (), (reason,))
    record, cache = with_weights(intact.record, weights), chosen_dir(cache_dir)
    try:
        examples = restore_examples(folder, record, data=data, data_dir=data_dir, cache_dir=cache)
    except DataError as error:
        raise DataError(f"the files of {folder} are whole and load, but their predictions cannot be compared: "
                        f"{error.got}", error.expected or "the data that the model was trained on",
                        "give their new location as `data`, or set `files_only`") from error
    examples = examples.take(choose_rows(examples))  # first: features are then computed for these rows only
    rows = as_exported(examples, record, cache)
    reference = Reference(intact.model, intact.input, rows, np.arange(len(rows)), calibration=record.calibration,
                          detector=intact.detector)
    parity = [compare_saved_model(reference, folder)]
    for path in _tflite_files(folder):
        compared = compare_tflite(reference, path.stem.removeprefix("model_"), read_bytes(path))
        parity.append(replace(compared, kept=compared.kept and not compared.without_scores))
    return VerifyResult(shown(folder), check_manifest(folder), len(reference.items), tuple(parity), _notes(reference))


def _verify_export(folder: Path, trust: bool) -> VerifyResult:
    """The files of a folder of TFLite files. Raises CheckFailed."""
    found = faults(folder)
    for path in sorted(folder.glob("*.tflite")):
        try:
            _check_tflite(path, trust)
        except ModelError as error:
            found.append(error.got)
    if found:
        raise damaged(folder, found)
    source = read_json(folder, MANIFEST).get("source", {})
    note = f"TFLite files of {source.get('name')}, version {source.get('version')}; {FILES_ONLY}"
    return VerifyResult(shown(folder), check_manifest(folder), 0, (), (note,))


def _on_tokens(folder: Path) -> bool:
    """Whether the record of a version says so. A damaged one says nothing; its damage is listed with the rest."""
    try:
        return is_token_model(folder)
    except ModelError:
        return False


def _verify_tokens(folder: Path, trust: bool) -> VerifyResult:
    """The files of a model on tokens, and that it loads. Raises CheckFailed."""
    found = faults(folder)
    try:
        loader_of(folder).load_model(folder, trust)
        for path in _tflite_files(folder):
            _check_tflite(path, trust)
    except ModelError as error:
        found.append(error.got)
    if found:
        raise damaged(folder, found)
    return VerifyResult(shown(folder), check_manifest(folder), 0, (), (
        "a model on tokens: its files are whole and load. Predictions were compared when it was written, and are not "
        "compared again",))


def _notes(reference: Reference) -> tuple[str, ...]:
    if not reference.changed:
        return ()
    return (f"{len(reference.changed):,} of {len(reference.items):,} images are of formats that are decoded otherwise "
            "since this version was exported (such as GIF, or PNG and WebP with EXIF). The version decodes them with "
            "its own graph, whose labels for these files were not compared; export the model again for the new "
            "decoder: kerastl export --new-version",)


@dataclass(frozen=True)
class _Intact:
    record: RunRecord
    model: Any
    input: Any
    detector: Detector | None


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
    if record.private is None:
        attempt(lambda: read_split(folder))
    for path in _tflite_files(folder):
        attempt(partial(_check_tflite, path, trust))
    return _Intact(record, model, source, attempt(lambda: read_detector(folder))), found


def _check_tflite(path: Path, trust: bool) -> None:
    try:
        content = read_bytes(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", "the file that `kerastl run` wrote",
                         VERIFY) from error
    check_tflite(str(path), content, trust)


def _tflite_files(folder: Path) -> list[Path]:
    return sorted((folder / "tflite").glob("model_*.tflite"))
