"""TFLite files in a folder of their own, for an app: with their labels, test vectors, reference code, and a manifest
that says which version they come from. The model gets no new version, so no server loads anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.errors import CheckFailed, OptionError
from kerastl.export import test_vectors
from kerastl.export.export import copy_client_code, write_labels, write_tflite
from kerastl.export.mediapipe import mediapipe_file
from kerastl.export.parity import Reference, choose_rows
from kerastl.export.tflite import Interpreter
from kerastl.features.cache import chosen_dir
from kerastl.fields import Section, to_json
from kerastl.files import atomic_folder, file_sha256, local_only, read_bytes, remove_leftovers, write_file
from kerastl.inputs import Input
from kerastl.modality import parse_kinds
from kerastl.versions.damage import require_intact
from kerastl.versions.detector import read_detector
from kerastl.versions.folder import MANIFEST, SIGNATURES, find_version, read_json, write_manifest
from kerastl.versions.large import as_exported, with_weights
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_examples, restore_input, restore_model
from kerastl.versions.sections import Compared, Parity

PURPOSES = {  # of the kinds of files
    "fp32": "LiteRT file in float32: the reference, and for GPUs",
    "fp16": "LiteRT file with float16 weights: half the size, for GPUs and CPUs",
    "dynamic": "LiteRT file with 8-bit weights and float activations: a quarter of the size, for CPUs",
    "int8": "LiteRT file in integers throughout: a quarter of the size, for CPUs, NPUs and other integer hardware",
}


@dataclass(frozen=True)
class TFLiteFiles(Compared, Section):
    """A folder that was written. model: the version folder that its files come from. kinds: of its TFLite files; files:
    all of them, but the manifest. parity: of each kind that was asked for, with those that were not written. copied:
    kinds that the version has, whose figures are those of its record."""

    path: str
    model: str
    kinds: tuple[str, ...]
    files: tuple[str, ...]
    parity: tuple[Parity, ...]
    copied: tuple[str, ...]
    bytes: int

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return self.not_written


def export_tflite(model: str, out: str | Path, tflite: str = "all", *, metadata: str | None = None,
                  data: str | None = None, weights: str | None = None, data_dir: str | None = None,
                  cache_dir: str | None = None) -> TFLiteFiles:
    """Write TFLite files of a model into a new folder; the model itself is not changed, and gets no new version.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. out: the folder, which appears when it is
    complete; it must not exist, or be empty. tflite: kinds separated by commas, or `all`. metadata: instead of these,
    the name of one file for MediaPipe Tasks, made of the version's own file of the kind `tflite` (`all`: fp32). Kinds
    that the version has are copied; others are converted and compared with Keras, for which the data are needed. data:
    their new location, if they moved. weights: the new location of the backbone's folder, for a model that was exported
    without its backbone.

    Raises OptionError for a folder or kinds that cannot be used, ModelError for a damaged version, DataError when the
    data are gone, CheckFailed when no file is within its error bound.
    """
    folder = find_version(model)
    record = with_weights(RunRecord.read(folder), weights)
    target = _new_folder(out, folder)
    kinds = parse_kinds(tflite, record.modality)
    if metadata is not None:
        kinds = ("fp32",) if tflite == "all" else kinds
        _check_metadata(metadata, kinds)
    if not kinds:
        raise OptionError(f"`tflite` is {tflite!r}, so nothing would be written", "kinds of TFLite files",
                          "name one, such as fp32")
    require_intact(folder)
    source = restore_input(folder, record)
    if source.single_spec is None:
        raise OptionError(f"{folder} has no TFLite files: its input, a text as windows of tokens, is not one tensor",
                          "a model with `long=head` or `long=head+tail`", "train again with another `long`")
    own = {part.kind: part for part in record.parity if part.kept and _path(folder, part.kind).is_file()}
    copied = tuple(kind for kind in kinds if kind in own)
    missing = [] if metadata is not None else [kind for kind in kinds if kind not in own]
    with atomic_folder(target) as partial:
        parity = [own[kind] for kind in copied]
        if missing:
            parity += _converted(partial, folder, record, source, missing, data, data_dir, cache_dir)
        names = {kind: metadata or f"model_{kind}.tflite" for kind in kinds}
        for kind in copied if metadata is None else kinds:
            write_file(partial / names[kind], mediapipe_file(folder, record, kind) if metadata else
                       read_bytes(_path(folder, kind)))
        contents = {kind: read_bytes(partial / names[kind]) for kind in kinds if (partial / names[kind]).exists()}
        if not contents:
            raise CheckFailed(f"{', '.join(part.kind for part in parity)}: the predictions differ from Keras by more "
                              "than allowed", parity[0].bound, "choose another kind of file")
        write_labels(partial, record.classes)
        source.save(partial)
        copy_client_code(partial, source)
        test_vectors.write(partial, source, contents, record.classes)
        write_manifest(partial, {
            "source": _source(folder, record), "labels": list(record.classes),
            SIGNATURES: {names[kind]: Interpreter(content).signature for kind, content in contents.items()},
            "tflite": list(contents), "copied": list(copied), "parity": to_json(parity)})
        if target.is_dir():  # an empty one
            target.rmdir()
    listed = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    return TFLiteFiles(str(target), str(folder), tuple(contents), tuple(name for name in listed if name != MANIFEST),
                       tuple(sorted(parity, key=lambda part: kinds.index(part.kind))), copied,
                       sum((target / name).stat().st_size for name in listed))


def _path(folder: Path, kind: str) -> Path:
    return folder / "tflite" / f"model_{kind}.tflite"


def _new_folder(out: str | Path, version: Path) -> Path:
    """The folder to write, checked before the work. Raises OptionError."""
    target = local_only(out, "out")
    home = target.absolute().parent
    if not home.is_dir():
        raise OptionError(f"`out` is {out}, but there is no folder {home}", "a new folder in an existing one",
                          "create that folder first")
    inside, resolved = version.resolve(), home.resolve() / target.name
    if resolved.is_relative_to(inside) or (resolved.parent == inside.parent and target.name.isdecimal()):
        raise OptionError(f"`out` is {out}, which lies in the model's own folder", "a folder of its own: what lies "
                          "there belongs to the model, and is served", "choose another folder")
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise OptionError(f"`out` is {out}, which exists", "a new or an empty folder", "choose another one, or move it")
    remove_leftovers(home, name=target.name)
    return target


def _check_metadata(name: str, kinds: Sequence[str]) -> None:
    if Path(name).name != name or not name.endswith(".tflite"):
        raise OptionError(f"`metadata` is {name!r}", "with `out`, the name of a .tflite file in that folder",
                          "omit the folder, and end the name in .tflite")
    if len(kinds) != 1:
        raise OptionError(f"`tflite` names {len(kinds)} kinds", "the kind of file that `metadata` is made of",
                          "name one, such as fp32")


def _converted(partial: Path, folder: Path, record: RunRecord, source: Input, kinds: Sequence[str], data: str | None,
               data_dir: str | None, cache_dir: str | None) -> list[Parity]:
    """Convert and compare as when a version is written; files within their bound are written."""
    cache = chosen_dir(cache_dir)
    examples = as_exported(restore_examples(folder, record, data=data, data_dir=data_dir, cache_dir=cache), record,
                           cache)
    model: Any = restore_model(folder, record)
    reference = Reference(model, source, examples, choose_rows(examples), calibration=record.calibration,
                          detector=read_detector(folder))
    return write_tflite(partial, model, examples, record.task, record.calibration, kinds, reference)


def _source(folder: Path, record: RunRecord) -> dict[str, Any]:
    """Which version the files come from. Its manifest lists the hash of each of its files."""
    manifest = read_json(folder, MANIFEST)
    return {"name": record.name, "version": record.version, "made": manifest.get("made"),
            "manifest_sha256": file_sha256(folder / MANIFEST), "weights_hash": record.weights_hash,
            "data": manifest.get("data")}
