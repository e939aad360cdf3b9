"""Evaluating an exported model on labelled data: its own SavedModel on the raw rows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, SkippedRows, say
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.data.summary import NOTHING_YET, DataSummary, check_losses
from kerastl.errors import DataError, expect
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.evaluation.rejection import LABEL
from kerastl.evaluation.result import Figures
from kerastl.features.cache import chosen_dir
from kerastl.fields import Section
from kerastl.serving.classifier import Classifier, load
from kerastl.serving.compare_versions import Against, compare_classifiers, load_other
from kerastl.stats import wilson_interval
from kerastl.versions.damage import require_unchanged
from kerastl.versions.make_record import skipped_items
from kerastl.versions.restore import SPLIT_FILE, as_the_model_knows, read_split
from kerastl.versions.sections import SkippedItem
from kerastl.versions.version_comparison import VersionComparison


@dataclass(frozen=True)
class UnknownRows(Section):
    """Rows with an `unknown_score` above 0. rows: how many; rejected: their fraction. reject: whether the model gives
    them the label "none of these"; the metrics count the most probable class of every row. accuracy_others: of the
    `others` rows at or below 0, None where there are none or a row may have several labels."""

    rows: int
    rejected: float
    rejected_ci95: tuple[float, float]
    reject: bool
    others: int
    accuracy_others: float | None

    @property
    def sentence(self) -> str:
        """The figures in words."""
        low, high = self.rejected_ci95
        share = (f"{self.rows:,} of {self.rows + self.others:,} rows ({self.rejected:.1%}, 95% CI {low:.1%} to "
                 f"{high:.1%}) have an unknown_score above 0")
        if not self.rows:
            return share
        effect = (f'get the label "{LABEL}", but count with their most probable class in these figures' if self.reject
                  else "keep their labels")
        others = "" if self.accuracy_others is None else (
            f". The accuracy of the others ({self.others:,}) is {self.accuracy_others:.3f}")
        return f"{share}, and {effect}{others}"


@dataclass(frozen=True)
class EvaluateResult:
    """The metrics of a model on other data. trained_on: how many of these rows were used in training it. notes,
    data_summary: what was understood of the data, and which rows were skipped. unknown: how many rows have an
    `unknown_score` above 0; None for a model without a threshold. against: the comparison with another version."""

    model: str
    trained_on: int
    test: Figures
    skipped: tuple[SkippedItem, ...]
    notes: tuple[str, ...] = ()
    data_summary: DataSummary = NOTHING_YET
    unknown: UnknownRows | None = None
    against: VersionComparison | None = None

    def __repr__(self) -> str:
        return f"EvaluateResult({self.model!r}: {self.test!r}, {self.trained_on} rows used in training)"

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl evaluate --json` prints it."""
        return {"model": self.model, "trained_on": self.trained_on, "test": self.test.to_dict(),
                "left_out": [item.to_dict() for item in self.skipped], "notes": list(self.notes),
                "data_summary": self.data_summary.to_dict(), "warnings": list(self.data_summary.warnings),
                "unknown": self.unknown.to_dict() if self.unknown else None,
                "against": self.against.to_dict() if self.against else None}


def evaluate_model(model: str | Path | Classifier, source: str | Path, *, text_column: str | None = None,
                   label_column: str | None = None, options: ReadOptions = READ_AS_USUAL, weights: str | None = None,
                   data_dir: str | None = None, cache_dir: str | None = None, against: Against | None = None
                   ) -> EvaluateResult:
    """Evaluate a model on labelled data, with the metrics that training reports.

    model: as `load` takes it, or a loaded one. source: labelled data, as for training. text_column, label_column,
    options: of reading them; default: as in training. Rows of unknown classes and rows that cannot be decoded are
    skipped and listed. against: another version to compare it with, see `compare_versions`. Raises DataError when no
    row is left, CheckFailed if `options.strict` and many rows are skipped.
    """
    classifier = load(model, weights) if isinstance(model, str | Path) else model
    record = classifier.record
    other = None if against is None else load_other(classifier, against, weights)
    options = options.with_columns(text_column=text_column, label_column=label_column).over(
        record.read_options.for_source(str(source)))
    if options.multi_label == "auto" and (not record.task.exclusive or "," not in (options.label_column or "")):
        options = replace(options, multi_label="off" if record.task.exclusive else "on")  # not judged by other data
    examples = read_labelled(record.modality_name, str(source), options=options, data_dir=data_dir,
                             cache_dir=chosen_dir(cache_dir))
    labelled, examples = examples, say(as_the_model_knows(examples, record))
    check_losses(examples.source, examples.summary)
    kept_outputs = ("probabilities", "unknown_score")
    outputs: list[dict[str, NDArray[Any]] | str] = [
        row if isinstance(row, str) else {name: row[name] for name in kept_outputs if name in row}
        for row in classifier.rows(examples.items)]
    readable = [row for row, output in enumerate(outputs) if not isinstance(output, str)]
    computed = [output for output in outputs if not isinstance(output, str)]
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
    p = np.stack([output["probabilities"] for output in computed])  # [rows, classes]
    target = record.test.target.asked if record.test.target else None
    evaluation = evaluate_probabilities(kept, p, record.thresholds, target=target)
    rejection, unknown = record.rejection, None
    if rejection is not None and rejection.threshold is not None:
        above = np.array([output["unknown_score"] > 0 for output in computed])
        unknown = _unknown_rows(kept, above, p, rejection.reject)
    compared = None if other is None else compare_classifiers(
        classifier, other, labelled, computed=dict(zip(kept.ids, computed, strict=True)), cache_dir=cache_dir)
    return EvaluateResult(str(classifier.folder), trained_on, evaluation.figures, skipped_items(kept), kept.notes,
                          kept.summary, unknown, compared)


def compare_versions(model: str | Path | Classifier, against: Against, source: str | Path, *,
                     options: ReadOptions = READ_AS_USUAL, weights: str | None = None, data_dir: str | None = None,
                     cache_dir: str | None = None) -> VersionComparison:
    """Compare a model with another version of it on the same labelled rows, by accuracy.

    Rows that a version was trained on count with the predictions that it keeps of them, by models that were not; rows
    that are new to it are predicted by the exported model. against: the number of a version of the same model, a path,
    or a loaded model; the other arguments are as in `evaluate_model`. A row of a class that a version does not have is
    incorrect for it. Raises DataError where no row can be compared, ModelError where there is no such version.
    """
    expect((str, Path, int, Classifier), "a version number, a path or a loaded model", against=against)
    result = evaluate_model(model, source, options=options, weights=weights, data_dir=data_dir, cache_dir=cache_dir,
                            against=against)
    return cast(VersionComparison, result.against)  # there is one, because `against` is given


def _unknown_rows(examples: Examples, above: NDArray[np.bool_], p: NDArray[np.float32], reject: bool) -> UnknownRows:
    """above: of each row, whether its `unknown_score` is above 0. p: [rows, classes]."""
    rows, others = np.arange(len(above)), np.flatnonzero(~above)
    accuracy = None
    if len(others) and examples.task.exclusive:
        accuracy = float((p[others].argmax(axis=1) == examples.one_hot(others).argmax(axis=1)).mean())
    return UnknownRows(int(above.sum()), float(above.mean()), wilson_interval(above, examples.clusters_of(rows)).ends,
                       reject, len(others), accuracy)
