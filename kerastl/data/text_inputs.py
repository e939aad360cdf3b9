"""Texts without labels: those of files, folders, tables and arguments, one by one and in order."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.data.cells import Kept, records_with_cells
from kerastl.data.columns import Columns, choose
from kerastl.data.detection import check_modality, looks_like_image, modality_of_folder, modality_of_table
from kerastl.data.encoding import ESCAPED
from kerastl.data.input_row import InputRow
from kerastl.data.lines import MAX_CELL, TOO_LONG
from kerastl.data.options import ReadOptions
from kerastl.data.rows import is_missing, printable
from kerastl.data.shards import is_table, open_source
from kerastl.data.tables import TABLES, Table
from kerastl.data.text_rows import text_file, text_in
from kerastl.data.treebanks import refuse_treebank
from kerastl.data.walk import walk
from kerastl.errors import DataError
from kerastl.files import is_remote, prefetched, shown, source_path
from kerastl.modality import TEXT

ONE_OF_PAIR = "one text, but the model takes pairs of texts: pass a table with two columns of texts"


def text_rows(source: str, options: ReadOptions, pair: bool, notes: list[str],
              counts: list[int | None] | None = None, kept: Kept | None = None) -> Iterator[InputRow]:
    """A row for each text of a source: a .txt file, the .txt files in a folder, the rows of a table, or else the source
    itself is a text.

    pair: whether the model takes pairs of texts. notes: is filled, while rows are read, with what was understood.
    counts: is filled with how many more rows than one there are, None for a table. kept: is filled with the columns of
    a table, whose rows then have their cells. Raises DataError if the source contains images, looks like a path and
    does not exist, or cannot be opened.
    """
    remote = is_remote(source) and not any(map(str.isspace, source))
    path, counts = source_path(source) if remote else Path(source), [] if counts is None else counts
    if not os.path.exists(path if remote else source):  # an empty text is no folder
        if looks_like_path(source):
            raise DataError(f"no such file or folder: {source}", "a text, or the path of an existing file or folder",
                            "check the path")
        yield text_row(source, source, pair)
    elif is_table(path):
        counts.append(None)
        yield from _of_table(open_source(path), options, pair, notes, kept)
    elif path.is_dir():
        yield from _of_folder(path, pair, notes, counts)
    elif path.suffix.lower() == ".txt":
        yield _of_file(str(path), pair, notes)
    elif looks_like_image(source):
        raise DataError(f"{source} is an image, but the model is for texts", "texts, .txt files, folders of .txt files,"
                        " or tables", "use a model for images")
    else:
        refuse_treebank(path)
        raise DataError(f"{source} is not in a supported format", f"a .txt file, a folder of them, a table "
                        f"({', '.join(TABLES)}), or a text", "save it as .txt")


def text_row(text: Any, name: str, pair: bool) -> InputRow:
    """The row of a text, or of a tuple of two. name: of its source, for one that is too long to be shown."""
    parts = text if isinstance(text, tuple) else (text,)
    shown = printable("\t".join(parts))
    if any(map(ESCAPED.search, parts)):
        return InputRow(shown, error="not UTF-8: see the bytes that are shown as \ufffd")
    if max(map(len, parts)) > MAX_CELL:
        return InputRow(printable(name)[:200], error=TOO_LONG)
    if pair and len(parts) == 1:
        return InputRow(shown, error=ONE_OF_PAIR)
    if not pair and len(parts) == 2:
        return InputRow(shown, error="a pair of texts, but the model takes one text: name one column in `text_column`")
    return InputRow(shown, text)


def _of_folder(folder: Path, pair: bool, notes: list[str], counts: list[int | None]) -> Iterator[InputRow]:
    check_modality(str(folder), modality_of_folder(folder), TEXT)
    files = list(walk(folder))
    texts = [str(file) for file in files if file.suffix.lower() == ".txt"]
    if not texts:
        raise DataError(f"no .txt files in {folder}", "a folder of .txt files", "check the path")
    if len(texts) < len(files):
        notes.append(f"{folder}: {len(files) - len(texts):,} of {len(files):,} files are not .txt files and get no "
                     "prediction")
    counts.append(len(texts) - 1)
    yield from (_of_file(file, pair, notes) for file in prefetched(texts))


def _of_file(path: str, pair: bool, notes: list[str]) -> InputRow:
    text, encoding, why = text_file(path)
    name = printable(shown(path))
    if why:
        return InputRow(name, error=f"{name}: {why}")
    if encoding and encoding.note:
        notes.append(f"{name}: {encoding.note}")
    row = text_row(text, text, pair)
    return InputRow(name, error=f"{name}: {row.error}") if row.error else row


def _of_table(table: Table, options: ReadOptions, pair: bool, notes: list[str], kept: Kept | None
              ) -> Iterator[InputRow]:
    if options.text_column is None and table.names:
        check_modality(table.where, modality_of_table(table), TEXT)
    columns = choose(table, options, False)
    notes += [f"{table.where}: {note}" for note in (*table.notes, columns.note)]
    for origin, record, cells in records_with_cells(table, columns.read(table.names), kept, notes):
        where = f"{table.where}, {origin}"
        text, why = (None, record) if isinstance(record, str) else _text_in(record, columns)
        row = InputRow(where, error=why) if why else text_row(text, where, pair)
        if row.error:
            row = InputRow(printable(where), error=printable(row.error))
        yield replace(row, cells=cells)


def _text_in(record: dict[str, Any], columns: Columns) -> tuple[Any, str]:
    """The text or pair in a record, or why there is none. A missing value is not an empty text."""
    missing = [name for name in columns.items if is_missing(record.get(name))]
    return (None, f"missing text: no value in column {missing[0]!r}") if missing else text_in(record, columns)


def looks_like_path(text: str) -> bool:
    """Whether a text is one word that has a slash and is not a URL, or has the extension of a supported file."""
    one_word = bool(text) and not any(map(str.isspace, text))
    return one_word and ((os.sep in text and "://" not in text) or text.lower().endswith((".txt", *TABLES)))
