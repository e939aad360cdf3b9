"""Exporting a trained model again, as a new version: the same weights, head and figures, with other artifacts."""

from dataclasses import replace
from pathlib import Path

from kerastl.evaluation.reference import FILE as REFERENCE
from kerastl.export.export import export_model
from kerastl.features.cache import chosen_dir
from kerastl.fields import to_json
from kerastl.files import is_mirrored, read_bytes, shown, write_file
from kerastl.modality import parse_kinds
from kerastl.report.report import write_report
from kerastl.versions.damage import require_intact
from kerastl.versions.detector import read_detector
from kerastl.versions.folder import find_version, new_version
from kerastl.versions.held_out import FILE as HELD_OUT
from kerastl.versions.large import as_exported, with_weights
from kerastl.versions.record import FORMAT, RunRecord
from kerastl.versions.restore import restore_examples, restore_input, restore_model


def export_again(model: str, tflite: str = "all", *, data: str | None = None, weights: str | None = None,
                 data_dir: str | None = None, cache_dir: str | None = None) -> RunRecord:
    """Write a new version of a model with other TFLite files; the old version is not changed. Returns the new record.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. tflite: kinds separated by commas, `all` or
    `none`. data: the new location of its data, if they moved. weights: the new location of the backbone's folder, for a
    model that was exported without its backbone. Raises ModelError when a file of the old version changed, CheckFailed
    when the SavedModel differs from Keras, DataError when the data are gone.
    """
    folder = find_version(model)
    record = with_weights(RunRecord.read(folder), weights)
    kinds = parse_kinds(tflite, record.modality)
    require_intact(folder)
    cache = chosen_dir(cache_dir)
    examples = restore_examples(folder, record, data=data, data_dir=data_dir, cache_dir=cache)
    network = restore_model(folder, record)
    source = restore_input(folder, record := _decoded_now(folder, record))
    home = folder.parent if is_mirrored(folder) else folder.resolve().parent
    if (detector := read_detector(folder)) is None:
        print(f"{folder} has no unknown_score, because an earlier version wrote it; the new one has none either. Train "
              "again to get it.", flush=True)
    with new_version(shown(home.parent), home.name) as version:
        parity = export_model(version, network, source, as_exported(examples, record, cache), record.calibration,
                              kinds=kinds, detector=detector)
        for kept in (HELD_OUT, REFERENCE):  # what the model predicted when it was trained stays true
            if (folder / kept).exists():
                write_file(version.folder / kept, read_bytes(folder / kept))
        record = replace(record, format=FORMAT, parity=parity, name=version.name, version=version.number,
                         path=shown(version.path), previous=None)
        write_report(version, record, examples)
    return record


def _decoded_now(folder: Path, record: RunRecord) -> RunRecord:
    """The record with the input of this code, because the new version's graph decodes as this code does."""
    if record.large is not None:  # its input is that of its backbone, which is not exported
        return record
    source = restore_input(folder, record)
    return replace(record, input=to_json(source.record() | source.provenance()))
