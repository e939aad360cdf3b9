"""Distillation: a small student learns the probabilities of an exported model, the teacher, together with the labels.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. The probabilities are calibrated, as
fitted on the teacher's own validation rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.errors import OptionError
from kerastl.export.parity import Reference, choose_rows, compare_tflite
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.fill import fill
from kerastl.files import read_bytes
from kerastl.inputs import Input, check_unchanged
from kerastl.model import Predictor, single_row_latency
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_examples, restore_input, restore_model
from kerastl.versions.saved_graph import check_graph
from kerastl.versions.sections import DistilledForm

SHARE = 0.5  # of the teacher in the soft targets; the rest is the label
BATCH = 32
TIMED = 30  # single rows, whose median latency is reported


@dataclass(frozen=True)
class Teacher:
    """An exported model that teaches. weights: a hash of its weights."""

    folder: Path
    record: RunRecord
    model: Any  # keras.Model: values -> logits
    input: Input
    weights: str

    def source(self, data: str | None, data_dir: str | None) -> dict[str, Any]:
        """The source of its data, for the student's record. data, data_dir: the new location, if the data moved."""
        used = self.record
        return {"data": data or used.data, "data_dir": data_dir or used.data_dir,
                **asdict(used.read_options)}


def load_teacher(model: str, *, trust: bool = False) -> Teacher:
    """The teacher in `saved_models/NAME` or a version folder. trust: as `kerastl.load` takes it. Raises ModelError when
    there is none, or when its graph contains operations that no model needs.

    Raises OptionError for a cross-validated teacher: it was fitted on every row, also on those that would be held out
    for its student.
    """
    folder = find_version(model)
    record = RunRecord.read(folder)
    if record.split == "cv":
        raise OptionError(f"`teacher` was fitted on every row, because it was cross-validated ({model})",
                          "a teacher that was not trained on the rows that are held out for its student",
                          "train it with `split=holdout`")
    if record.large:
        raise OptionError(f"`teacher` was exported without its backbone, {record.backbone} ({model})",
                          "a teacher that was exported with its backbone", "choose one with a smaller backbone")
    if not trust:  # its SavedModel is compared with the student's
        check_graph(folder)
    network = restore_model(folder, record)
    return Teacher(folder, record, network, restore_input(folder, record), weights_hash(network))


def lesson(teacher: Teacher, data: str | None = None, *, data_dir: str | None = None,
           cache_dir: str | Path | None = None) -> Examples:
    """The rows of the teacher in the teacher's split, so that no held-out row was used to train the teacher. data: the
    new location of the data, if it moved. Raises DataError if the data is gone."""
    return restore_examples(teacher.folder, teacher.record, data=data, data_dir=data_dir, cache_dir=cache_dir)


def teach(teacher: Teacher, features: Features) -> Features:
    """The same features with soft targets for the training rows: the mean of the teacher's probabilities and the
    labels. The teacher's logits for these rows are computed once and cached."""
    examples = features.examples
    rows = split_of(examples).rows(TRAIN)
    logits = _logits(teacher, examples, rows, features.cache_dir).astype(np.float64)
    p = examples.task.probabilities(logits, teacher.record.calibration)
    aims = examples.one_hot()
    aims[rows] = SHARE * p + (1 - SHARE) * aims[rows]
    return replace(features, examples=replace(examples, soft_targets=aims))


def compare_forms(teacher: Teacher, student: Any, source: Input, folder: Path, examples: Examples
                  ) -> list[DistilledForm]:
    """Accuracy, size and latency of teacher and student, in Keras and in each TFLite file, on the same held-out rows
    (at most 256). student: the keras.Model, exported to `folder`; source: its input."""
    rows = choose_rows(examples)
    return [*_forms("teacher", teacher.model, teacher.input, teacher.folder, examples, rows),
            *_forms("student", student, source, folder, examples, rows)]


def _forms(who: str, model: Any, source: Input, folder: Path, examples: Examples, rows: NDArray[np.intp]
           ) -> Iterator[DistilledForm]:
    reference = Reference(model, source, examples, rows)
    accuracy = reference.accuracy(reference.logits)
    size = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    yield DistilledForm(who, "keras", len(rows), accuracy, size,
                        single_row_latency(model, source, reference.items[:TIMED]))
    for path in sorted((folder / "tflite").glob("model_*.tflite")):
        file = compare_tflite(reference, path.stem.removeprefix("model_"), read_bytes(path))
        yield DistilledForm(who, file.kind, len(rows), accuracy + file.accuracy_change, file.bytes, file.milliseconds)


def _logits(teacher: Teacher, examples: Examples, rows: NDArray[np.intp], cache_dir: Path) -> NDArray[np.float32]:
    """The teacher's logits [len(rows), classes]; what the cache lacks is computed."""
    source = teacher.input.single()
    space = Space(cache_dir, SpaceKey("teacher", teacher.weights, f"{source.version} {source.record()}", "logits", "",
                                      "float32", (len(examples.classes),)))

    def computed(some: Examples, refused: dict[int, str], progress: Any
                 ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
        predict = Predictor(teacher.model)
        for batch in source.batches(some.items, BATCH, refused, progress, ids=some.ids):
            yield batch.places, predict(batch)

    # how texts are truncated is part of the space's key; how files are decoded may be part of a row's
    keys = source.keys(examples.ids, examples.items) if examples.modality.in_files else examples.ids
    check_unchanged(examples.items,
                    fill(space, examples, keys, rows.tolist(), computed, description="teacher").refused)
    return space.gather([keys[row] for row in rows])
