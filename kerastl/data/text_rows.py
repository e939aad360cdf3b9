"""Rows of texts, one at a time, from a table or a folder of .txt files. Unusable rows are skipped."""

import os
from collections.abc import Iterator

from kerastl.data.columns import Columns
from kerastl.data.delimited import Record
from kerastl.data.encoding import Encoding, decoded
from kerastl.data.examples import SkippedRows
from kerastl.data.found_rows import FoundRows
from kerastl.data.lines import MAX_CELL, TOO_LONG
from kerastl.data.roles import group_in, label_in_words, label_of_broken, labels_of, split_of_row
from kerastl.data.rows import Row, cell
from kerastl.data.tables import Table
from kerastl.files import open_file, prefetched
from kerastl.inputs import EMPTY_TEXT, Text, is_empty_text


def table_texts(table: Table, columns: Columns, skipped: SkippedRows) -> Iterator[Row]:
    """The rows of a table that have a usable text, and a label if `columns` has one.

    Raises DataError for an unknown name in the split column.
    """
    for origin, record in table.records(columns.read(table.names)):
        if isinstance(record, str):
            skipped.add(origin, record, label_of_broken(record, columns), guessed=True)
            continue
        text, why = text_in(record, columns)
        labels, unlabelled = labels_of(record, columns)
        if (why := why or _unusable(text)) or labels is None:
            skipped.add(origin, why or unlabelled, label_in_words(labels))
        else:
            split = split_of_row(table.where, origin, record, columns)
            yield Row(origin, text, labels, group_in(record, columns), split)


def text_in(record: Record, columns: Columns) -> tuple[Text, str]:
    """The text or pair in a record, and why it is not a text ("" if it is). A missing value is an empty text."""
    why, parts = "", list[str]()
    for name in columns.items:
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


def folder_texts(rows: FoundRows, skipped: SkippedRows, notes: list[str]) -> Iterator[Row]:
    """The texts in .txt files, whose paths `rows` contain. Notes which are not plain UTF-8."""
    others: dict[str, tuple[int, str]] = {}  # by encoding: the number of files, and the first
    for row, _ in zip(rows, prefetched(rows.paths), strict=True):
        if not str(row.item).lower().endswith(".txt"):
            skipped.add(row.origin, "not a .txt file", label_in_words(row.labels))
            continue
        text, encoding, why = text_file(str(row.item))
        if encoding and encoding.why:
            count, first = others.get(encoding.name, (0, f"{row.origin} ({encoding.why})"))
            others[encoding.name] = count + 1, first
        if why := why or _unusable(text):
            skipped.add(row.origin, why, label_in_words(row.labels))
        else:
            yield Row(row.origin, text, row.labels, split=row.split)
    notes += [f"{name}: {count:,} file{'' if count == 1 else 's'}, the first {first}"
              for name, (count, first) in others.items()]


def text_file(path: str) -> tuple[str, Encoding | None, str]:
    """The text of a file without its final line end, its encoding, and why it is not a text ("" if it is)."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            return "", None, "not a regular file"  # opening a named pipe would block
        with open_file(path) as file:
            data = file.read(4 * MAX_CELL + 1)
    except OSError as error:
        return "", None, str(error.strerror)
    if len(data) > 4 * MAX_CELL:
        return "", None, TOO_LONG
    text, encoding = decoded(data)
    return text.rstrip("\r\n"), encoding, f"not UTF-8: {encoding.why}" if encoding.partly else ""


def _unusable(text: Text) -> str:
    """Why a text cannot be used ("" if it can). Neither text of a pair may be empty or too long."""
    parts = (text,) if isinstance(text, str) else text
    if any(map(is_empty_text, parts)):
        return EMPTY_TEXT
    return TOO_LONG if max(map(len, parts)) > MAX_CELL else ""
