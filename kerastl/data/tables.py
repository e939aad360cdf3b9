"""Tables: the records of a CSV, TSV, JSON, Parquet or Excel file, one at a time, or why a record is broken."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from kerastl.data.apart import READERS, layout_and_records
from kerastl.data.delimited import Record, delimited
from kerastl.data.dialect import Dialect
from kerastl.data.json_rows import json_records
from kerastl.data.source import TABLES, opened
from kerastl.data.text_source import text_of

__all__ = ["TABLES", "Form", "Table", "closest", "listed", "open_table"]
_LISTED = 20  # columns that a message lists
SAMPLE = 1000  # records that are examined to understand a table


@dataclass(frozen=True)
class Form:
    """What was detected about the file of a table. A field is empty where the format has no such thing."""

    kind: str  # csv | tsv | json (an array) | jsonl | parquet | excel | tfds
    compression: str = ""  # gzip | zstd | bzip2 | xz | zip
    encoding: str = ""
    line_end: str = ""
    dialect: Dialect | None = None
    sheet: str = ""  # of a workbook

    def __str__(self) -> str:
        """In words, such as "table: csv, UTF-8, cells separated by semicolons"."""
        parts = [self.kind, f"compressed by {self.compression}" if self.compression else "", self.encoding,
                 self.dialect.words if self.dialect else "", f"sheet {self.sheet!r}" if self.sheet else "",
                 "lines end in carriage returns" if self.line_end == "\r" else ""]
        return f"table: {', '.join(filter(None, parts))}"


@dataclass(frozen=True)
class Table:
    """An open table. Each call of `records` reads it again: the origin of each record, and the record or why it is
    broken. It may omit columns other than the requested ones, if any are requested."""

    where: str  # as the user specified it
    names: tuple[str, ...]  # of the columns
    records: Callable[[Sequence[str] | None], Iterator[tuple[str, Record | str]]]
    notes: tuple[str, ...] = ()  # decisions made while reading it
    form: Form = Form("")
    images: tuple[str, ...] = ()  # columns of images, each {"bytes": ..., "path": ...}: see `unpacked`

    def sample(self, n: int = SAMPLE) -> Iterator[Record]:
        """Those of the first `n` records that are not broken, without images."""
        names = [name for name in self.names if name not in self.images] if self.images else None
        return (record for _, record in islice(self.records(names), n) if not isinstance(record, str))


def open_table(path: Path, folder: Path | None = None) -> Table:
    """Open a table and detect its format, encoding, delimiter and columns. folder: for a decompressed or converted
    copy, if one is needed.

    Raises DataError if the file is not a table.
    """
    source = opened(path, folder)
    notes, form = list(source.notes), Form(source.kind, source.compression)
    images: tuple[str, ...] = ()
    if source.kind in READERS:
        layout, numbered = layout_and_records(source)
        names, more, images = layout.names, layout.notes, tuple(layout.images)
        form = replace(form, sheet=layout.sheet)
    else:
        opener, encoding, end = text_of(source, folder)
        notes += [encoding.note] if encoding.note else []
        form = replace(form, encoding=encoding.name, line_end=end)
        if source.kind == "json":
            names, arrangement, numbered = json_records(path, opener, encoding)
            more, form = [], replace(form, kind="jsonl" if arrangement == "lines" else "json")
        else:
            names, more, dialect, numbered = delimited(path, "\t" if source.kind == "tsv" else ",", opener, encoding)
            form = replace(form, dialect=dialect)

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        return ((f"row {number}" if line in (0, number) else f"row {number} (line {line})", record)
                for (number, line), record in numbered(only))

    return Table(str(path), tuple(names), records, (*notes, *more), form, images)


def closest(name: str, names: Sequence[str]) -> str | None:
    """The most similar of `names`, ignoring case."""
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else None


def listed(names: Sequence[str]) -> str:
    """The first of many names, long ones clipped."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(name if len(name) <= 80 else f"{name[:80]}..." for name in names[:_LISTED]) + more
