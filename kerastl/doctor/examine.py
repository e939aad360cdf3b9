"""Examining a model: every check, in the order in which data pass through it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl import backbones
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.doctor import Diagnosis, network, predictions, skipped
from kerastl.doctor.inputs import input_range, input_tokens
from kerastl.doctor.patient import Patient, Rows, noise, rows_of, sample
from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.features.cache import chosen_dir
from kerastl.model import parts_of
from kerastl.versions.folder import find_version
from kerastl.versions.location import located, source_of
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import as_the_model_knows, restore_input, restore_model


@dataclass(frozen=True)
class Examination:
    """The result of an examination. kind: model or recipe. rows: the number of rows that were used."""

    patient: str
    kind: str
    rows: int
    findings: tuple[Diagnosis, ...]

    def __repr__(self) -> str:
        problems = ", ".join(self.problems) or "none"
        return f"Examination({self.patient}: {len(self.findings)} checks, problems: {problems})"

    @property
    def problems(self) -> tuple[str, ...]:
        """The names of the checks that found something wrong."""
        return tuple(finding.name for finding in self.findings if finding.ok is False)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The names of the checks that were skipped or could not tell."""
        return tuple(finding.name for finding in self.findings if finding.ok is None)

    @property
    def failed(self) -> bool:
        """Whether something is wrong."""
        return bool(self.problems)

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl doctor --json` prints it."""
        return {"patient": self.patient, "kind": self.kind, "rows": self.rows,
                "findings": [finding.to_dict() for finding in self.findings], "wrong": list(self.problems)}


def examine_model(model: str, *, data: str | None = None, options: ReadOptions = READ_AS_USUAL,
                  data_dir: str | None = None, cache_dir: str | None = None) -> Examination:
    """Examine an exported model. model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. data: labelled
    data; default: the data it was trained on. options: of reading them; default: as in training. Checks that need data
    are skipped if it is gone.

    Raises OptionError for a model that was exported without its backbone, DataError when `data` cannot be read.
    """
    folder = find_version(model)
    record = RunRecord.read(folder)
    if record.large is not None:
        raise OptionError(f"{model} was exported without its backbone ({record.backbone})",
                          "a model that was exported with its backbone", "check its predictions: kerastl verify")
    try:
        place = source_of(folder, record, data)
        examples: Any = read_labelled(
            record.modality_name, place, options=options.over(record.read_options.for_source(place)),
            data_dir=data_dir or located(folder, record, record.data_dir), cache_dir=chosen_dir(cache_dir))
        examples = sample(as_the_model_knows(examples, record))
    except DataError as error:
        if data is not None:
            raise
        examples = f"no data ({error.got}); set `data` to its location"
    source = restore_input(folder, record)
    fingerprint = _own_fingerprint(record) if hasattr(source, "tokenizer") else None
    patient = Patient(restore_model(folder, record), source, examples, record.task, True, fingerprint)
    return Examination(model, "model", 0 if isinstance(examples, str) else len(examples), tuple(examine(patient)))


def examine(patient: Patient) -> list[Diagnosis]:
    """All checks of one patient."""
    backbone, head, _ = parts_of(patient.model)
    rows = patient.examples if isinstance(patient.examples, str) else rows_of(patient, patient.examples)
    values = noise(patient.input) if isinstance(rows, str) else rows.values
    outputs = patient.model.output_shape[-1]
    truth = (np.eye(outputs, dtype=np.float32)[np.arange(len(values)) % outputs] if isinstance(rows, str) else
             rows.truth[:len(values)])
    step = network.one_step(patient.model, values, truth)
    return [_entrance(patient, backbone, rows), network.batch_norm(backbone, step), network.frozen(backbone, step),
            network.steady(patient.model, values), network.precision(patient.model), *_labels(patient, head, rows)]


def _entrance(patient: Patient, backbone: Any, rows: Rows | str) -> Diagnosis:
    """The check of what enters the backbone: token ids, or the range of pixels."""
    tokenizer = getattr(patient.input, "tokenizer", None)
    if isinstance(rows, str):
        return skipped("input range" if tokenizer is None else "input tokens", rows)
    if tokenizer is None:
        return input_range(backbone, rows.values)
    return input_tokens(backbone, rows.values, tokenizer, patient.fingerprint, patient.input.record()["max_length"])


def _labels(patient: Patient, head: Any, rows: Rows | str) -> list[Diagnosis]:
    """The checks of predictions against labels."""
    if isinstance(rows, str):
        return [skipped(predictions.LABELS, rows), skipped(predictions.LEARNS, rows)]
    labels = (predictions.shifted(rows.logits, rows.targets, rows.classes) if patient.trained else
              skipped(predictions.LABELS, "a recipe has no trained model; run doctor on the exported model instead"))
    return [labels, predictions.learns(head, rows.features, rows.truth, task=patient.task, raw=rows.raw)]


def _own_fingerprint(record: RunRecord) -> str | None:
    """Of the tokenizer that the model's backbone comes with, if that backbone can be loaded."""
    try:
        backbone: Any = backbones.load(record.backbone, record.weights, layer=record.feature_layer,
                                       pooling=record.pooling, pickles=record.config.get("pickles", False))
    except KerastlError:
        return None  # the finding says that there was nothing to compare with
    return str(backbone.input.tokenizer.fingerprint) if backbone.weights_hash == record.weights_hash else None
