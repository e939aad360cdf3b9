"""Examples: the labelled rows of one source, as columns. Nothing is decoded here."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.spool import Hashes, Spool
from kerastl.errors import DataError
from kerastl.modality import Modality
from kerastl.tasks import Task, task_of_targets

TRAIN, VALIDATION, TEST = 0, 1, 2
LISTED = 1000  # rows left out that are listed one by one; the rest is counted by reason
SHOWN = 20  # classes that a message counts


@dataclass(frozen=True)
class Skipped:
    """One thing of the source that takes no part, and why."""

    origin: str
    reason: str  # what is told of this one alone comes after a colon


class SkippedRows:
    """What takes no part: the first are listed, the rest counted by reason, so that memory stays flat."""

    def __init__(self, first: Iterable[Skipped] = ()) -> None:
        self._listed: list[Skipped] = []
        self._more: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()  # all of them, by reason
        for one in first:
            self.add(one.origin, one.reason)

    def add(self, origin: str, reason: str) -> None:
        """One more."""
        kind = reason.partition(":")[0]
        self.counts[kind] += 1
        if len(self._listed) < LISTED:
            self._listed.append(Skipped(origin, reason))
        else:
            self._more[kind] += 1

    def listed(self) -> tuple[Skipped, ...]:
        """The first of them, then a line for each reason that more have."""
        return (*self._listed, *(Skipped(f"{n:,} more", kind) for kind, n in self._more.items()))


@dataclass(frozen=True)
class Split:
    """Which rows train and which judge. `part` holds a number a row: the fold (0 to 4) when `mode` is "cv",
    else TRAIN, VALIDATION or TEST. `reason` is said in the report."""

    mode: str  # cv | holdout | given
    reason: str
    part: NDArray[np.int8]

    def rows(self, *parts: int) -> NDArray[np.intp]:
        """Indices of the rows in any of these parts, ascending."""
        return np.flatnonzero(np.isin(self.part, parts))

    @property
    def folds(self) -> list[int]:
        """The folds' numbers when cross-validated."""
        return sorted(set(self.part.tolist())) if self.mode == "cv" else []

    @property
    def held_out(self) -> NDArray[np.intp]:
        """The rows that the reported figures come from: every row when cross-validated, else the test rows."""
        return np.arange(len(self.part)) if self.mode == "cv" else self.rows(TEST)


@dataclass(frozen=True)
class Examples:
    """Rows of a source. Columns are tuples; those of texts, which may be many, hold less in memory (see spool.py)."""

    modality: Modality
    source: str  # as the user named it
    items: Sequence[Any]  # of images the path of the file, of texts the text or a pair of them
    origins: tuple[str, ...] | Spool[str]  # what the user calls the row: a path inside the source, or its number
    ids: tuple[str, ...] | Hashes  # hash of the content: 32 hexadecimal digits
    groups: tuple[str, ...] | Hashes  # rows of one group share a side; by default the id, so exact duplicates do
    given: tuple[str, ...]  # the user's own split: "train", "validation", "test", or "" where none was given
    classes: tuple[str, ...]
    targets: NDArray[np.int64]  # [rows] class numbers, or [rows, classes] of 0 and 1 when multi-label
    skipped: tuple[Skipped, ...] = ()
    min_per_class: int = 10
    split: Split | None = field(default=None)
    aims: NDArray[np.float32] | None = None  # [rows, classes] that training aims at instead, as a teacher has it
    notes: tuple[str, ...] = ()  # what was decided in reading the source, for the report

    def __len__(self) -> int:
        return len(self.items)

    @property
    def task(self) -> Task:
        """What a row's answer is."""
        return task_of_targets(self.targets)

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several labels."""
        return self.targets.ndim == 2

    def counts(self) -> dict[str, int]:
        """Rows of each class, in class order; a row with several labels counts for each."""
        if self.multi_label:
            totals = self.targets.sum(axis=0)
        else:
            totals = np.bincount(self.targets, minlength=len(self.classes))
        return dict(zip(self.classes, totals.tolist(), strict=True))

    def label_of(self, row: int) -> str:
        """The row's label as text; several labels are joined by `|`."""
        return self.task.label(self.targets[row], self.classes)

    def one_hot(self, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Targets as [rows, classes] float32 of 0 and 1."""
        targets = self.targets if rows is None else self.targets[rows]
        return self.task.one_hot(targets, len(self.classes))

    def aimed(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """What training aims at, [len(rows), classes]: the targets, unless a teacher has set other aims."""
        return self.one_hot(rows) if self.aims is None else self.aims[rows]

    def take(self, rows: Iterable[int]) -> "Examples":
        """The same columns for these rows only; classes stay as they are."""
        kept = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.intp)

        def pick(column: Sequence[Any]) -> Any:
            return column.take(kept) if hasattr(column, "take") else tuple(column[i] for i in kept)

        split = self.split and replace(self.split, part=self.split.part[kept])
        ids = pick(self.ids)
        return replace(
            self, items=pick(self.items), origins=pick(self.origins), ids=ids,
            groups=ids if self.groups is self.ids else pick(self.groups),
            given=pick(self.given), targets=self.targets[kept], split=split,
            aims=None if self.aims is None else self.aims[kept],
        )

    def without(self, refused: Mapping[int, str]) -> "Examples":
        """Leave rows out, each with its reason, then the classes that have become too small.

        Raises DataError when fewer than two classes are left.
        """
        gone = SkippedRows(Skipped(self.origins[row], reason) for row, reason in sorted(refused.items()))
        rest = self.take(row for row in range(len(self)) if row not in refused)
        return enough(replace(rest, skipped=self.skipped + gone.listed()))

    def limited(self, limit: int) -> "Examples":
        """At most `limit` rows, evenly over the classes and the same ones each time (lowest content hash first)."""
        if len(self) <= limit:
            return self
        order = sorted(range(len(self)), key=lambda row: self.ids[row])
        seen: dict[str, int] = {}
        turn: dict[int, int] = {}
        for row in order:
            label = self.label_of(row)
            turn[row] = seen[label] = seen.get(label, -1) + 1
        chosen = sorted(order, key=lambda row: turn[row])[:limit]
        return enough(self.take(sorted(chosen)))


def enough(examples: Examples) -> Examples:
    """Leave out the classes with fewer than `min_per_class` rows, by name.

    Raises DataError with the counts when fewer than two classes are left. With `min_per_class` 0, anything goes.
    """
    small = {name: n for name, n in examples.counts().items() if n < examples.min_per_class}
    if not small:
        return _at_least_two(examples)
    keep = [i for i, name in enumerate(examples.classes) if name not in small]
    named = SkippedRows(
        Skipped(name, f"class of {n} row{'' if n == 1 else 's'}, fewer than {examples.min_per_class} (--min-per-class)")
        for name, n in small.items()
    ).listed()
    if len(keep) < 2:
        counts = [f"{name}: {n}" for name, n in examples.counts().items()]
        more = f" and {len(counts) - SHOWN:,} more classes" if len(counts) > SHOWN else ""
        raise DataError(
            f"too few rows in {examples.source}: {', '.join(counts[:SHOWN])}{more}",
            f"at least two classes of {examples.min_per_class} rows or more",
            "add examples, or lower --min-per-class",
        )
    smaller = _only_classes(examples, keep)
    return _at_least_two(replace(smaller, skipped=examples.skipped + named))


def _only_classes(examples: Examples, keep: list[int]) -> Examples:
    if examples.multi_label:
        rows = np.flatnonzero(examples.targets[:, keep].any(axis=1) | ~examples.targets.any(axis=1))
        rest = examples.take(rows)
        targets = rest.targets[:, keep]
    else:
        renumber = np.full(len(examples.classes), -1)
        renumber[keep] = np.arange(len(keep))
        rest = examples.take(np.flatnonzero(renumber[examples.targets] >= 0))
        targets = renumber[rest.targets]
    return replace(rest, classes=tuple(examples.classes[i] for i in keep), targets=targets.astype(np.int64))


def _at_least_two(examples: Examples) -> Examples:
    if examples.min_per_class and len(examples.classes) < (1 if examples.multi_label else 2):
        found = ", ".join(f"{name!r}: {n} rows" for name, n in examples.counts().items()) or "none"
        raise DataError(f"{examples.source} has too few classes ({found})", "at least two classes",
                        "add a folder, or label, for what the class is to be told apart from")
    return examples
