"""What a Parquet or Excel table consists of: the layout that the first look at it tells, and batches of records. Both
can be passed from one process to another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.broken import Broken
from kerastl.data.delimited import Place, Record

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True)
class Layout:
    """names: of the columns. images: the columns that contain images, whose values are {"bytes": ..., "path": ...}.
    classes: for each column of class numbers the names. sheet: of a workbook, with its header in line `header`; 0: in
    none of its sheets is anything."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=dict)
    sheet: str = ""
    header: int = 0


@dataclass(frozen=True)
class Batch:
    """Neighbouring records, by columns. rows: how many, with the broken ones. broken: why, by place in the batch.
    columns: by name, the values of the others. lines: of each record; None: they have none."""

    rows: int
    columns: Mapping[str, list[Any]]
    broken: Mapping[int, Broken] = field(default_factory=dict)
    lines: list[int] | None = None

    def records(self, first: int) -> Iterator[tuple[Place, Record | str]]:
        """Each record with its place, or why it is broken. first: the number of the first."""
        names, values = list(self.columns), self.columns.values()
        records: list[Record | str] = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)
                                       ] if names else [{} for _ in range(self.rows - len(self.broken))]
        if self.broken:
            whole = iter(records)
            records = [self.broken[place] if place in self.broken else next(whole) for place in range(self.rows)]
        lines = [0] * self.rows if self.lines is None else self.lines
        return zip(zip(range(first, first + self.rows), lines, strict=True), records, strict=True)

    def divided(self) -> "tuple[Batch, Batch]":
        """The first half of the records, and the others."""
        middle = self.rows // 2
        whole = middle - sum(place < middle for place in self.broken)
        return (Batch(middle, {name: values[:whole] for name, values in self.columns.items()},
                      {place: why for place, why in self.broken.items() if place < middle},
                      None if self.lines is None else self.lines[:middle]),
                Batch(self.rows - middle, {name: values[whole:] for name, values in self.columns.items()},
                      {place - middle: why for place, why in self.broken.items() if place >= middle},
                      None if self.lines is None else self.lines[middle:]))


def batch_of_records(records: Sequence[Record | Broken], lines: list[int]) -> Batch:
    """A batch of records that have the same columns."""
    broken = {place: record for place, record in enumerate(records) if isinstance(record, Broken)}
    whole = [record for record in records if not isinstance(record, Broken)]
    names = list(whole[0]) if whole else []
    return Batch(len(records), {name: [record[name] for record in whole] for name in names}, broken, lines)


LayoutOf = Callable[[Path, Opener], Layout]
# Of these columns; None: of all. A record may have others, too, and is broken by no other.
BatchesOf = Callable[[Path, Opener, Layout, Sequence[str] | None], Iterator[Batch]]
