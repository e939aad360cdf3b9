"""Tables: the records of a CSV, TSV, JSONL or Parquet file, one at a time, or why a record is broken."""

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.delimited import Place, Record, Records, delimited
from kerastl.data.encoding import ESCAPED, Encoding, lines_of
from kerastl.data.lines import TOO_LONG, Lines, LineTooLong
from kerastl.errors import DataError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SAMPLE = 1000  # records that are examined to understand a table
_BATCH = 8_000_000  # bytes of Parquet that are converted to records at a time


@dataclass(frozen=True)
class Table:
    """An open table. Each call of `records` reads it again: the origin of each record, and the record or why it is
    broken. It may omit columns other than the requested ones, if any are requested."""

    where: str  # as the user specified it
    names: tuple[str, ...]  # of the columns
    records: Callable[[Sequence[str] | None], Iterator[tuple[str, Record | str]]]
    notes: tuple[str, ...] = ()  # decisions made while reading it

    def sample(self, n: int = SAMPLE) -> Iterator[Record]:
        """Those of the first `n` records that are not broken."""
        return (record for _, record in islice(self.records(None), n) if not isinstance(record, str))


def open_table(path: Path, folder: Path | None = None) -> Table:
    """Open a table and detect its encoding, delimiter and columns. folder: for a converted copy, if one is needed.

    Raises DataError if the file is not a table.
    """
    notes: list[str] = []
    if path.suffix.lower() == ".parquet":
        names, numbered = _parquet(path)
    else:
        opener, encoding = lines_of(path, folder)
        notes += [encoding.note] if encoding.note else []
        if path.suffix.lower() == ".jsonl":
            names, numbered = _jsonl(opener, encoding)
        else:
            names, more, numbered = delimited(path, opener, encoding)
            notes += more

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        return ((f"row {number}" if line in (0, number) else f"row {number} (line {line})", record)
                for (number, line), record in numbered(only))

    return Table(str(path), tuple(names), records, tuple(notes))


def check_columns(table: Table, required: tuple[str, ...]) -> None:
    """Raises DataError if a required column is missing, with the closest column that exists."""
    missing = [name for name in required if name not in table.names]
    if missing:
        close = closest(missing[0], [name for name in table.names if name not in required])
        raise DataError(f"{table.where} has no column {missing[0]!r}; its columns are "
                        f"{', '.join(table.names) or 'none'}", f"the columns {' and '.join(required)}",
                        f"rename {close!r} to {missing[0]!r}" if close else f"add a column {missing[0]!r}")


def closest(name: str, names: Sequence[str]) -> str | None:
    """The most similar of `names`, ignoring case."""
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else None


def _jsonl(opener: Callable[[], BinaryIO], encoding: Encoding) -> tuple[list[str], Records]:
    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        with opener() as file:
            lines, number = Lines(file, encoding), 0
            while True:
                lines.begin()
                try:
                    line = next(lines, None)
                except LineTooLong:
                    lines.skip()
                    line = ""
                if line is None:
                    return
                if line == "" or not line.isspace():
                    number += 1
                    yield (number, lines.first), _object(line, lines.first, encoding)

    sample = (record for _, record in islice(records(None), SAMPLE) if not isinstance(record, str))
    return list(dict.fromkeys(name for record in sample for name in record)), records


def _object(line: str, number: int, encoding: Encoding) -> Record | str:
    if not line:
        return TOO_LONG
    if encoding.partly and ESCAPED.search(line):
        return f"not {encoding.name}"
    try:
        record = json.loads(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return f"broken JSON: line {number}, column {error.colno}: {error.msg}"
    except ValueError as error:  # such as a number with too many digits
        return f"broken JSON: line {number}: {error}"
    except RecursionError:
        return f"broken JSON: line {number} is nested too deeply"
    return record if isinstance(record, dict) else f"not a JSON object: line {number}: {line.strip()[:40]}"


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    """An open Parquet file. Raises DataError as soon as it turns out to be damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's own; for damaged pages Arrow raises an OSError without a number
        raise DataError(f"{path}: {error}", "a valid Parquet file", "write the file again") from error


def _parquet(path: Path) -> tuple[list[str], Records]:
    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        with _arrow(path) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
            number, rows = 0, max(1, min(4096, _BATCH * file.metadata.num_rows // max(1, sum(groups))))
            for batch in file.iter_batches(rows, columns=only):
                for record in _plain(batch):
                    number += 1
                    yield (number, 0), record

    with _arrow(path) as file:
        return list(file.schema_arrow.names), records


def _plain(batch: Any) -> list[Record | str]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:  # Arrow does not validate the UTF-8 of texts
        return [_record(batch, i) for i in range(batch.num_rows)]


def _record(batch: Any, row: int) -> Record | str:
    try:
        record: Record = batch.slice(row, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason}"
    return record
