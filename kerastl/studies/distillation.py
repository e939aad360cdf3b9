"""Distilling: an exported model teaches a smaller one, which learns the teacher's probabilities with the labels.

Hinton et al. 2015, https://arxiv.org/abs/1503.02531. The teacher's temperature is the one that was fitted on its own
validation rows, so what it teaches is as sure as it is right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN, Examples
from kerastl.errors import OptionError
from kerastl.export.parity import Reference, choose_rows, compare_tflite
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.fill import fill
from kerastl.inputs import Input
from kerastl.model import Predictor, single_row_latency
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_examples, restore_input, restore_model
from kerastl.versions.sections import DistilledForm

SHARE = 0.5  # of the teacher in what is aimed at; the rest is the label
BATCH = 32
TIMED = 30  # single rows that a latency is the middle of


@dataclass(frozen=True)
class Teacher:
    """An exported model, loaded to teach. `weights` names the numbers in it."""

    folder: Path
    record: RunRecord
    model: Any  # keras.Model: values -> logits
    input: Input
    weights: str

    def source(self, data: str | None, data_dir: str | None) -> dict[str, Any]:
        """How its data are read, where they are now or were; for the student's record."""
        used = self.record.config
        return {"data": data or used["data"], "data_dir": data_dir or used.get("data_dir"),
                "text_column": used.get("text_column"), "label_column": used.get("label_column")}


def load_teacher(model: str) -> Teacher:
    """The teacher in `saved_models/NAME` or a version's folder. Raises ModelError when there is none.

    Raises OptionError for one that was cross-validated: it has been fitted on every row, also on those that would judge
    its student.
    """
    folder = find_version(model)
    record = RunRecord.read(folder)
    if record.split == "cv":
        raise OptionError(f"--teacher {model} was fitted on every row, for its figures came from cross-validation",
                          "a teacher that has not seen the rows that judge its student",
                          "train it with --split holdout")
    if record.large:
        raise OptionError(f"--teacher {model}, whose backbone ({record.backbone}) stays apart",
                          "a teacher that was exported whole", "choose one with a smaller backbone")
    loaded = restore_model(folder, record)
    return Teacher(folder, record, loaded, restore_input(folder, record), weights_hash(loaded))


def lesson(teacher: Teacher, data: str | None = None, *, data_dir: str | None = None, cache_dir: Path | None = None
           ) -> Examples:
    """The rows that the teacher was made from, each on the side that it had, so that no row judges which the teacher
    was fitted on. data: where they are now, if not where they were. Raises DataError when they are gone."""
    return restore_examples(teacher.folder, teacher.record, data=data, data_dir=data_dir, cache_dir=cache_dir)


def teach(teacher: Teacher, features: Features, cache_dir: Path) -> Features:
    """The same features, whose examples aim at the teacher's probabilities and the labels, half and half. The teacher's
    logits on the training rows are computed once and kept in the cache."""
    examples, split = features.examples, features.examples.split
    assert split is not None, "split the examples before teaching"
    rows = split.rows(TRAIN)
    logits = _logits(teacher, examples, rows, cache_dir).astype(np.float64)
    p = examples.task.probabilities(logits, teacher.record.temperature)
    aims = examples.one_hot()
    aims[rows] = SHARE * p + (1 - SHARE) * aims[rows]
    return replace(features, examples=replace(examples, soft_targets=aims))


def compare_forms(teacher: Teacher, student: Any, source: Input, folder: Path, examples: Examples
                  ) -> list[DistilledForm]:
    """Accuracy, size and latency of both, in Keras and in each TFLite file that there is, on the same held-out rows, at
    most 256. student: the spliced model, exported to `folder`; source: its input."""
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
        found = compare_tflite(reference, path.stem.removeprefix("model_"), path.read_bytes())
        yield DistilledForm(who, found.kind, len(rows), accuracy + found.accuracy_change, found.bytes,
                            found.milliseconds)


def _logits(teacher: Teacher, examples: Examples, rows: NDArray[np.intp], cache_dir: Path) -> NDArray[np.float32]:
    """[len(rows), classes], from the cache where they are there."""
    source = teacher.input.single()
    space = Space(cache_dir, SpaceKey("teacher", teacher.weights, f"{source.version} {source.record()}", "logits", "",
                                      "float32", (len(examples.classes),)))

    def computed(items: Sequence[Any], refused: dict[int, str], progress: Any
                 ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
        predict = Predictor(teacher.model)
        for batch in source.batches(items, BATCH, refused, progress):
            yield batch.places, predict(batch)

    fill(space, examples, examples.ids, rows.tolist(), computed, description="teacher")
    return space.gather([examples.ids[row] for row in rows])
