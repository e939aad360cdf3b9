"""Examples: the labelled rows of one source, as columns. Nothing is decoded here."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Codes, Hashes
from kerastl.data.corrections import Corrections
from kerastl.data.labels import amounts
from kerastl.data.near_duplicates.record import NearDuplicateSearch
from kerastl.data.summary import AMOUNTS, FEWEST, NOTHING_YET, SMALL_CLASS, DataSummary, add_losses, check_losses
from kerastl.errors import DataError, all_of, at_least, broken, expect
from kerastl.frames import data_frame
from kerastl.modality import Modality
from kerastl.tasks import Task, task_of_targets

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
LISTED = 1000  # skipped rows that are listed individually; the others are counted by reason
USUAL_LEAST = 10  # rows of a class, if no other number is requested
SHOWN = 20  # classes that a message lists
EXAMPLES = "examples, as kerastl.read_images or kerastl.read_texts returns them"  # in messages


@dataclass(frozen=True)
class Skipped:
    """A row, file or class of the source that is not used, and the reason."""

    origin: str
    reason: str  # a general reason; details of this row follow after a colon


class SkippedRows:
    """Collects what is skipped. The first rows are listed, the others counted by reason, so that memory use is
    bounded."""

    def __init__(self) -> None:
        self._listed: list[Skipped] = []
        self._more: Counter[str] = Counter()
        self._guessed: dict[str, Counter[tuple[str, bool]]] = {}
        self.rows: dict[tuple[str, bool], Counter[str]] = {}  # by general reason and class; see `summary.add_losses`
        self.beside: dict[str, list[str]] = {}  # what stands for no rows, by general reason: its origins

    def add(self, origin: str, reason: str, label: str = "", *, rows: int = 1, requested: bool = False,
            guessed: bool = False) -> None:
        """Add one row, file or class. label: the row's class, if known. rows: how many rows of data it stands for.
        requested: whether an argument asked to skip it. guessed: whether the class was read from a broken row."""
        general = reason.partition(":")[0]
        if guessed and label:
            self._guessed.setdefault(label, Counter())[general, requested] += rows
        elif rows:
            self.rows.setdefault((general, requested), Counter())[label] += rows
        else:
            self.beside.setdefault(general, []).append(origin)
        if len(self._listed) < LISTED:
            self._listed.append(Skipped(origin, str(reason)))  # without the cells of a broken row
        else:
            self._more[general] += 1

    def settle(self, classes: Container[str]) -> None:
        """Count what was read from broken rows as classes if it is among `classes`, or occurs often enough to be one;
        otherwise the class of such rows is unknown."""
        for label, counts in self._guessed.items():
            known = label in classes or counts.total() >= FEWEST
            for reason, n in counts.items():
                self.rows.setdefault(reason, Counter())[label if known else ""] += n
        self._guessed.clear()

    def listed(self) -> tuple[Skipped, ...]:
        """The first rows, then one entry for each reason that more rows have."""
        return (*self._listed, *(Skipped(f"{n:,} more", reason) for reason, n in self._more.items()))


@dataclass(frozen=True)
class Split:
    """Which rows are used for training, validation and testing.

    part: for each row its fold (0 to 4) if `mode` is "cv", otherwise TRAIN, VALIDATION or TEST. reason: why this mode
    was chosen, for the report.
    """

    mode: str  # cv | holdout | given (by the source)
    reason: str
    part: NDArray[np.int8]

    def __repr__(self) -> str:
        counts = [f"{len(self.folds)} folds", f"{len(self.part):,} rows"] if self.mode == "cv" else \
            [f"{len(self.rows(part)):,} {name}" for name, part in PARTS.items()]
        return f"Split({self.mode}: {', '.join(counts)})"

    def rows(self, *parts: int) -> NDArray[np.intp]:
        """Indices of the rows in any of these parts, ascending."""
        return np.flatnonzero(np.isin(self.part, parts))

    @property
    def folds(self) -> list[int]:
        """The numbers of the folds in cross-validation; otherwise empty."""
        return np.unique(self.part).tolist() if self.mode == "cv" else []

    @property
    def names(self) -> Sequence[str]:
        """The part of each row in words: train, validation or test; in cross-validation fold N."""
        names = tuple(f"fold {fold}" for fold in range(max(self.folds, default=0) + 1)) if self.mode == "cv" else \
            tuple(sorted(PARTS, key=PARTS.__getitem__))
        return Codes(names, self.part)

    @property
    def held_out(self) -> NDArray[np.intp]:
        """The rows that reported figures come from: every row in cross-validation, otherwise the test rows."""
        return np.arange(len(self.part)) if self.mode == "cv" else self.rows(TEST)


@dataclass(frozen=True, repr=False)
class Examples:
    """The rows of a source, as columns. Each column is a sequence of one value a row; those that kerastl makes use
    little memory for many rows (see `kerastl.compact` and `data.spool`).

    items: for images the path of each file, for texts each text or pair of texts. origins: what the user calls each
    row: a path inside the source, or its number. ids: a hash of each row's content, 32 hexadecimal digits. groups: rows
    of a group are never split; by default the id, so that exact duplicates stay together. near_duplicates: for each
    row the name of its near-duplicates, united with the groups; None where the split ignores them.
    near_duplicate_search: what was found of them; None where they were not searched for. source_split: the split that
    the source itself specifies, "train", "validation", "test", or "" for none. targets: see `tasks`. soft_targets:
    [rows, classes], probabilities to train on instead, as in distillation. notes: decisions made while reading the
    source, for the report. summary: what was understood of the source, and how many of its rows were skipped.
    corrections: of labels, that were applied after reading; None: there were none. units: for each row its group as the
    source names it, or its id, where the source names groups: unlike `groups`, they do not depend on other rows.
    """

    modality: Modality
    source: str  # as the user specified it
    items: Sequence[Any]
    origins: Sequence[str]
    ids: Sequence[str]
    groups: Sequence[str]
    source_split: Sequence[str]
    classes: tuple[str, ...]
    targets: NDArray[np.int64]
    skipped: tuple[Skipped, ...] = ()
    min_per_class: int = USUAL_LEAST
    split: Split | None = field(default=None)
    soft_targets: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    summary: DataSummary = NOTHING_YET
    near_duplicates: Sequence[str] | None = None
    near_duplicate_search: NearDuplicateSearch | None = None
    corrections: Corrections | None = None
    units: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        split = f", split: {self.split.mode}" if self.split else ""
        return f"Examples({len(self):,} {self.modality.nouns}, {len(self.classes)} classes, {self.source}{split})"

    @property
    def clusters(self) -> Sequence[str]:
        """For each row the name of its cluster: rows that are not independent, because they share a group or are
        near-duplicates. Cross-validation deals clusters whole, and intervals count them."""
        return self.groups if self.near_duplicates is None else self.near_duplicates

    def clusters_of(self, rows: NDArray[np.intp]) -> list[str]:
        """The names of the clusters of these rows."""
        clusters = self.clusters
        return [clusters[row] for row in rows.tolist()]

    def cluster_numbers(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The cluster of each of these rows, as a number among those that they have."""
        if isinstance(self.clusters, Hashes):
            return self.clusters.take(rows).numbers()
        return np.unique(np.array(self.clusters_of(rows)), return_inverse=True)[1]

    @property
    def task(self) -> Task:
        """The task that the targets belong to, such as one label per row."""
        return task_of_targets(self.targets)

    def classes_of(self, row: int) -> list[int]:
        """The numbers of a row's classes. For many classes this takes less memory than `one_hot`."""
        return self.task.classes_of(self.targets[row])

    def counts(self) -> dict[str, int]:
        """The rows of each class, in class order. A row with several labels counts for each."""
        totals = self.task.counts(self.targets, len(self.classes))
        return dict(zip(self.classes, totals.tolist(), strict=True))

    @property
    def labels(self) -> NDArray[np.str_]:
        """The label of each row as text, [n], several labels joined by `|`; empty texts where rows are unlabelled."""
        return np.array([self.label_of(row) if self.classes else "" for row in range(len(self))], np.str_)

    def label_of(self, row: int) -> str:
        """The row's label as text; several labels are joined by `|`."""
        return self.task.label(self.targets[row], self.classes)

    def one_hot(self, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Targets as [rows, classes] float32 of 0 and 1."""
        return self.task.one_hot(self.targets if rows is None else self.targets[rows], len(self.classes))

    def training_targets(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """What to train on, [len(rows), classes]: the soft targets if there are any, otherwise `one_hot`."""
        return self.one_hot(rows) if self.soft_targets is None else self.soft_targets[rows]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame: origin, item, label, group, split and id. Raises OptionError if pandas is
        not installed."""
        columns: dict[str, Any] = {"origin": list(self.origins), self.modality.noun: list(self.items),
                                   "label": [self.label_of(row) for row in range(len(self))],
                                   "group": list(self.groups), "source_split": list(self.source_split)}
        if self.split:
            columns["split"] = list(self.split.names)
        return data_frame(columns | {"id": list(self.ids)}, columns_instead="`examples.items`, `examples.origins` ...")

    def take(self, rows: Iterable[int]) -> "Examples":
        """The same columns for these rows only. The classes stay the same."""
        kept = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.intp)
        if len(kept) == len(self) and (kept == np.arange(len(self))).all():
            return self

        def pick(column: Sequence[Any]) -> Any:
            return column.take(kept) if hasattr(column, "take") else tuple(column[i] for i in kept)

        ids = pick(self.ids)
        return replace(
            self, items=pick(self.items), origins=pick(self.origins), ids=ids,
            groups=ids if self.groups is self.ids else pick(self.groups),
            near_duplicates=None if self.near_duplicates is None else pick(self.near_duplicates),
            units=None if self.units is None else pick(self.units),
            source_split=pick(self.source_split), targets=self.targets[kept],
            split=self.split and replace(self.split, part=self.split.part[kept]),
            soft_targets=None if self.soft_targets is None else self.soft_targets[kept],
        )

    def without(self, refused: Mapping[int, str]) -> "Examples":
        """Skip rows, each with its reason, then classes that have become too small.

        Raises DataError if too few classes are left.
        """
        skipped = SkippedRows()
        for row, reason in sorted(refused.items()):
            skipped.add(self.origins[row], reason, self.label_of(row) if self.classes else "")
        rest = self.take(row for row in range(len(self)) if row not in refused)
        kept = enough(rest.with_skipped(skipped))
        check_losses(kept.source, kept.summary)
        return kept

    def with_skipped(self, skipped: SkippedRows) -> "Examples":
        """The same rows; those in `skipped` are listed and counted as skipped too."""
        losses = add_losses(self.summary.losses, skipped.rows)
        counts = self.counts() if self.classes else {}
        return replace(self, skipped=self.skipped + skipped.listed(),
                       summary=replace(self.summary, losses=losses, classes=counts))

    def limited(self, limit: int) -> "Examples":
        """At most `limit` rows, distributed evenly over the classes, and always the same (lowest content hash
        first). Raises OptionError for a limit below 1."""
        expect(int, "a number of rows", limit=limit)
        if faults := broken(at_least(1, "limit"), {"limit": limit}):
            raise all_of(faults)
        if len(self) <= limit:
            return self
        order = lowest(self.ids)
        _, label = np.unique(self.targets[order], axis=0, return_inverse=True)
        turn = _turns(label.ravel()) if self.classes else np.arange(len(self))
        chosen = order[np.argsort(turn, kind="stable")[:limit]]
        beyond = SkippedRows()
        beyond.rows["beyond the limit (`limit`)", True] = Counter({"": len(self) - limit})
        return enough(self.take(np.sort(chosen)).with_skipped(beyond))


def lowest(ids: Sequence[str], rows: NDArray[np.intp] | None = None, most: int | None = None) -> NDArray[np.intp]:
    """The rows with the lowest content hashes, at most `most`, in the order of these. rows: among these, by default
    all."""
    hashes = Hashes.of(ids)
    if rows is None:
        return hashes.order()[:most]
    return rows[hashes.take(rows).order()[:most]]


def _turns(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each of these numbers how many equal ones come before it."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    turns = np.empty(len(numbers), np.intp)
    turns[order] = np.arange(len(numbers)) - np.repeat(starts, np.diff(starts, append=len(numbers)))
    return turns


def enough(examples: Examples) -> Examples:
    """Skip the classes with fewer than `min_per_class` rows, and list them.

    Raises DataError with the counts if too few classes are left. If `min_per_class` is 0, any number is accepted.
    """
    small = {name: n for name, n in examples.counts().items() if n < examples.min_per_class}
    if not small:
        return _checked(examples)
    keep = [i for i, name in enumerate(examples.classes) if name not in small]
    skipped = SkippedRows()
    for name, n in small.items():
        skipped.add(name, f"class of {n} row{'' if n == 1 else 's'}, fewer than {examples.min_per_class} "
                          "(`min_per_class`)", rows=0)
    if len(keep) < (fewest := examples.task.fewest_classes):
        counts = [f"{name}: {n}" for name, n in examples.counts().items()]
        lost = f"; {examples.summary.losses_line}" if examples.summary.lost else ""
        more = f" and {len(counts) - SHOWN:,} more classes" if len(counts) > SHOWN else ""
        raise DataError(
            f"too few rows in {examples.source}: {', '.join(counts[:SHOWN])}{more}{lost}",
            f"at least {'one class' if fewest == 1 else 'two classes'} of {examples.min_per_class} or more rows",
            AMOUNTS if amounts(examples.classes) else "add examples, or decrease `min_per_class`",
        )
    smaller = _only_classes(examples, keep)
    if rows := len(examples) - len(smaller):  # a row with several labels may keep some
        by_class = small if rows == sum(small.values()) else {"": rows}
        requested = examples.min_per_class != USUAL_LEAST
        skipped.rows[f"{SMALL_CLASS} {examples.min_per_class} rows", requested] = Counter(by_class)
    return _checked(smaller.with_skipped(skipped))


def _only_classes(examples: Examples, keep: list[int]) -> Examples:
    rows, targets = examples.task.select(examples.targets, np.array(keep), len(examples.classes))
    rest = examples.take(rows)
    return replace(rest, classes=tuple(examples.classes[i] for i in keep), targets=targets)


def _checked(examples: Examples) -> Examples:
    fewest = examples.task.fewest_classes
    if examples.min_per_class and len(examples.classes) < fewest:
        counts = ", ".join(f"{name!r}: {n} rows" for name, n in examples.counts().items()) or "none"
        lost = examples.summary.losses_line
        raise DataError(f"{examples.source} has too few classes ({counts})" + (f"; {lost}" if lost else ""),
                        f"at least {'one class' if fewest == 1 else f'{fewest} classes'}",
                        "correct the skipped rows, if they belong to other classes" if lost else
                        "add a folder, or a label, for the examples that do not belong to that class")
    return examples


def say(examples: Examples) -> Examples:
    """Print what was understood of a source, before anything is computed, and return the examples."""
    first, *more = examples.summary.lines(examples.modality.nouns, examples.notes)
    print("\n".join([f"{examples.source}: {first}", *(f"  {line}" for line in more)]), flush=True)
    return examples
