"""Tables: the records of a CSV, TSV, JSONL or Parquet file, one at a time, and why where a record is broken."""

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.delimited import Record, Records, delimited
from kerastl.data.encoding import ESCAPED, Encoding, lines_of
from kerastl.data.lines import TOO_LONG, Lines, LineTooLong
from kerastl.errors import DataError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
LOOKED_AT = 1000  # records that tell what a table is
_BATCH = 8_000_000  # bytes of Parquet made into records at a time


@dataclass(frozen=True)
class Table:
    """A table that has been opened. Each call of `records` reads it anew: origins, and records or why there is none;
    it may leave out columns that are not among those asked for, if any are."""

    where: str  # as the user named it
    names: tuple[str, ...]  # of the columns
    records: Callable[[Sequence[str] | None], Iterator[tuple[str, Record | str]]]
    notes: tuple[str, ...] = ()  # what was decided in reading it

    def sample(self, n: int = LOOKED_AT) -> Iterator[Record]:
        """Of the first `n` records those that are not broken."""
        return (record for _, record in islice(self.records(None), n) if not isinstance(record, str))


def open_table(path: Path, folder: Path | None = None) -> Table:
    """Look a table over: its encoding, delimiter and columns. folder: where a copy goes, if one is needed.

    Raises DataError when it is none.
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
        return ((f"row {number}", record) for number, record in numbered(only))

    return Table(str(path), tuple(names), records, tuple(notes))


def check_columns(table: Table, wanted: tuple[str, ...]) -> None:
    """Raises DataError when a wanted column is missing, with the closest of those there are."""
    missing = [name for name in wanted if name not in table.names]
    if missing:
        close = closest(missing[0], [name for name in table.names if name not in wanted])
        raise DataError(f"{table.where} has columns {', '.join(table.names) or 'none'}", f"columns {', '.join(wanted)}",
                        f"rename {close!r} to {missing[0]!r}" if close else f"name a column {missing[0]!r}")


def closest(name: str, names: Sequence[str]) -> str | None:
    """The one of `names` that is most like `name`, whatever the case."""
    lower = {one.lower(): one for one in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return lower[close[0]] if close else None


def _jsonl(opener: Callable[[], BinaryIO], encoding: Encoding) -> tuple[list[str], Records]:
    def records(only: Sequence[str] | None) -> Iterator[tuple[int, Record | str]]:
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
                    yield number, _object(line, lines.number, encoding)

    looked_at = (record for _, record in islice(records(None), LOOKED_AT) if not isinstance(record, str))
    return list(dict.fromkeys(name for record in looked_at for name in record)), records


def _object(line: str, number: int, encoding: Encoding) -> Record | str:
    if not line:
        return TOO_LONG
    if encoding.partly and ESCAPED.search(line):
        return f"not {encoding.name}"
    try:
        record = json.loads(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return f"broken JSON: line {number}, column {error.colno}: {error.msg}"
    except ValueError as error:  # such as a number of too many digits
        return f"broken JSON: line {number}: {error}"
    except RecursionError:
        return f"broken JSON: line {number} is nested too deep"
    return record if isinstance(record, dict) else f"not a JSON object: line {number}: {line.strip()[:40]}"


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    """A Parquet file, open. Raises DataError as soon as it turns out not to be one."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's: damaged pages are an OSError of Arrow's own, without a number
        raise DataError(f"{path}: {error}", "a Parquet file", "write it again") from error


def _parquet(path: Path) -> tuple[list[str], Records]:
    def records(only: Sequence[str] | None) -> Iterator[tuple[int, Record | str]]:
        with _arrow(path) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
            number, rows = 0, max(1, min(4096, _BATCH * file.metadata.num_rows // max(1, sum(groups))))
            for batch in file.iter_batches(rows, columns=only):
                for record in _plain(batch):
                    number += 1
                    yield number, record

    with _arrow(path) as file:
        return list(file.schema_arrow.names), records


def _plain(batch: Any) -> list[Record | str]:
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:  # Arrow trusts that what is called text is UTF-8
        return [_one(batch, i) for i in range(batch.num_rows)]


def _one(batch: Any, row: int) -> Record | str:
    try:
        record: Record = batch.slice(row, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason}"
    return record
