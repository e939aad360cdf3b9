"""Writes the artifacts of a model into a version folder. One that differs from Keras by more than its bound is not
written."""

import importlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.examples import TEST, Examples, lowest
from kerastl.decision import Calibration
from kerastl.errors import CheckFailed
from kerastl.evaluation.rejection import Detector
from kerastl.export import quantize, saved_model, test_vectors, tflite
from kerastl.export.parity import Evaluated, Reference, checked_saved_model, compare_tflite
from kerastl.files import read_bytes, write_file
from kerastl.inputs import Input
from kerastl.modality import TFLITE_KINDS
from kerastl.model import parts_of
from kerastl.tasks import Task
from kerastl.versions.detector import write_detector
from kerastl.versions.folder import Version
from kerastl.versions.reproduction import fingerprints
from kerastl.versions.restore import write_relabel, write_split
from kerastl.versions.sections import Parity


def export_model(version: Version, model: Any, source: Input, examples: Examples, calibration: Calibration, *,
                 kinds: Sequence[str] = TFLITE_KINDS, evaluated: Evaluated | None = None,
                 detector: Detector | None = None, public: bool = False) -> tuple[Parity, ...]:
    """Write SavedModel, TFLite files, model.keras, labels.txt and split.csv, and compare each artifact with Keras.

    model: backbone and head in one, with logits as output. evaluated: the logits that were evaluated, where features of
    the model's own backbone are known; artifacts are then compared with these, and the model is not run again. A TFLite
    file that exceeds its error bound is not written. detector: computes `unknown_score`; without it, there is no such
    output. public: the examples are made-up ones, not those of the data: nothing of them is written. Raises CheckFailed
    when the SavedModel does, or when the features were wrong: then no version is left behind.
    """
    folder, task = version.folder, examples.task
    saved_model.save(folder, parts_of(model), source, examples.classes, task, calibration, detector)
    reference, first = checked_saved_model(model, source, examples, folder, evaluated, calibration, detector)
    if not first.kept:
        ranks = "" if first.rank is None else f", rank correlation of unknown_score {first.rank:.4f}"
        raise CheckFailed(f"the SavedModel differs from Keras: logits by up to {first.max_difference:.2g}, same label "
                          f"for {first.agreement:.1%} of {first.rows} rows{ranks}", first.bound,
                          "no version was written; please report this as a bug")
    saved_model.write_warmup(folder, version.name, source, source.contents([reference.items[0]]))
    model.save(folder / "model.keras")
    source.save(folder)
    write_labels(folder, examples.classes)
    if detector is not None:
        write_detector(folder, detector)
    if not public:
        _write_data(version, examples)
    if not kinds or source.single_spec is None:
        return (first,)
    lite = folder / "tflite"
    lite.mkdir()
    copy_client_code(lite, source)
    compared = write_tflite(lite, model, examples, task, calibration, kinds, reference)
    test_vectors.write(lite, source, {part.kind: read_bytes(lite / f"model_{part.kind}.tflite") for part in compared
                                      if part.kept}, examples.classes)
    return first, *compared


def _write_data(version: Version, examples: Examples) -> None:
    """Write which rows were used for what, and the fingerprints of the data."""
    write_split(version.folder, examples)
    write_relabel(version.folder, examples)
    data, split = fingerprints(examples)
    version.manifest["data"] = {
        "source": examples.source, "rows": len(examples),
        "fingerprint": data, "split": split,
    }


def write_labels(folder: Path, classes: Sequence[str]) -> None:
    """Write labels.txt, a class a line, in the order of the model's outputs."""
    write_file(folder / "labels.txt", "".join(f"{_one_line(name)}\n" for name in classes))


def copy_client_code(folder: Path, source: Input) -> None:
    """Write the reference code for clients outside TensorFlow beside the TFLite files."""
    for name, module in source.client_modules().items():
        shutil.copyfile(str(importlib.import_module(module).__file__), folder / name)


def write_tflite(folder: Path, model: Any, examples: Examples, task: Task, calibration: Calibration,
                 kinds: Sequence[str], reference: Reference) -> list[Parity]:
    """Convert, compare, and write those that are within their bound as `model_KIND.tflite`; without `unknown_score`
    where its ranks differ by more than theirs. reference: its input has a `single_spec`."""
    source = reference.source
    ranges = list(_calibration_rows(source, examples)) if "int8" in kinds else []
    compared = []
    with tqdm(total=len(kinds), desc="TFLite", unit=" files") as bar:
        for kind, content in tflite.convert(model, source.single_spec, calibration, task.activation, kinds, ranges,
                                             reference.detector):
            parity = compare_tflite(reference, kind, content)
            if parity.kept and parity.without_scores:
                content = quantize.without_unknown_score(content)
                parity = replace(parity, bytes=len(content))
            if parity.kept:
                write_file(folder / f"model_{kind}.tflite", content)
            compared.append(parity)
            bar.update(1)
    return compared


def _calibration_rows(source: Input, examples: Examples) -> Iterator[NDArray[Any]]:
    """Training rows for the int8 ranges: the last hundred by hash; parity compares the first ones."""
    split = examples.split
    rows = np.arange(len(examples))
    if split is not None and split.mode != "cv":
        rows = np.flatnonzero(split.part != TEST)
    chosen = lowest(examples.ids, rows)[-tflite.CALIBRATION_ROWS:]
    for batch in source.batches(examples.take(chosen).items, 32, {}):
        yield from map(source.fixed, batch.values)


def _one_line(name: str) -> str:
    return name.replace("\n", " ").replace("\r", " ")
