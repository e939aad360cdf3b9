"""Evaluating an exported model on labelled data: its own SavedModel on the raw rows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import SkippedRows, say
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.data.summary import NOTHING_YET, DataSummary, check_losses
from kerastl.errors import DataError
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.evaluation.result import Figures
from kerastl.features.cache import chosen_dir
from kerastl.serving.classifier import Classifier, load
from kerastl.versions.damage import require_unchanged
from kerastl.versions.make_record import skipped_items
from kerastl.versions.restore import SPLIT_FILE, as_the_model_knows, read_split
from kerastl.versions.sections import SkippedItem


@dataclass(frozen=True)
class EvaluateResult:
    """The metrics of a model on other data. trained_on: how many of these rows were used in training it. notes,
    data_summary: what was understood of the data, and which rows were skipped."""

    model: str
    trained_on: int
    test: Figures
    skipped: tuple[SkippedItem, ...]
    notes: tuple[str, ...] = ()
    data_summary: DataSummary = NOTHING_YET

    def __repr__(self) -> str:
        return f"EvaluateResult({self.model!r}: {self.test!r}, {self.trained_on} rows used in training)"

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl evaluate --json` prints it."""
        return {"model": self.model, "trained_on": self.trained_on, "test": self.test.to_dict(),
                "left_out": [item.to_dict() for item in self.skipped], "notes": list(self.notes),
                "data_summary": self.data_summary.to_dict(), "warnings": list(self.data_summary.warnings)}


def evaluate_model(model: str | Path | Classifier, source: str | Path, *, text_column: str | None = None,
                   label_column: str | None = None, options: ReadOptions = READ_AS_USUAL, weights: str | None = None,
                   data_dir: str | None = None, cache_dir: str | None = None) -> EvaluateResult:
    """Evaluate a model on labelled data, with the metrics that training reports.

    model: as `load` takes it, or a loaded one. source: labelled data, as for training. text_column, label_column,
    options: of reading them; default: as in training. Rows of unknown classes and rows that cannot be decoded are
    skipped and listed. Raises DataError when no row is left, CheckFailed if `options.strict` and many rows are skipped.
    """
    classifier = load(model, weights) if isinstance(model, str | Path) else model
    record = classifier.record
    options = options.with_columns(text_column=text_column, label_column=label_column).over(
        record.read_options.for_source(str(source)))
    if options.multi_label == "auto" and (not record.task.exclusive or "," not in (options.label_column or "")):
        options = replace(options, multi_label="off" if record.task.exclusive else "on")  # not judged by other data
    examples = read_labelled(record.modality_name, str(source), options=options, data_dir=data_dir,
                             cache_dir=chosen_dir(cache_dir))
    examples = say(as_the_model_knows(examples, record))
    check_losses(examples.source, examples.summary)
    outputs: list[NDArray[np.float32] | str] = [row if isinstance(row, str) else row["probabilities"]
                                                for row in classifier.rows(examples.items)]
    readable = [row for row, output in enumerate(outputs) if not isinstance(output, str)]
    if not readable:
        raise DataError(f"none of the {classifier.modality.items} in {source} could be decoded ({outputs[0]})",
                        classifier.modality.readable, "see what is wrong with them: kerastl check")
    refused = SkippedRows()
    for row, output in enumerate(outputs):
        if isinstance(output, str):
            refused.add(examples.origins[row], output, examples.label_of(row))
    kept = examples.take(readable).with_skipped(refused)
    check_losses(kept.source, kept.summary)
    require_unchanged(classifier.folder, SPLIT_FILE)  # else rows that it was trained on would not be counted
    parts = read_split(classifier.folder)
    trained_on = sum(parts.get(content, "test") != "test" for content in kept.ids)
    p = np.stack([outputs[row] for row in readable])  # [rows, classes]
    target = record.test.target.asked if record.test.target else None
    evaluation = evaluate_probabilities(kept, p, record.thresholds, target=target)
    return EvaluateResult(str(classifier.folder), trained_on, evaluation.figures, skipped_items(kept), kept.notes,
                          kept.summary)
