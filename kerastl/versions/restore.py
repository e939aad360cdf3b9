"""A version's model, input and data again, for exporting, verifying and evaluating it later."""

import csv
import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.examples import PARTS, SHOWN, Examples, SkippedRows, Split
from kerastl.data.labels import matched
from kerastl.data.read import read_labelled
from kerastl.data.relabel import read_corrections, relabelled, write_corrections
from kerastl.errors import DataError, ModelError
from kerastl.files import is_file
from kerastl.inputs import Input, restored
from kerastl.inputs.features import FeatureRows
from kerastl.versions.damage import described
from kerastl.versions.folder import KERAS_MODEL, RECORD, VERIFY, read_json
from kerastl.versions.location import located, source_of
from kerastl.versions.record import RunRecord
from kerastl.versions.split_file import SPLIT_FILE, Parts, parts_in, write_parts

RELABEL_FILE = "relabel.csv"
NO_CLASS = "the model has no such class"


def restore_model(folder: Path, record: RunRecord) -> Any:
    """The model of backbone and head, a keras.Model, from model.keras. Raises ModelError when it does not load."""
    import keras

    from kerastl.heads import register_layers

    register_layers()
    for module in record.modality.layer_modules:
        importlib.import_module(module)
    try:
        return keras.models.load_model(folder / KERAS_MODEL, compile=False)
    except Exception as error:  # of any type: Keras' loader fails in many ways on a damaged file
        raise ModelError(f"{folder / KERAS_MODEL} does not load: {described(folder, error)}",
                         "the file that `kerastl run` wrote", VERIFY) from error


def restore_input(folder: Path, record: RunRecord) -> Input:
    """What the exported model takes: that of its backbone, or features where the head was exported alone."""
    if record.large is not None:
        return FeatureRows(record.large.shape)
    return restored(record.modality, record.input, folder)


def write_split(folder: Path, examples: Examples) -> None:
    """Write split.csv: the content hash of every row, its part (train, validation, test or fold N), and its name in
    the source, which is only for people: one that a spreadsheet would take for a formula has an apostrophe in front.
    `kerastl evaluate` finds out from it which rows were used in training."""
    write_parts(folder, examples.ids, split_parts(examples), examples.origins)


def write_relabel(folder: Path, examples: Examples) -> None:
    """Write relabel.csv, the corrections of labels that were applied, so that the data can be restored; nothing where
    there were none."""
    if examples.corrections is not None:
        write_corrections(folder / RELABEL_FILE, examples.corrections)


def is_private(folder: Path) -> bool:
    """Whether a version was trained with `private`. Raises ModelError where run.json cannot be read."""
    return read_json(folder, RECORD).get("private") is not None


def read_split(folder: Path) -> Parts:
    """The part of each content hash: "train", "validation", "test" or "fold N". Version 0.1 wrote no names.

    Raises ModelError when split.csv is missing or damaged, and for a private version, which has none.
    """
    path = folder / SPLIT_FILE
    if not is_file(path) and is_file(folder / RECORD) and is_private(folder):
        raise ModelError(f"{folder} was trained with `private`: it does not keep which rows it was trained on",
                         "a version that was trained without `private`", "give new data to `kerastl evaluate` and "
                         "`kerastl predict`; `kerastl verify` checks its files; its TFLite files are chosen when it "
                         "is trained, by `tflite`")
    try:
        return parts_in(path)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise ModelError(f"{path} cannot be read: {described(folder, error)}", "the file that `kerastl run` wrote",
                         VERIFY) from error


def split_parts(examples: Examples) -> Sequence[str]:
    """The part of each row in words; empty for examples that are not split."""
    return examples.split.names if examples.split else [""] * len(examples)


def as_the_model_knows(examples: Examples, record: RunRecord) -> Examples:
    """The same rows with the model's classes in the model's order. A class is matched by its name, by the normal form
    of it, or by what it looks like where that is unambiguous (`0.0` and `0`), and the latter are noted. Rows of other
    classes are skipped and counted by class.

    Raises DataError when no row is left, or when the rows are labelled for another task.
    """
    task, theirs = record.task, examples.task
    if theirs is not task:
        raise DataError(f"{examples.source} has {theirs.noun}", task.noun, "use data labelled like the training data")
    pairs = matched(examples.classes, record.classes)
    unknown = {name: n for name, n in examples.counts().items() if name not in pairs}
    skipped = SkippedRows()
    for name in unknown:
        skipped.add(name, NO_CLASS, rows=0)
    if task.exclusive and any(unknown.values()):
        skipped.rows[NO_CLASS, False] = Counter(unknown)
    place = {c: record.classes.index(pairs[name]) for c, name in enumerate(examples.classes) if name in pairs}
    labels = [task.classes_of(target) for target in examples.targets]
    known = [row for row, classes in enumerate(labels) if not classes or any(c in place for c in classes)]
    if not task.exclusive:  # a row without any of the model's labels is an example of none
        known = list(range(len(labels)))
    if not known or not place:
        raise DataError(f"the model knows none of the classes of {examples.source}: {_listed(examples.classes)}",
                        f"some of {_listed(record.classes)}", "check the data, or the model")
    targets = task.targets_of([[place[c] for c in labels[row] if c in place] for row in known], len(record.classes))
    rest = replace(examples.take(known), classes=record.classes, targets=targets)
    renamed = ", ".join(f"{ascii(name)} as {ascii(ours)}" for name, ours in pairs.items() if name != ours)
    notes = [f"labels read as classes of the model: {renamed}"] if renamed else []
    return replace(rest, notes=(*rest.notes, *notes)).with_skipped(skipped)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def restore_examples(folder: Path, record: RunRecord, *, data: str | None = None, data_dir: str | None = None,
                     cache_dir: str | Path | None = None) -> Examples:
    """The rows that a version was made from, each in its part of the split, read again from their source or from
    `data`.

    Raises DataError when none of them is there any more.
    """
    source = source_of(folder, record, data)
    parts = read_split(folder)
    examples = read_labelled(record.modality_name, source, options=record.read_options.for_source(source),
                             cache_dir=cache_dir, data_dir=data_dir or located(folder, record, record.data_dir))
    if (corrections := folder / RELABEL_FILE).exists():
        examples = relabelled(examples, read_corrections(corrections), lenient=True)
    rows = np.flatnonzero(parts.known(examples.ids))
    if not len(rows):
        raise DataError(f"{source} holds none of the {len(parts)} rows that {folder} was trained on", "those rows",
                        "set `data` to the new location")
    examples = as_the_model_knows(examples.take(rows), record)
    part = parts.of(examples.ids, "")
    numbers = np.array([int(name.removeprefix("fold ")) if name.startswith("fold ") else PARTS.get(name, -1)
                        for name in part.names], np.int8)
    return replace(examples, split=Split(record.split, record.split_reason, numbers[part.codes]))
