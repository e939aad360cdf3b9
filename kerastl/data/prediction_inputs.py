"""The inputs of a prediction, row by row and in order: each with what is predicted on, or the reason why not."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kerastl.data.cells import Kept
from kerastl.data.encoding import decode_lines, decode_paths
from kerastl.data.image_inputs import image_rows
from kerastl.data.input_row import InputRow, broken_input
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.paths import Paths, from_windows
from kerastl.data.text_inputs import text_row, text_rows
from kerastl.errors import DataError, OptionError
from kerastl.files import is_file
from kerastl.modality import Modality

AS_TEXT = "if it is a text, pass it in `text`"


@dataclass(frozen=True)
class Reading:
    """How inputs are read. options: the columns of tables. pair: whether the model takes pairs of texts. cache_dir:
    where images inside tables are unpacked. notes: is filled, while rows are read, with what the user should know.
    counts: likewise with how many rows each source has, None where that is not known before it is read. kept: likewise
    with the columns of tables, whose rows then have their cells; None where these are not needed."""

    modality: Modality
    options: ReadOptions = READ_AS_USUAL
    pair: bool = False
    cache_dir: str | None = None
    notes: list[str] = field(default_factory=list)
    counts: list[int | None] = field(default_factory=list)
    kept: Kept | None = None

    @property
    def expected(self) -> int | None:
        """How many rows there are, by what is known so far; None if that is not known."""
        known = [count for count in self.counts if count is not None]
        return sum(known) if len(known) == len(self.counts) else None


def input_rows(reading: Reading, inputs: Iterable[str], *, lines: Iterable[str] | bytes = (),
               texts: Iterable[str] = ()) -> Iterator[InputRow]:
    """A row for each image or text of the inputs, in order.

    inputs: files, folders, tables, or texts; `-` stands for `lines`. lines: for a model of texts, each is a text; for
    images, each is a path, and blank lines are skipped; bytes, as read from standard input, are decoded as files are.
    texts: texts, whatever they look like; they come last. A source that cannot be opened is one row, with the reason.
    Raises OptionError for a text or a column of texts where the model takes images, and the reverse.
    """
    texts = list(texts)
    _check_arguments(reading, texts)
    paths, inputs = Paths(), list(inputs)
    reading.counts.append(len(inputs) + len(texts))
    for name in inputs:
        if name != "-":
            yield from _rows_of(reading, name, paths)
            continue
        reading.counts.append(None)  # lines of standard input may be empty, or name folders
        if reading.modality.line_is_input:
            yield from (text_row(line, line, reading.pair) for line in _lines(reading, lines))
        else:
            for path in decode_paths(lines) if isinstance(lines, bytes) else lines:
                yield from _rows_of(reading, path, paths) if path.strip() else ()
    yield from (text_row(text, text, reading.pair) for text in texts)


def _check_arguments(reading: Reading, texts: Sequence[str]) -> None:
    columns = reading.options.columns
    other = {"text_column": columns.get("text_column"), "text": texts or None} if reading.modality.in_files else \
        {"path_column": columns.get("path_column")}
    for argument, value in other.items():
        if value is not None:
            raise OptionError(f"`{argument}` is {value}, but the model is for {reading.modality.nouns}",
                              f"{reading.modality.nouns}, or another model", f"omit `{argument}`")


def _rows_of(reading: Reading, source: str, paths: Paths) -> Iterator[InputRow]:
    try:
        if reading.modality.in_files:
            if not source:  # which pathlib takes for the current folder
                raise DataError("an empty path", reading.modality.readable, "check the variable or the line it is from")
            yield from (_existing(row, paths) for row in
                        image_rows(source, reading.options, reading.notes, reading.cache_dir, reading.counts,
                                   reading.kept))
        else:
            yield from text_rows(source, reading.options, reading.pair, reading.notes, reading.counts, reading.kept)
    except (DataError, OSError) as error:
        yield broken_input(source, error, "" if reading.modality.in_files else AS_TEXT)


def _existing(row: InputRow, paths: Paths) -> InputRow:
    """The row, with an error if there is no file at its path. A path with backslashes may be a Windows path."""
    if row.error or is_file(row.item):
        return row
    if os.path.exists(row.item):
        return replace(row, item=None, error=f"not a regular file: {row.name}")
    if meant := from_windows(str(row.item)):
        return replace(row, item=Path(meant))
    cause = paths.cause(str(row.item))
    return replace(row, item=None, error=f"no such file or folder: {row.name}" + (f": {cause}" if cause else ""))


def _lines(reading: Reading, lines: Iterable[str] | bytes) -> Iterable[str]:
    if not isinstance(lines, bytes):
        return lines
    texts, encoding = decode_lines(lines)
    if encoding.note:
        reading.notes.append(f"standard input: {encoding.note}")
    return texts
