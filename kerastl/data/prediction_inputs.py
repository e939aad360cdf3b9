"""The inputs of a prediction, row by row and in order: each with what is predicted on, or the reason why not."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerastl.data.columns import choose
from kerastl.data.detection import check_modality, looks_like_image, modality_of_folder, modality_of_table
from kerastl.data.encoding import ESCAPED, decoded
from kerastl.data.folders import walk
from kerastl.data.lines import MAX_CELL, TOO_LONG
from kerastl.data.options import ReadOptions
from kerastl.data.rows import printable
from kerastl.data.tables import TABLES, Table, check_columns, open_table
from kerastl.data.text_rows import text_file
from kerastl.errors import DataError, OptionError
from kerastl.modality import Modality

AS_TEXT = "if it is a text, pass it in `text`"
ONE_OF_PAIR = "one text, but the model takes pairs of texts: pass a table with two columns of texts"


@dataclass(frozen=True)
class InputRow:
    """One input. name: how it is shown, a path or a text. item: the path or the bytes of an image; a text or a pair of
    texts. error: why there is nothing to predict on; empty if there is."""

    name: str
    item: Any = None
    error: str = ""


@dataclass(frozen=True)
class Reading:
    """How inputs are read. notes: is filled, while rows are read, with what the user should know about them."""

    modality: Modality
    text_column: str | None = None
    pair: bool = False
    notes: list[str] = field(default_factory=list)


def input_rows(reading: Reading, inputs: Iterable[str], *, lines: Iterable[str] | bytes = (),
               texts: Iterable[str] = ()) -> Iterator[InputRow]:
    """A row for each image or text of the inputs, in order.

    inputs: files, folders, tables, or texts; `-` stands for `lines`: for a model of texts, each is a text; for images,
    each is a path, and blank lines are skipped. lines: bytes, as read from standard input, are decoded as files are.
    texts: texts, whatever they look like; they come last. A source that cannot be opened is one row, with the reason.
    Raises OptionError for a text or a column of texts where the model takes images.
    """
    texts, images = list(texts), reading.modality.in_files
    if images:
        _no_texts(reading, texts)
    source_rows = _image_rows if images else _text_rows
    for name in inputs:
        try:
            if name != "-":
                yield from source_rows(reading, name)
            elif images:
                for path in _paths(reading, lines):
                    yield from _guarded(source_rows, reading, path)
            else:
                yield from (_text_row(reading, line, line) for line in _lines(reading, lines))
        except (DataError, OSError) as error:
            yield _broken(name, error, "" if images else AS_TEXT)
    yield from (_text_row(reading, text, text) for text in texts)


def _no_texts(reading: Reading, texts: Sequence[str]) -> None:
    for argument, value in (("text_column", reading.text_column), ("text", texts or None)):
        if value is not None:
            raise OptionError(f"`{argument}` is {value}, but the model is for images", "images, or a model for texts",
                              f"omit `{argument}`")


def _guarded(source_rows: Any, reading: Reading, name: str) -> Iterator[InputRow]:
    try:
        yield from source_rows(reading, name)
    except (DataError, OSError) as error:
        yield _broken(name, error)


def _broken(name: str, error: DataError | OSError, hint: str = "") -> InputRow:
    reason = error.line if isinstance(error, DataError) else f"{name}: {error.strerror or error}"
    reason += f"; {hint}" * (hint not in reason)
    return InputRow(printable(name), error=printable(reason))


# Images


def _image_rows(reading: Reading, name: str) -> Iterator[InputRow]:
    if os.path.isdir(name):
        check_modality(name, modality_of_folder(Path(name)), reading.modality)
        yield from (_file_row(str(file)) for file in walk(Path(name)))
    elif name.lower().endswith(TABLES) and os.path.isfile(name):
        table = open_table(Path(name))
        reading.notes.extend(f"{name}: {note}" for note in table.notes)
        if "path" not in table.names and any(table.sample(1)):
            check_modality(name, modality_of_table(table), reading.modality)
        check_columns(table, ("path",))
        yield from (_table_image(Path(name).parent, f"{name}, {origin}", record)
                    for origin, record in table.records(["path"]))
    else:
        yield _file_row(name)


def _file_row(name: str) -> InputRow:
    if os.path.isfile(name):
        return InputRow(printable(name), Path(name))
    problem = "not a regular file" if os.path.exists(name) else "no such file or folder"
    return InputRow(printable(name), error=f"{problem}: {printable(name)}")


def _table_image(folder: Path, where: str, record: dict[str, Any] | str) -> InputRow:
    if isinstance(record, str):
        return InputRow(printable(where), error=printable(record))
    value = record.get("path")
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):  # an image inside the table
        return InputRow(printable(str(value.get("path") or where)), value["bytes"])
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if not isinstance(value, str) or not value.strip():
        problem = "no path" if _missing(value) or value == "" else f"not a path: a {type(value).__name__}"
        return InputRow(printable(where), error=problem)
    return _file_row(str(folder / value))


# Texts


def _text_rows(reading: Reading, name: str) -> Iterator[InputRow]:
    if not os.path.exists(name):
        if _looks_like_path(name):
            raise DataError(f"no such file or folder: {name}", "a text, or the path of an existing file or folder",
                            "check the path")
        yield _text_row(reading, name, name)
    elif os.path.isdir(name):
        yield from _text_folder(reading, name)
    elif name.lower().endswith(".txt"):
        yield _text_file(reading, name)
    elif name.lower().endswith(TABLES):
        yield from _text_table(reading, name)
    elif looks_like_image(name):
        raise DataError(f"{name} is an image, but the model is for texts", "texts, .txt files, folders of .txt files, "
                        "or tables", "use a model for images")
    else:
        raise DataError(f"{name} is not in a supported format", f"a .txt file, a folder of them, a table "
                        f"({', '.join(TABLES)}), or a text", "save it as .txt")


def _text_folder(reading: Reading, name: str) -> Iterator[InputRow]:
    check_modality(name, modality_of_folder(Path(name)), reading.modality)
    files = list(walk(Path(name)))
    texts = [str(file) for file in files if file.suffix.lower() == ".txt"]
    if not texts:
        raise DataError(f"no .txt files in {name}", "a folder of .txt files", "check the path")
    if len(texts) < len(files):
        reading.notes.append(f"{name}: {len(files) - len(texts):,} of {len(files):,} files are not .txt files and get "
                             "no prediction")
    yield from (_text_file(reading, file) for file in texts)


def _text_file(reading: Reading, path: str) -> InputRow:
    text, encoding, why = text_file(path)
    if why:
        return InputRow(printable(path), error=f"{printable(path)}: {why}")
    if encoding and encoding.note:
        reading.notes.append(f"{path}: {encoding.note}")
    row = _text_row(reading, text, text)
    return InputRow(printable(path), error=f"{printable(path)}: {row.error}") if row.error else row


def _text_table(reading: Reading, name: str) -> Iterator[InputRow]:
    table = open_table(Path(name))
    reading.notes.extend(f"{name}: {note}" for note in table.notes)
    columns = _columns(reading, table)
    for origin, record in table.records([column for column in table.names if column in columns]):
        where = f"{name}, {origin}"
        parts = [record] if isinstance(record, str) else [_cell_text(record.get(column), column) for column in columns]
        faults = [part for part in parts if isinstance(part, str)]
        if faults:
            yield InputRow(printable(where), error=printable(faults[0]))
            continue
        texts = tuple(text for part in parts for text in part)
        row = _text_row(reading, texts if len(texts) > 1 else texts[0], where)
        yield row if not row.error else InputRow(printable(where), error=row.error)


def _columns(reading: Reading, table: Table) -> tuple[str, ...]:
    if reading.text_column is None and table.names:
        check_modality(table.where, modality_of_table(table), reading.modality)
    columns = choose(table, ReadOptions(text_column=reading.text_column), False)
    reading.notes.append(f"{table.where}: {columns.note}")
    return columns.items


def _cell_text(value: Any, column: str) -> tuple[str] | str:
    """The text in a cell, as a tuple of it; or why it is not a text."""
    if _missing(value):
        return f"missing text: no value in column {column!r}"
    if isinstance(value, list | dict):
        return f"not a text: a {type(value).__name__} in column {column!r}"
    if isinstance(value, bytes):
        try:
            return (value.decode(),)
        except UnicodeDecodeError as error:
            return f"not UTF-8: {error.reason}"
    return (value if isinstance(value, str) else str(value),)


def _missing(value: Any) -> bool:
    return value is None or value != value  # NaN is not equal to itself


def _text_row(reading: Reading, text: Any, name: str) -> InputRow:
    parts = text if isinstance(text, tuple) else (text,)
    shown = printable("\t".join(parts))
    if any(map(ESCAPED.search, parts)):
        return InputRow(shown, error="not UTF-8: see the bytes that are shown as \ufffd")
    if max(map(len, parts)) > MAX_CELL:
        return InputRow(printable(name)[:200], error=TOO_LONG)
    if reading.pair and len(parts) == 1:
        return InputRow(shown, error=ONE_OF_PAIR)
    if not reading.pair and len(parts) == 2:
        return InputRow(shown, error="a pair of texts, but the model takes one text: name one column in `text_column`")
    return InputRow(shown, text)


def _looks_like_path(text: str) -> bool:
    """Whether a text is one word that has a slash and is not a URL, or has the extension of a supported file."""
    one_word = bool(text) and not any(map(str.isspace, text))
    return one_word and ((os.sep in text and "://" not in text) or text.lower().endswith((".txt", *TABLES)))


# Standard input


def _lines(reading: Reading, lines: Iterable[str] | bytes) -> list[str]:
    """The lines of standard input, decoded as a file is. Only line ends separate them, not U+2028 or form feeds."""
    if not isinstance(lines, bytes):
        return list(lines)
    text, encoding = decoded(lines)
    if encoding.note:
        reading.notes.append(f"standard input: {encoding.note}")
    return _split(text)


def _paths(reading: Reading, lines: Iterable[str] | bytes) -> list[str]:
    """The paths on standard input. Their bytes need not be UTF-8: file names are any bytes."""
    if isinstance(lines, bytes):
        text, encoding = decoded(lines)
        if encoding.codec.startswith("utf-16"):
            reading.notes.append(f"standard input: {encoding.note}")
        else:
            text = os.fsdecode(lines[encoding.start:])
        lines = _split(text)
    return [line for line in lines if line.strip()]


def _split(text: str) -> list[str]:
    ends = r"\r?\n" if "\n" in text else "\r"
    return re.split(ends, re.sub(rf"({ends})\Z", "", text)) if text else []
