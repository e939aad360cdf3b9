"""Records of CSV and TSV files. Broken records are reported and skipped: a stray quote affects only its own line.

Parsed by Python's `csv`, strictly, and not by `pyarrow.csv`: its handler of invalid rows sees those with another number
of cells, but a quote that is never closed takes the rest of the file along, and it does not know the line of a row
(`test_other_readers_lose_rows_behind_a_stray_quote`).
"""

import csv
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.broken import Broken, broken_cells
from kerastl.data.dialect import DELIMITERS, HEAD, Dialect, count_escapes, dialect_of
from kerastl.data.encoding import Encoding
from kerastl.data.lines import MAX_CELL, TOO_LONG, Lines, LineTooLong
from kerastl.errors import DataError

Record = dict[str, Any]
Place = tuple[int, int]  # of a record: its number and its first line in the file, both from 1; line 0: has no lines
Records = Callable[[Sequence[str] | None], Iterator[tuple[Place, Record | str]]]

_SAMPLE = 200  # records that are examined for columns without a name
_LARGE_SAMPLE = 20_000  # where lines do not tell how quotes are written
_LIMIT = threading.Lock()  # csv's limit of a cell is one for the whole process


@dataclass(frozen=True)
class _Layout:
    """How the cells of a record become those of the named columns."""

    dialect: Dialect
    width: int  # cells of the header
    index: int = 0  # cells in front of them that the header has no name for


def delimited(path: Path, usual: str, opener: Callable[[], BinaryIO], encoding: Encoding
              ) -> tuple[list[str], list[str], Dialect, Records]:
    """The columns, notes, the dialect, and a function that returns each record, or why it is broken, with its place.

    usual: the delimiter that the name of the file implies. Raises DataError if the header cannot be read.
    """
    with opener() as file:
        dialect = dialect_of(file.read(HEAD), encoding, usual)
    header, layout = _layout(_headers(path, dialect, opener, encoding), opener, encoding)
    dialect = layout.dialect
    sample, _ = _sample(opener, layout, encoding)
    names, notes = _named(header, [row[layout.index:] for row in sample])
    notes = dialect.notes(usual) + notes
    if layout.index:
        notes.append("the rows have one more cell than the header: the first, a number, is not used")
    if names and layout.width == 1:
        notes.append(f"one column: {DELIMITERS.get(dialect.delimiter, repr(dialect.delimiter))} are part of its cells")

    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        with opener() as file:
            for number, (line, cells) in enumerate(_rows(_body(file, dialect, encoding), layout), 1):
                yield (number, line), _record(cells, names, header, layout, encoding)

    return names, notes, dialect, records


def _record(cells: "list[str] | _Odd", names: Sequence[str], header: Sequence[str], layout: _Layout, encoding: Encoding
            ) -> Record | str:
    """A record, or why it is broken."""
    if isinstance(cells, _Odd):
        return broken_cells(cells.reason, names, cells.cells[layout.index:], layout.width)
    cells = cells[layout.index:]
    if encoding.partly and (why := next(filter(None, map(encoding.unreadable, cells)), "")):
        return broken_cells(why, names, cells, layout.width)
    if len(cells) == len(header) > 1 and cells[-1] == header[-1] and _same(cells, header):
        return Broken("the header again")  # of files that were joined
    return dict(zip(names, cells, strict=False))


def _same(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row is the header, apart from a byte order mark. One without names says nothing."""
    return any(header) and [cell.strip("\ufeff") for cell in cells] == [name.strip("\ufeff") for name in header]


@dataclass(frozen=True)
class _Odd:
    """Cells that are not a record, and why."""

    reason: str
    cells: list[str]


def _headers(path: Path, dialect: Dialect, opener: Callable[[], BinaryIO], encoding: Encoding
             ) -> list[tuple[list[str], Dialect]]:
    """The header in each way to write quotes in which it is valid, the usual way first."""
    headers, errors = list[tuple[list[str], Dialect]](), list[Exception]()
    for way in (dialect, dialect.other):
        with opener() as file:
            lines = Lines(file, encoding)
            _pass_sep(lines, way)
            lines.change = way.change
            try:
                headers.append((next((row for row in way.reader(lines) if row), []), way))
            except (csv.Error, LineTooLong) as error:
                errors.append(error)
    if not headers:
        raise DataError(f"{path}: the first line is not a valid header ({errors[0] or TOO_LONG})",
                        "the column names in the first line", "correct the first line") from errors[0]
    return headers


def _layout(headers: Sequence[tuple[list[str], Dialect]], opener: Callable[[], BinaryIO], encoding: Encoding
            ) -> tuple[list[str], _Layout]:
    """The header and the layout, in the way to write quotes that fits the rows best."""
    layouts = [_Layout(way, len(header)) for header, way in headers]
    layouts = [replace(layout, index=_has_index(_sample(opener, layout, encoding)[0], layout.width))
               for layout in layouts]
    if len(layouts) == 1:
        return headers[0][0], layouts[0]
    widths = layouts[0].width + layouts[0].index, layouts[1].width + layouts[1].index
    doubled, escaped, examined = count_escapes(layouts[0].dialect, opener, encoding, widths)
    unclear = examined and bool(doubled) == bool(escaped)  # no line, if all are parts of cells of several lines
    count = _SAMPLE if doubled else _LARGE_SAMPLE
    losses = [_sample(opener, layout, encoding, count)[1] if unclear else 0 for layout in layouts]
    best = losses[1] < losses[0] or (losses[1] == losses[0] and escaped > doubled)  # some lines fit by chance
    mixed = bool(doubled and escaped and losses[best])
    return headers[best][0], replace(layouts[best], dialect=replace(layouts[best].dialect, mixed=mixed))


def _sample(opener: Callable[[], BinaryIO], layout: _Layout, encoding: Encoding, count: int = _SAMPLE
            ) -> tuple[list[list[str]], int]:
    """The first records, and how many of them are broken or have not as many cells as the header."""
    with opener() as file:
        rows = list(islice(_rows(_body(file, layout.dialect, encoding), layout, sample=True), count))
    whole = [cells for _, cells in rows if isinstance(cells, list)]
    return whole, len(rows) - sum(len(cells) == layout.width + layout.index for cells in whole)


def _body(file: BinaryIO, dialect: Dialect, encoding: Encoding) -> Lines:
    """The lines after the header."""
    lines = Lines(file, encoding)
    _pass_sep(lines, dialect)
    next((row for row in dialect.reader(lines) if row), None)
    lines.change = dialect.change
    return lines


def _pass_sep(lines: Lines, dialect: Dialect) -> None:
    while dialect.sep_line and (line := next(lines, None)) is not None:
        if line.strip():
            return


def _has_index(rows: list[list[str]], width: int) -> int:
    """1 if nearly all rows have one more cell than the header, and the first is a number that no other row has. If the
    last cells are empty, all but a few, the lines end in a delimiter instead."""
    more = [row for row in rows if len(row) == width + 1]
    first, filled = {row[0].strip() for row in more}, sum(bool(row[-1].strip()) for row in more)
    return int(bool(filled) and filled >= 0.1 * len(more) and len(more) >= 0.9 * len(rows)
               and len(first) == len(more) and all(name.isdecimal() for name in first))


def _named(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[str]]:
    """The names of the columns, and notes. Columns at the end without a name and content are dropped."""
    names, notes = [name.strip("\ufeff \t\r\n") for name in header], []
    empty = len(names)
    while empty and not names[empty - 1] and not any("".join(row[empty - 1:]).strip() for row in rows):
        empty -= 1
    if 0 < empty < len(names):
        notes.append("lines end in a delimiter: the empty column behind it is not used")
        names = names[:empty]
    for i, name in enumerate(names):
        if not name and len(names) > 1:
            names[i] = f"column {i + 1}"
            notes.append(f"column {i + 1} has no name in the header")
    return names, notes


def _rows(lines: Lines, layout: _Layout, sample: bool = False) -> Iterator[tuple[int, list[str] | _Odd]]:
    """The first line of each record, and its cells or why it is broken. Empty lines are not records. sample: also
    records with more cells than the header."""
    dialect, width = layout.dialect, layout.width + layout.index
    reader = dialect.reader(lines)
    while True:
        lines.begin()
        first = lines.first
        cells: list[str] | _Odd
        try:
            cells = _next(reader, lines, dialect)
            if not sample and dialect.delimiter == "\t" and lines.number > lines.first and _swallowed(lines, width):
                cells = _unquoted(lines, dialect)
        except StopIteration:
            return
        except (csv.Error, LineTooLong) as error:
            cells = _broken(lines, str(error), dialect)
            if isinstance(error, csv.Error) and cells.reason != TOO_LONG:
                cells = _in_another_way(lines, layout) or cells
        if isinstance(cells, list):
            if not cells or (width > 1 and len(cells) == 1 and not cells[0].strip()):
                continue
            if not sample and (len(cells) < width or any(cell.strip() for cell in cells[width:])):
                wrong = f"wrong number of cells: {len(cells)} in line {first}, {width} in the header"
                cells = (_in_another_way(lines, layout) if lines.number == first else None) or _Odd(wrong, cells)
        yield first, cells


def _next(reader: Any, lines: Lines, dialect: Dialect) -> list[str]:
    """The next record. `csv` limits cells to 128 KB, for the whole process: beyond that, the record is read again under
    our limit, which is then taken back."""
    try:
        row: list[str] = next(reader)
    except csv.Error as error:
        if "limit" not in str(error):
            raise
        lines.again()
        with _long_cells():
            row = next(dialect.reader(lines))
    return row


@contextmanager
def _long_cells() -> Iterator[None]:
    with _LIMIT:
        before = csv.field_size_limit(MAX_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _in_another_way(lines: Lines, layout: _Layout) -> list[str] | None:
    """The cells of the record's only line, or of its first if it is broken, where they are as many as in the header: of
    TSV without quotes, of one column the whole line, otherwise with the other way to write quotes, if the file has
    both."""
    dialect, width = layout.dialect, layout.width + layout.index
    if dialect.delimiter != "\t" and width > 1 and not dialect.mixed:
        return None
    lines.again()
    lines.change, change = None, lines.change
    line = next(lines)
    lines.change = change
    if width == 1:
        return [line.rstrip("\r\n")]
    cells = dialect.other.cells(line) if dialect.mixed else line.rstrip("\r\n").split("\t")
    return cells if cells is not None and len(cells) == width else None


def _swallowed(lines: Lines, width: int) -> bool:
    """Whether some lines of a record are complete rows by themselves, so that its quotes are ordinary characters."""
    count = lines.number - lines.first + 1
    lines.again()
    return sum(line.count("\t") == width - 1 for line in islice(lines, count)) > 1


def _unquoted(lines: Lines, dialect: Dialect) -> list[str]:
    lines.again()
    return next(lines).rstrip("\r\n").split(dialect.delimiter)


def _broken(lines: Lines, error: str, dialect: Dialect) -> _Odd:
    """Why a record is broken, and the cells of its first line. Reading continues after that line, or after the whole
    record if it is too long."""
    first, last = lines.first, lines.number
    if not error or "limit" in error:  # the line or a cell is too long
        if lines.skip(quoted=True):
            return _Odd(TOO_LONG, [])
        lines.skip()
        return _Odd(f"broken quoting: a quote opened in line {first} is never closed", [])
    lines.again()
    cells = [cell.strip(dialect.quote) for cell in next(lines).rstrip("\r\n").split(dialect.delimiter)]
    lines.skip()
    if "unexpected end" in error:
        return _Odd(f"broken quoting: a quote opened in line {first} is never closed", cells)
    if last > first:
        return _Odd(f"broken quoting: a quote opened in line {first} is closed in the middle of line {last}", cells)
    if "new-line" in error:
        return _Odd(f"broken line: a carriage return inside line {first}", [])
    return _Odd(f"broken quoting: text after the closing quote in line {first}", cells)
