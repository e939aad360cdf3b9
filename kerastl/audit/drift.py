"""Whether the inputs that a model is asked about still are like those that it was evaluated on.

Each test compares the inputs with the reference in the version folder; p-values are corrected for their number (Holm).
Sizes of effects stand beside them, because of very many inputs everything is significant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.audit.logs import ENDINGS, logged_inputs
from kerastl.data.prediction_inputs import input_rows
from kerastl.errors import DataError, OptionError
from kerastl.evaluation.drift import FEWEST, PROBABILITIES, DriftTest, Rejected, Sample, compare_samples, expected_of
from kerastl.evaluation.reference import Reference, as_kept, sizes_of
from kerastl.evaluation.two_samples import PERMUTATIONS, SMALLEST_P, FeatureTest, OutputTest, label_shift
from kerastl.fields import Section
from kerastl.files import shown
from kerastl.serving.answers import Refused
from kerastl.serving.classifier import Classifier, load_classifier
from kerastl.serving.reading import reading_of
from kerastl.versions.reference import read_reference

ALPHA = 0.01
SHOWN = 12  # inputs that are most new
MOST_REPEATED = 0.05  # share of inputs, beyond that of the reference, above which it is said that they are repeated


@dataclass(frozen=True)
class NewInput(Section):
    """An input that the classifier between the samples is surest is new. newness: its score; item: its place."""

    name: str
    label: str
    score: float
    newness: float


@dataclass(frozen=True)
class LabelShare(Section):
    """The share of a class before and now. now is estimated from the predictions and the confusion matrix, supposing
    that each class looks as before; None where that cannot be solved."""

    label: str
    before: float
    predicted: float
    now: float | None


@dataclass(frozen=True)
class Drift(Section):
    """What was found. n: inputs; errors: inputs that have no prediction; alpha: the level of the tests together. tests:
    of the whole, corrected; outputs: class by class. expected_accuracy: the mean confidence of the predictions, which
    is their accuracy if the calibration still holds; accuracy_before: that of the held-out rows. newest: the inputs
    that are most new. outputs_of: what is compared of the outputs, `probabilities` or `predicted classes`. drifted:
    whether a test found something."""

    model: str
    n: int
    errors: int
    n_before: int
    alpha: float
    tests: tuple[DriftTest, ...]
    outputs: tuple[OutputTest, ...]
    features: FeatureTest | None
    rejected: Rejected | None
    labels: tuple[LabelShare, ...]
    expected_accuracy: float
    accuracy_before: float
    newest: tuple[NewInput, ...]
    items: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    outputs_of: str = PROBABILITIES

    @property
    def drifted(self) -> bool:
        """Whether a test is significant."""
        return any(test.p < self.alpha for test in self.tests)

    @property
    def failed(self) -> bool:
        """For the exit code."""
        return self.drifted

    @property
    def sentence(self) -> str:
        """The result in words."""
        found = [f"{test.name} (p {test.p:.2g})" for test in self.tests if test.p < self.alpha]
        if found:
            return f"The inputs differ from the rows that the model was evaluated on: {', '.join(found)}."
        return (f"No test tells the {self.n:,} inputs from the {self.n_before:,} rows that the model was evaluated on. "
                "A small change could go unnoticed with so many inputs.")

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl drift --json` prints it."""
        document = super().to_dict()
        document.pop("items")
        return {**document, "drifted": self.drifted, "sentence": self.sentence}


@dataclass(frozen=True)
class _Seen:
    """What the model makes of inputs. unknown: None for versions without `unknown_score`."""

    names: list[str]
    items: list[Any]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: list[str]
    scores: NDArray[np.float64]
    unknown: NDArray[np.float64] | None
    errors: int

    @property
    def sample(self) -> Sample:
        """What is compared."""
        return Sample(self.features, self.probabilities, sizes_of(self.items), self.unknown)


def find_drift(model: str | Path, inputs: Sequence[str], *, alpha: float = ALPHA, lines: Iterable[str] | bytes = (),
               text_column: str | None = None, path_column: str | None = None, trust: bool = False,
               cache_dir: str | None = None) -> Drift:
    """Compare inputs with the rows that a model was evaluated on.

    model: as `load` takes it. inputs: files, folders, tables, or request logs of `kerastl serve` (.tfrecord); `-`
    stands for `lines`. alpha: the probability of a false alarm. Raises ModelError for a version without a reference,
    OptionError for a level that is none, DataError for too few inputs.
    """
    if not 0 < alpha < 1:
        raise OptionError(f"`alpha` must be between 0 and 1, such as {ALPHA} (got {alpha})")
    if not inputs:
        raise OptionError("`inputs` is empty", "files, folders, tables or request logs", "name at least one input")
    classifier = load_classifier(model if isinstance(model, str) else str(model), trust=trust)
    reference = read_reference(classifier.folder)
    seen, notes = _seen(classifier, inputs, lines, text_column, path_column, cache_dir)
    return compare(classifier, reference, seen, alpha, notes)


def _seen(classifier: Classifier, inputs: Sequence[str], lines: Iterable[str] | bytes, text_column: str | None,
          path_column: str | None, cache_dir: str | None) -> tuple[_Seen, tuple[str, ...]]:
    logs = [name for name in inputs if name.endswith(ENDINGS)]
    others = [name for name in inputs if name not in logs]
    reading = reading_of(classifier.record, text_column, path_column, cache_dir)
    names: list[str] = []
    items: list[Any] = []
    logged = logged_inputs(logs, classifier.modality)
    for number, content in enumerate(logged.items):
        names.append(f"logged input {number}")
        items.append(content)
    for row in input_rows(reading, others, lines=lines, texts=()) if others else ():
        names.append(row.name)
        items.append(Refused(row.error) if row.error else row.item)
    rows = list(classifier.rows(items, classifier.answer_with_features))
    kept = [place for place, row in enumerate(rows) if not isinstance(row, str)]
    refused = tuple(f"the first input without a prediction: {_with_name(names[place], row)}"
                    for place, row in enumerate(rows) if isinstance(row, str))[:1]
    if len(kept) < FEWEST:
        raise DataError("; ".join([f"{len(kept)} of the {len(rows):,} inputs have a prediction", *refused,
                                   *logged.notes]), f"at least {FEWEST}", "check the inputs, or collect more")
    found: list[Any] = [rows[place] for place in kept]
    unknown = [float(row["unknown_score"]) for row in found if "unknown_score" in row]
    return _Seen(
        [names[place] for place in kept], [items[place] for place in kept],
        np.array([row["features"] for row in found], np.float32).reshape(len(found), -1),
        np.array([row["probabilities"] for row in found], np.float32).reshape(len(found), -1),
        [row["label"].decode("utf-8", "replace") for row in found],
        np.array([row["score"] for row in found], np.float64),
        np.array(unknown) if len(unknown) == len(found) else None, len(rows) - len(kept)
    ), (*reading.notes, *logged.notes, *refused)


def _with_name(name: str, reason: str) -> str:
    return reason if name in reason else f"{name}: {reason}"


def compare(classifier: Classifier, reference: Reference, seen: _Seen, alpha: float, notes: tuple[str, ...] = ()
            ) -> Drift:
    """The tests."""
    record, expected = classifier.record, expected_of(classifier.record)
    found = compare_samples(reference, seen.sample, expected)
    order = [] if found.newness is None else np.argsort(-found.newness, kind="stable")[:SHOWN].tolist()
    if found.features is not None and len(found.tests) * SMALLEST_P >= alpha:
        notes += (f"The test of features cannot be significant at alpha {alpha:g}: the smallest p-value of its "
                  f"{PERMUTATIONS:,} permutations, corrected, is {len(found.tests) * SMALLEST_P:.2g}.",)
    notes += _repeated(reference, seen.sample)
    return Drift(
        shown(classifier.folder), len(seen.names), seen.errors, len(reference), alpha, found.tests, found.outputs,
        found.features, found.rejected, _labels(record, seen), float(seen.scores.mean()), record.test.accuracy,
        tuple(NewInput(seen.names[place], seen.labels[place], float(seen.scores[place]), float(found.newness[place]))
              for place in order) if found.newness is not None else (), tuple(seen.items[place] for place in order),
        notes, expected.outputs_of)


def _repeated(reference: Reference, now: Sample) -> tuple[str, ...]:
    """A note where inputs repeat each other, clearly more than the rows of the reference do: the tests suppose that
    inputs are independent."""
    repeated, before = _repeats(now), _repeats(Sample(reference.features.astype(np.float32), reference.probabilities,
                                                      reference.sizes, None))
    if repeated / len(now) <= before / len(reference) + MOST_REPEATED:
        return ()
    return (f"{repeated:,} of the {len(now):,} inputs repeat another one, and {before:,} of the {len(reference):,} "
            "rows that the model was evaluated on: repeated inputs, such as one that is sent again and again, make "
            "false alarms more likely.",)


def _repeats(sample: Sample) -> int:
    """How many rows have the features, probabilities and size of another row."""
    rows = zip(as_kept(sample.features), np.round(sample.probabilities, 4), sample.sizes.tolist(), strict=True)
    return len(sample) - len({hash((features.tobytes(), row.tobytes(), size)) for features, row, size in rows})


def _labels(record: Any, seen: _Seen) -> tuple[LabelShare, ...]:
    """The shares of the classes, of single labels."""
    if not record.task.exclusive:
        return ()
    confusion = np.array(record.test.confusion, np.float64)
    predicted = np.bincount(seen.probabilities.argmax(axis=1), minlength=len(record.classes)) / len(seen.names)
    now = label_shift(confusion, predicted)
    before = confusion.sum(axis=1) / confusion.sum()
    return tuple(LabelShare(label, float(before[place]), float(predicted[place]),
                            None if now is None else float(now[place]))
                 for place, label in enumerate(record.classes))
