"""Explaining the answers of an exported model for files, folders, tables and texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kerastl.data.input_row import InputRow
from kerastl.data.prediction_inputs import input_rows
from kerastl.errors import DataError, OptionError, all_of, at_least, broken, expect, unknown
from kerastl.evaluation.rejection import LABEL
from kerastl.explanation.explainer import Explained, Explainer, explainer_for
from kerastl.explanation.record import ExplainedRow
from kerastl.files import shown
from kerastl.inputs import Input
from kerastl.inputs.unknown_texts import TextCheck
from kerastl.modality import Modality, modality_named
from kerastl.model import parts_of
from kerastl.serving.reading import reading_of
from kerastl.versions.damage import require_unchanged
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_input, restore_model

BLOCK = 8  # inputs that are explained at a time, between steps of the progress bar
NOT_CHECKED = ("Whether these explanations can be trusted was not checked when the model was trained, by an earlier "
               "version; train it again to check it")
PRIVATE = ("Whether these explanations can be trusted was not checked, because the check would reveal training data "
           "of a private model")
DIGITS = 4


@dataclass(frozen=True)
class ExplainResult:
    """Explanations in the order of the inputs; with several labels per row, one for each label that is predicted.

    rows: as `ExplainedRow`, without contributions where they are withheld. items: of each row, the path or the text.
    method, exact: see `Explanations`. withheld, check: whether the explanations failed their checks in training, and
    the result in words. errors: inputs without a prediction, with the reason. notes: what the user should know. out:
    the page that was written. predicted: of each row, whether the explained class is predicted; it is not where another
    `label` was asked for, or where with several labels per row none is predicted.
    """

    model: str
    modality_name: str
    method: str
    exact: bool
    rows: tuple[ExplainedRow, ...]
    items: tuple[Any, ...]
    errors: tuple[tuple[str, str], ...] = ()
    withheld: bool = False
    check: str = ""
    notes: tuple[str, ...] = ()
    out: str | None = None
    predicted: tuple[bool, ...] = ()

    @property
    def modality(self) -> Modality:
        """The modality of the inputs."""
        return modality_named(self.modality_name)

    def __repr__(self) -> str:
        return f"ExplainResult({self.model!r}: {len(self.rows)} explanations, {len(self.errors)} errors)"

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl explain --json` prints it."""
        return {"model": self.model, "out": self.out, "method": self.method, "exact": self.exact,
                "withheld": self.withheld, "check": self.check, "notes": list(self.notes),
                "explanations": [row.to_dict() | {"predicted": predicted} for row, predicted in
                                 zip(self.rows, self.predicted, strict=True)],
                "errors": [{"input": name, "error": reason} for name, reason in self.errors]}


def explain_inputs(model: str | Path, inputs: Sequence[str], *, lines: Iterable[str] | bytes = (),
                   text: str | Sequence[str] = (), label: str | None = None, limit: int = 20,
                   text_column: str | None = None, path_column: str | None = None, cache_dir: str | None = None
                   ) -> ExplainResult:
    """Explain the answers of a model. For the arguments see `report.explain.explain`."""
    if not inputs and not text:
        raise OptionError("`inputs` is empty", "files, folders, tables or texts; - for one input per line on standard "
                          "input", "name at least one input")
    expect(int, "a number of inputs", limit=limit)
    if faults := broken(at_least(1, "limit"), {"limit": limit}):
        raise all_of(faults)
    folder = find_version(str(model))
    record = RunRecord.read(folder)
    _check(folder, record, label)
    reading = reading_of(record, text_column, path_column, cache_dir)
    reader = input_rows(reading, inputs, lines=lines, texts=[text] if isinstance(text, str) else text)
    rows = [*islice(reader, limit)]
    if not rows:
        raise DataError("the inputs are empty", record.modality.readable, "check the files and folders")
    more = next(reader, None) is not None
    notes = [f"inputs after the first {limit:,} are not explained; set `limit` for more"] * more
    require_unchanged(folder, "model.keras")
    parts, source = parts_of(restore_model(folder, record)), restore_input(folder, record)
    explainer = explainer_for(record.modality, parts, source, fine=True)
    usable, errors = _readable(rows, source, explainer)
    if not usable:
        first = ": ".join(filter(None, errors[0]))  # the name of an empty text is empty
        raise DataError(f"none of the inputs has a prediction ({first})",
                        record.modality.readable, "check the inputs")
    if source.changed([row.item for row, _ in usable]):
        notes.append("some images are decoded otherwise than by the model's own graph, which an earlier version wrote")
    checks, (method, exact) = record.explanations, explainer.method(parts.head)
    withheld = checks is not None and checks.withheld
    explained = _explained(usable, explainer, parts.head, record, label, withheld)
    if record.rejection is not None and record.rejection.reject:
        notes.append(f'"{LABEL}" is not explained: for each of the inputs it is a class, also where `kerastl predict` '
                     f'says "{LABEL}"')
    rows_of, items, predicted = zip(*explained, strict=True)
    return ExplainResult(shown(folder), record.modality_name, method, exact, rows_of, items, tuple(errors), withheld,
                         _in_words(record), (*reading.notes, *notes), None, predicted)


def _in_words(record: RunRecord) -> str:
    checks = record.explanations
    if checks is None:
        return f"{NOT_CHECKED if record.private is None else PRIVATE}."
    return f"{'The explanations are ' if checks.withheld else 'Checked when the model was trained: '}{checks.sentence}."


def _check(folder: Path, record: RunRecord, label: str | None) -> None:
    if record.large is not None:
        raise OptionError(f"`model` is {folder}, which was exported without its backbone {record.backbone}: each word "
                          "that is left out would take a pass through it", "a model with its backbone inside",
                          "explain the answers of a model with a smaller backbone")
    if label is not None and label not in record.classes:
        raise unknown("label", label, record.classes)


def _readable(rows: Sequence[InputRow], source: Input, explainer: Explainer
              ) -> tuple[list[tuple[InputRow, Any]], list[tuple[str, str]]]:
    """The inputs that can be decoded, as the explainer takes them; the names of the others, with the reason."""
    reasons = {place: row.error for place, row in enumerate(rows) if row.error}
    if source.modality is not None and not source.modality.in_files:
        texts = [place for place in range(len(rows)) if place not in reasons]
        found = TextCheck(source)(source.contents([rows[place].item for place in texts]))
        reasons |= {place: reason for place, reason in zip(texts, found, strict=True) if reason}
    good = [place for place in range(len(rows)) if place not in reasons]
    refused: dict[int, str] = {}
    values = explainer.read([rows[place].item for place in good], refused)
    reasons |= {good[number]: reason for number, reason in refused.items()}
    usable = [(rows[place], values[number]) for number, place in enumerate(good) if place not in reasons]
    return usable, [(rows[place].name, reasons[place]) for place in sorted(reasons)]


def _explained(usable: Sequence[tuple[InputRow, Any]], explainer: Explainer, head: Any, record: RunRecord,
               label: str | None, withheld: bool) -> list[tuple[ExplainedRow, Any, bool]]:
    """Each explanation with its path or text, and whether its class is predicted."""
    task, thresholds = record.task, np.array(record.thresholds)
    explained: list[tuple[ExplainedRow, Any, bool]] = []
    with tqdm(total=len(usable), desc="explaining", unit=f" {record.modality.nouns}", disable=None) as bar:
        for start in range(0, len(usable), BLOCK):
            block = usable[start:start + BLOCK]
            p = task.probabilities(explainer.logits([value for _, value in block], head), record.calibration)
            predicted = task.predict(p, thresholds)
            places = [(number, place) for number in range(len(block)) for place in
                      ([record.classes.index(label)] if label is not None else
                       task.classes_of(predicted[number]) or [int(p[number].argmax())])]
            results, = explainer.explain([block[number][1] for number, _ in places], [c for _, c in places], head)
            explained += [(as_row(result, block[number][0].name, "", record.classes[c], "", float(p[number, c]),
                                  withheld), block[number][0].item, c in task.classes_of(predicted[number]))
                          for (number, c), result in zip(places, results, strict=True)]
            bar.update(len(block))
    return explained


def as_row(explained: Explained, origin: str, kind: str, label: str, actual: str, probability: float,
           withheld: bool = False) -> ExplainedRow:
    """An explanation as records hold it, its numbers rounded."""
    values = [] if withheld else explained.contributions.astype(float).tolist()
    return ExplainedRow(
        origin, kind, label, actual, probability, round(explained.logit, DIGITS),
        tuple(round(value, DIGITS) for value in values), () if withheld else explained.shape,
        () if withheld else explained.spans, None if explained.constant is None else round(explained.constant, DIGITS),
        None if explained.plain is None else round(explained.plain, DIGITS))
