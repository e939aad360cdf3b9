"""Records of Excel workbooks (.xlsx), read by openpyxl, which is optional."""

import errno
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from kerastl.data.broken import Broken, broken_cells
from kerastl.data.delimited import Record
from kerastl.data.layout import Batch, Layout, Opener, batch_of_records
from kerastl.errors import DataError

_ROWS = 1000  # read at a time
# What zipfile and openpyxl raise for damaged files: the latter does not check what it reads.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ParseError, KeyError, ValueError, TypeError, IndexError,
           AttributeError, NotImplementedError, RuntimeError)
_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})


def excel_layout(path: Path, opener: Opener) -> Layout:
    """The columns of the first sheet with content, of which the first row with content is the header. No sheet where
    there is none. Raises DataError if the file is damaged, or if openpyxl is not installed."""
    with _workbook(path, opener) as book:
        filled = [(sheet.title, first) for sheet in book.worksheets if (first := next(_rows(sheet), None))]
    if not filled:
        return Layout()
    title, (start, header) = filled[0]
    names = [str(_plain(value) if value is not None else "").strip() for value in header]
    while names and not names[-1]:
        names.pop()
    notes = [f"sheet {title!r} is read; not used: {', '.join(repr(name) for name, _ in filled[1:])}"
             ] if len(filled) > 1 else []
    for i, name in enumerate(names):
        if not name:
            names[i] = f"column {i + 1}"
            notes.append(f"column {i + 1} has no name in the header")
    return Layout(names, notes, sheet=title, header=start)


def excel_batches(path: Path, opener: Opener, layout: Layout, only: Sequence[str] | None) -> Iterator[Batch]:
    """The records of the sheet, each with its line. Raises DataError where the file is damaged."""
    if not layout.header:
        return
    with _workbook(path, opener) as book:
        rows = (row for row in _rows(book[layout.sheet]) if row[0] > layout.header)
        while block := list(islice(rows, _ROWS)):
            records = [_record(layout.names, cells, only) for _, cells in block]
            yield batch_of_records(records, [line for line, _ in block])


@contextmanager
def _workbook(path: Path, opener: Opener) -> Iterator[Any]:
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(f"{path} is an Excel file, and openpyxl is not installed", "openpyxl, or a .csv file",
                        "pip install kerastl[excel], or save the sheet as .csv") from error
    try:
        with opener() as file:
            with _quiet():
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                yield book
            finally:
                book.close()
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of a place outside the file
            raise
        raise DataError(f"{path} cannot be read: {error}", "a valid .xlsx file", "save it again, or as .csv") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without openpyxl's warnings of features of Excel that it ignores, such as rules for the input of cells."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="openpyxl")
        yield


def _rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The number and values of each row with content."""
    sheet.reset_dimensions()  # which some programs write wrongly
    rows = sheet.iter_rows(values_only=True)
    number = 0
    while True:
        with _quiet():
            block = list(islice(rows, _ROWS))
        if not block:
            return
        for values in block:
            number += 1
            if any(value is not None and str(value).strip() for value in values):
                yield number, list(values)


def _record(names: Sequence[str], cells: Sequence[Any], only: Sequence[str] | None) -> Record | Broken:
    if any(value is not None and str(value).strip() for value in cells[len(names):]):
        return broken_cells(f"wrong number of cells: {len(cells)}, {len(names)} in the header", names,
                            list(map(_plain, cells)), len(names))
    record = dict(zip(names, map(_plain, [*cells, *[None] * (len(names) - len(cells))]), strict=False))
    for name, value in record.items():
        if value in _ERRORS and (only is None or name in only):
            return Broken(f"the error of a formula: {value} in column {name!r}", record | {name: None})
    return record


def _plain(value: Any) -> Any:
    """A value as other tables have it: dates in ISO format."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date | time) else value
