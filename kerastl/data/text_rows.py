"""Rows of texts, one at a time, from a table or from a folder of .txt files; what cannot be used is left out."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kerastl.data.columns import Columns
from kerastl.data.delimited import Record
from kerastl.data.encoding import Encoding, decoded
from kerastl.data.examples import SkippedRows
from kerastl.data.folders import folder_rows, walk
from kerastl.data.lines import MAX_CELL, TOO_LONG
from kerastl.data.rows import UNLABELLED, Row, cell, labels_in, side_in
from kerastl.data.spool import Text
from kerastl.data.tables import Table

_SOMETHING = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]")  # controls become spaces before a text is tokenised


def table_texts(table: Table, columns: Columns, skipped: SkippedRows) -> Iterator[Row]:
    """The rows of a table whose text can be used and who have a label, if `columns` has one.

    Raises DataError for a side of the split that there is not.
    """
    for origin, record in table.records(columns.read(table.names)):
        if isinstance(record, str):
            skipped.add(origin, record)
            continue
        text, why = text_in(record, columns)
        labels = labels_in(record.get(columns.label)) if columns.label else UNLABELLED
        if (why := why or _unusable(text)) or labels is None:
            skipped.add(origin, why or "no label")
        else:
            group, side = cell(record.get("group")), side_in(table.where, origin, record.get("split"))
            yield Row(origin, text, labels, group, side)


def text_in(record: Record, columns: Columns) -> tuple[Text, str]:
    """A record's text or pair, and why it is none, "" where it is. Nothing is an empty text."""
    why, parts = "", list[str]()
    for name in columns.texts:
        value = record.get(name)
        if isinstance(value, list | dict):
            why, value = f"not a text: a {type(value).__name__} in column {name!r}", ""
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError as error:
                why, value = f"not UTF-8: {error.reason}", ""
        parts.append(value if isinstance(value, str) else cell(value))
    return (parts[0] if len(parts) == 1 else (parts[0], parts[1])), why


def folder_texts(root: Path, labelled: bool, skipped: SkippedRows, notes: list[str]) -> Iterator[Row]:
    """The .txt files of class folders, or of any folder when not `labelled`. Says which are not plain UTF-8."""
    if labelled:
        rows = folder_rows(root, skipped)
    else:
        rows = [Row(str(path.relative_to(root)), str(path), UNLABELLED) for path in walk(root)]
    told: dict[str, tuple[int, str]] = {}
    for row in rows:
        if not str(row.item).lower().endswith(".txt"):
            skipped.add(row.origin, "not a .txt file")
            continue
        text, encoding, why = text_file(str(row.item))
        if encoding and encoding.why:
            count, first = told.get(encoding.name, (0, f"{row.origin} ({encoding.why})"))
            told[encoding.name] = count + 1, first
        if why := why or _unusable(text):
            skipped.add(row.origin, why)
        else:
            yield Row(row.origin, text, row.labels, side=row.side)
    notes += [f"{name}: {count:,} file{'' if count == 1 else 's'}, the first {first}"
              for name, (count, first) in told.items()]


def text_file(path: str) -> tuple[str, Encoding | None, str]:
    """A file's text without the line end at its end, its encoding, and why it is no text, "" where it is."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            return "", None, "not a regular file"  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            data = file.read(4 * MAX_CELL + 1)
    except OSError as error:
        return "", None, str(error.strerror)
    if len(data) > 4 * MAX_CELL:
        return "", None, TOO_LONG
    text, encoding = decoded(data)
    return text.rstrip("\r\n"), encoding, f"not UTF-8: {encoding.why}" if encoding.partly else ""


def _unusable(text: Text) -> str:
    """Why a text takes no part, "" where it does. Of a pair neither may be empty, nor too long."""
    parts = (text,) if isinstance(text, str) else text
    if not all(map(_SOMETHING.search, parts)):
        return "empty text"
    return TOO_LONG if max(map(len, parts)) > MAX_CELL else ""
