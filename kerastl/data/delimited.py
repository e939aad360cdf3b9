"""Records of CSV and TSV files. Broken records are reported and skipped: a stray quote affects only its own line."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.encoding import ESCAPED, Encoding
from kerastl.data.lines import MAX_CELL, TOO_LONG, Lines, LineTooLong
from kerastl.errors import DataError

Record = dict[str, Any]
Place = tuple[int, int]  # of a record: its number and its first line in the file, both from 1; line 0: has no lines
Records = Callable[[Sequence[str] | None], Iterator[tuple[Place, Record | str]]]

MARKS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
HEAD = 1 << 16  # bytes from which the delimiter is detected
_RECORDS = 20  # records in them that are examined


def _own_csv() -> Any:
    """A private copy of the csv module, because the maximum size of a cell is a setting of the whole module."""
    spec = importlib.util.find_spec("_csv")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(MAX_CELL)
    return module


CSV = _own_csv()


def delimited(path: Path, opener: Callable[[], BinaryIO], encoding: Encoding
              ) -> tuple[list[str], list[str], Records]:
    """The columns, notes, and a function that returns each record, or why it is broken, with its place.

    Raises DataError if the header cannot be read.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    with opener() as file:
        head = file.read(HEAD)
    mark = _delimiter(head[: head.rfind(b"\n") + 1 or len(head)].decode(encoding.codec, "replace"), usual)
    notes = [] if mark == usual else [f"cells are separated by {MARKS[mark]}, not by {MARKS[usual]}"]

    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        with opener() as file:
            lines = Lines(file, encoding)
            next(CSV.reader(lines, delimiter=mark, strict=True), None)
            for number, (line, cells) in enumerate(_rows(lines, mark, len(names)), 1):
                if isinstance(cells, list) and encoding.partly and any(map(ESCAPED.search, cells)):
                    cells = f"not {encoding.name}"
                yield (number, line), cells if isinstance(cells, str) else dict(zip(names, cells, strict=False))

    with opener() as file:
        try:
            header: list[str] = next(CSV.reader(Lines(file, encoding), delimiter=mark, strict=True), [])
        except (CSV.Error, LineTooLong) as error:
            raise DataError(f"{path}: the first line is not a valid header ({error or TOO_LONG})",
                            "the column names in the first line", "correct the first line") from error
    names = [name.strip() for name in header]
    return names, notes, records


def _delimiter(head: str, usual: str) -> str:
    """The character that separates cells: the usual one, unless another fits the first records better."""
    best, most = usual, 0.0
    for mark in (usual, *(mark for mark in MARKS if mark != usual)):
        rows = list(islice(CSV.reader(StringIO(head, newline=""), delimiter=mark), 1 + _RECORDS))
        if not rows or len(rows[0]) < 2:
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if fits > max(most, 0.5 * (mark != usual)):
            best, most = mark, fits
        if mark == usual and fits > 0.5:
            break
    return best


def _rows(lines: Lines, mark: str, width: int) -> Iterator[tuple[int, list[str] | str]]:
    """The first line of each record, and its `width` cells or why it is broken. Empty lines are not records."""
    reader = CSV.reader(lines, delimiter=mark, strict=True)
    while True:
        lines.begin()
        first = lines.first
        cells: list[str] | str
        try:
            cells = next(reader)
            if mark == "\t" and lines.number > lines.first and _swallowed(lines, width):
                cells = _unquoted(lines)
        except StopIteration:
            return
        except (CSV.Error, LineTooLong) as error:
            cells = _broken(lines, str(error))
            if mark == "\t" and cells != TOO_LONG:  # the TSV format has no quoting
                cells = _unquoted(lines)
        if isinstance(cells, list):
            if not cells or (width > 1 and len(cells) == 1 and not cells[0].strip()):
                continue
            if len(cells) < width or any(cell.strip() for cell in cells[width:]):
                cells = f"wrong number of cells: {len(cells)} in line {first}, {width} in the header"
        yield first, cells


def _swallowed(lines: Lines, width: int) -> bool:
    """Whether some lines of a record are complete rows by themselves, so that its quotes are ordinary characters."""
    count = lines.number - lines.first + 1
    lines.again()
    return sum(line.count("\t") == width - 1 for line in islice(lines, count)) > 1


def _unquoted(lines: Lines) -> list[str]:
    lines.again()
    return next(lines).rstrip("\r\n").split("\t")


def _broken(lines: Lines, error: str) -> str:
    """Why a record is broken. Reading continues after its first line, or after the whole record if it is too long."""
    first, last = lines.first, lines.number
    if not error or "limit" in error:  # the line or a cell is too long
        if lines.skip(quoted=True):
            return TOO_LONG
        error = "unexpected end"
    lines.skip()
    if "unexpected end" in error:
        return f"broken quoting: a quote opened in line {first} is never closed"
    if last > first:
        return f"broken quoting: a quote opened in line {first} is closed in the middle of line {last}"
    if "new-line" in error:
        return f"broken line: a carriage return inside line {first}"
    return f"broken quoting: text after the closing quote in line {first}"
