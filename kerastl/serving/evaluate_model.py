"""Evaluating an exported model on labelled data: its own SavedModel on the raw rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, SkippedRows, say
from kerastl.data.labels import matched
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.data.summary import NOTHING_YET, DataSummary, check_losses
from kerastl.errors import DataError, expect
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.evaluation.rejection import LABEL
from kerastl.evaluation.result import Figures
from kerastl.features.cache import chosen_dir
from kerastl.fields import Section
from kerastl.files import shown
from kerastl.serving.classifier import Classifier, load_classifier
from kerastl.serving.compare_versions import Against, compare_classifiers, load_other
from kerastl.serving.mistakes import Confusion, LabelCounts, check_worst, confusions, label_counts
from kerastl.serving.predictions import Row
from kerastl.stats import wilson_interval
from kerastl.versions.damage import require_unchanged
from kerastl.versions.make_record import skipped_items
from kerastl.versions.restore import SPLIT_FILE, as_the_model_knows, read_split
from kerastl.versions.sections import SkippedItem
from kerastl.versions.version_comparison import VersionComparison

PRIVATE = "the model was trained privately and does not keep its rows, so it is not known whether these were among them"


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
    `unknown_score` above 0; None for a model without a threshold. against: the comparison with another version.

    incorrect: how many rows are predicted incorrectly; `test.mistakes` lists the most confident ones, and `items` are
    their paths or texts; those of `against.changed` are in `changed_items`. unknown_classes: the classes of the data
    that the model does not know, with their rows: these are skipped, unless a row may have several labels.
    classes_without_rows: classes of the model. labels: the errors of each label, where a row may have several.
    modality: image or text. out: the page that was written."""

    model: str
    trained_on: int
    test: Figures
    skipped: tuple[SkippedItem, ...]
    notes: tuple[str, ...] = ()
    data_summary: DataSummary = NOTHING_YET
    unknown: UnknownRows | None = None
    against: VersionComparison | None = None
    incorrect: int = 0
    unknown_classes: dict[str, int] = field(default_factory=dict)
    classes_without_rows: tuple[str, ...] = ()
    labels: tuple[LabelCounts, ...] = ()
    items: tuple[Any, ...] = ()
    changed_items: tuple[Any, ...] = ()
    modality: str = ""
    out: str | None = None

    @property
    def confusions(self) -> tuple[Confusion, ...]:
        """The classes that are taken for others, the most rows first."""
        return confusions(self.test)

    def __repr__(self) -> str:
        return f"EvaluateResult({self.model!r}: {self.test!r}, {self.trained_on} rows used in training)"

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl evaluate --json` prints it."""
        return {"model": self.model, "trained_on": self.trained_on, "test": self.test.to_dict(),
                "left_out": [item.to_dict() for item in self.skipped], "notes": list(self.notes),
                "data_summary": self.data_summary.to_dict(), "warnings": list(self.data_summary.warnings),
                "unknown": self.unknown.to_dict() if self.unknown else None,
                "against": self.against.to_dict() if self.against else None,
                "incorrect": self.incorrect, "unknown_classes": self.unknown_classes,
                "classes_without_rows": list(self.classes_without_rows),
                "confusions": [confusion.to_dict() for confusion in self.confusions],
                "labels": [label.to_dict() for label in self.labels], "out": self.out}


def evaluate_model(model: str | Path | Classifier, source: str | Path, *, text_column: str | None = None,
                   label_column: str | None = None, options: ReadOptions = READ_AS_USUAL, weights: str | None = None,
                   data_dir: str | None = None, cache_dir: str | None = None, worst: int = 24,
                   against: Against | None = None) -> EvaluateResult:
    """Evaluate a model on labelled data, with the metrics that training reports.

    model: as `load` takes it, or a loaded one. source: labelled data, as for training. text_column, label_column,
    options: of reading them; default: as in training. Rows of unknown classes and rows that cannot be decoded are
    skipped and listed. worst: how many mistakes to list, the most confident first. against: another version to compare
    it with, see `compare_versions`. Raises DataError when no row is left, CheckFailed if `options.strict` and many rows
    are skipped, OptionError for a negative `worst`.
    """
    check_worst(worst)
    classifier = load_classifier(model, weights) if isinstance(model, str | Path) else model
    record = classifier.record
    other = None if against is None else load_other(classifier, against, weights)
    labelled = _labelled(classifier, source, options.with_columns(text_column=text_column, label_column=label_column),
                         data_dir, cache_dir)
    pairs = matched(labelled.classes, record.classes)
    unknown_classes = {name: n for name, n in labelled.counts().items() if name not in pairs}
    examples = say(as_the_model_knows(labelled, record))
    check_losses(examples.source, examples.summary)
    outputs = _outputs(classifier, examples)
    kept = examples.take(outputs.rows).with_skipped(outputs.refused)
    check_losses(kept.source, kept.summary)
    if record.private is None:
        require_unchanged(classifier.folder, SPLIT_FILE)  # else rows that it was trained on would not be counted
    else:
        kept = replace(kept, notes=(*kept.notes, PRIVATE))
    parts = read_split(classifier.folder) if record.private is None else {}
    trained_on = sum(parts.get(content, "test") != "test" for content in kept.ids)
    target = record.test.target.asked if record.test.target else None
    evaluation = evaluate_probabilities(kept, outputs.probabilities, record.thresholds, worst=worst, target=target)
    rejection, unknown = record.rejection, None
    if rejection is not None and rejection.threshold is not None:
        unknown = _unknown_rows(kept, outputs.unknown_scores > 0, outputs.probabilities, rejection.reject)
    compared = None if other is None else compare_classifiers(
        classifier, other, labelled, computed=outputs.by_content(kept), cache_dir=cache_dir)
    return EvaluateResult(
        shown(classifier.folder), trained_on, evaluation.figures, skipped_items(kept), kept.notes, kept.summary,
        unknown, compared, incorrect=len(kept) - sum(evaluation.correct), unknown_classes=unknown_classes,
        classes_without_rows=tuple(name for name, n in kept.counts().items() if not n),
        labels=() if record.task.exclusive else label_counts(kept.classes, evaluation.held_out.predicted, kept.targets),
        items=tuple(kept.items[mistake.row] for mistake in evaluation.mistakes), modality=record.modality_name,
        changed_items=() if compared is None else _items(labelled, [row.origin for row in compared.changed]))


def _items(examples: Examples, origins: Sequence[str]) -> tuple[Any, ...]:
    """The paths or texts of the rows with these origins."""
    wanted, rows = {*origins}, dict[str, int]()
    for row, origin in enumerate(examples.origins):
        if origin in wanted:
            rows.setdefault(origin, row)
    return tuple(examples.items[rows[origin]] for origin in origins)


def _labelled(classifier: Classifier, source: str | Path, options: ReadOptions, data_dir: str | None,
              cache_dir: str | None) -> Examples:
    """The labelled data, read as those that the model was trained on, with all of their classes."""
    record = classifier.record
    options = options.over(record.read_options.for_source(str(source)))
    if options.multi_label == "auto" and (not record.task.exclusive or "," not in (options.label_column or "")):
        options = replace(options, multi_label="off" if record.task.exclusive else "on")  # not judged by other data
    return read_labelled(record.modality_name, str(source), options=options, data_dir=data_dir,
                         cache_dir=chosen_dir(cache_dir))


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
    classifier = load_classifier(model, weights) if isinstance(model, str | Path) else model
    other = load_other(classifier, against, weights)
    return compare_classifiers(classifier, other, _labelled(classifier, source, options, data_dir, cache_dir),
                               cache_dir=cache_dir)


@dataclass(frozen=True)
class _Outputs:
    """What a model returns. rows: of the examples that can be decoded, [n]; probabilities: [n, classes];
    unknown_scores: [n], NaN where the model has none; refused: the other rows."""

    rows: NDArray[np.intp]
    probabilities: NDArray[np.float32]
    unknown_scores: NDArray[np.float32]
    refused: SkippedRows

    def by_content(self, examples: Examples) -> dict[str, Row]:
        """The probabilities by content hash. examples: those of `rows`."""
        return {content: {"probabilities": p} for content, p in zip(examples.ids, self.probabilities, strict=True)}


def _outputs(classifier: Classifier, examples: Examples) -> _Outputs:
    """The outputs for all rows, of which nothing else is kept. Raises DataError when none can be decoded."""
    p = np.zeros((len(examples), len(classifier.classes)), np.float32)
    unknown, readable = np.full(len(examples), np.nan, np.float32), np.ones(len(examples), np.bool_)
    refused, reason = SkippedRows(), ""
    for row, output in enumerate(classifier.rows(examples.items)):
        if isinstance(output, str):
            refused.add(examples.origins[row], output, examples.label_of(row))
            readable[row], reason = False, reason or output
        else:
            p[row], unknown[row] = output["probabilities"], output.get("unknown_score", np.nan)
    if not readable.any():
        raise DataError(f"none of the {classifier.modality.items} in {examples.source} could be decoded ({reason})",
                        classifier.modality.readable, "see what is wrong with them: kerastl check")
    rows = np.flatnonzero(readable)
    return _Outputs(rows, p[rows], unknown[rows], refused)


def _unknown_rows(examples: Examples, above: NDArray[np.bool_], p: NDArray[np.float32], reject: bool) -> UnknownRows:
    """above: of each row, whether its `unknown_score` is above 0. p: [rows, classes]."""
    rows, others = np.arange(len(above)), np.flatnonzero(~above)
    accuracy = None
    if len(others) and examples.task.exclusive:
        accuracy = float((p[others].argmax(axis=1) == examples.one_hot(others).argmax(axis=1)).mean())
    return UnknownRows(int(above.sum()), float(above.mean()), wilson_interval(above, examples.clusters_of(rows)).ends,
                       reject, len(others), accuracy)
