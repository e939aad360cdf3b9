"""Records of CSV and TSV, a broken one told and left, so that a stray quote takes no more than its own line along."""

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
Records = Callable[[Sequence[str] | None], Iterator[tuple[int, Record | str]]]

MARKS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
HEAD = 1 << 16  # bytes by which the delimiter is told
_LOOKED_AT = 20  # records of these


def _own_csv() -> Any:
    """A csv module of our own: the most characters of a cell are set for a whole module, and others' stays theirs."""
    spec = importlib.util.find_spec("_csv")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(MAX_CELL)
    return module


CSV = _own_csv()


def delimited(path: Path, opener: Callable[[], BinaryIO], encoding: Encoding
              ) -> tuple[list[str], list[str], Records]:
    """Columns, notes, and what gives the records by their number, or why there is none.

    Raises DataError when the header cannot be read.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    with opener() as file:
        head = file.read(HEAD)
    mark = _delimiter(head[: head.rfind(b"\n") + 1 or len(head)].decode(encoding.codec, "replace"), usual)
    notes = [] if mark == usual else [f"cells are separated by {MARKS[mark]}, not {MARKS[usual]}"]

    def records(only: Sequence[str] | None) -> Iterator[tuple[int, Record | str]]:
        with opener() as file:
            lines = Lines(file, encoding)
            next(CSV.reader(lines, delimiter=mark, strict=True), None)
            for number, cells in enumerate(_rows(lines, mark, len(names)), 1):
                if isinstance(cells, list) and encoding.partly and any(map(ESCAPED.search, cells)):
                    cells = f"not {encoding.name}"
                yield number, cells if isinstance(cells, str) else dict(zip(names, cells, strict=False))

    with opener() as file:
        try:
            header: list[str] = next(CSV.reader(Lines(file, encoding), delimiter=mark, strict=True), [])
        except (CSV.Error, LineTooLong) as error:
            raise DataError(f"{path}: the first line is no header ({error or TOO_LONG})",
                            "the columns' names in the first line", "mend it") from error
    names = [name.strip() for name in header]
    return names, notes, records


def _delimiter(head: str, usual: str) -> str:
    """What separates cells: the usual, unless it does not fit the first records and another does."""
    best, most = usual, 0.0
    for mark in (usual, *(mark for mark in MARKS if mark != usual)):
        rows = list(islice(CSV.reader(StringIO(head, newline=""), delimiter=mark), 1 + _LOOKED_AT))
        if not rows or len(rows[0]) < 2:
            continue
        fits = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if fits > max(most, 0.5 * (mark != usual)):
            best, most = mark, fits
        if mark == usual and fits > 0.5:
            break
    return best


def _rows(lines: Lines, mark: str, width: int) -> Iterator[list[str] | str]:
    """The cells of each record, `width` of them, or why there are none. Empty lines are no records."""
    reader = CSV.reader(lines, delimiter=mark, strict=True)
    while True:
        lines.begin()
        cells: list[str] | str
        try:
            cells = next(reader)
            if mark == "\t" and lines.number > lines.first and _swallowed(lines, width):
                cells = _as_it_is(lines)
        except StopIteration:
            return
        except (CSV.Error, LineTooLong) as error:
            cells = _broken(lines, str(error))
            if mark == "\t" and cells != TOO_LONG:  # TSV proper has no quoting
                cells = _as_it_is(lines)
        if isinstance(cells, list):
            if not cells or (width > 1 and len(cells) == 1 and not cells[0].strip()):
                continue
            if len(cells) < width or any(cell.strip() for cell in cells[width:]):
                cells = f"wrong number of cells: {len(cells)} in line {lines.first}, {width} in the header"
        yield cells


def _swallowed(lines: Lines, width: int) -> bool:
    """Whether some of a record's lines are whole rows by themselves: then its quotes are only characters."""
    count = lines.number - lines.first + 1
    lines.again()
    return sum(line.count("\t") == width - 1 for line in islice(lines, count)) > 1


def _as_it_is(lines: Lines) -> list[str]:
    lines.again()
    return next(lines).rstrip("\r\n").split("\t")


def _broken(lines: Lines, error: str) -> str:
    """Why a record is broken. Reading goes on after its first line, or after the whole of one that is too long."""
    first, last = lines.first, lines.number
    if not error or "limit" in error:  # too long a line, or a cell
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
