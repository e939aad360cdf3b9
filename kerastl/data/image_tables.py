"""Tables of images: of paths, or with the images inside."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerastl.data.cells import Kept, records_with_cells
from kerastl.data.columns import Columns, choose
from kerastl.data.delimited import Record
from kerastl.data.detection import check_modality, looks_like_image, modality_of_table
from kerastl.data.examples import SkippedRows
from kerastl.data.options import ReadOptions
from kerastl.data.roles import group_in, label_in_words, label_of_broken, labels_of, split_of_row
from kerastl.data.rows import Row, is_missing
from kerastl.data.shards import open_source
from kerastl.data.tables import Table
from kerastl.data.unpacked import unpacked
from kerastl.files import leaves_bucket
from kerastl.modality import IMAGE


def open_images(path: Path, options: ReadOptions, cache_dir: str | Path | None, *, labelled: bool
                ) -> tuple[Table, Columns]:
    """A table of images and its columns. Images inside the table are unpacked to the cache directory.

    Raises DataError if the file is not a table, or contains texts.
    """
    table = unpacked(open_source(path, None if cache_dir is None else Path(cache_dir)), cache_dir)
    if "path" not in table.names and options.path_column is None and any(table.sample(1)):
        check_modality(table.where, modality_of_table(table), IMAGE)
    return table, choose(table, options, labelled, item="path", is_path=looks_like_image)


def labelled_rows(table: Table, columns: Columns, skipped: SkippedRows) -> Iterator[Row]:
    """The rows that have a path or an image, and a label."""
    folder = folder_of_paths(table)
    for origin, record in table.records(columns.read(table.names)):
        if isinstance(record, str):
            skipped.add(origin, record, label_of_broken(record, columns), guessed=True)
            continue
        (name, why_no_path), (labels, why_no_label) = path_in(table, columns, record), labels_of(record, columns)
        if why_no_path or labels is None:
            skipped.add(origin, why_no_path or why_no_label, label_in_words(labels))
        else:
            split = split_of_row(table.where, origin, record, columns)
            yield Row(origin_of(table, columns, origin, name), str(folder / name), labels, group_in(record, columns),
                      split)


def unlabelled_paths(table: Table, columns: Columns, kept: Kept | None, notes: list[str]
                     ) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """The origin of each row, its path, why it has none ("" if it has one), and its cells if they are `kept`."""
    folder = folder_of_paths(table)
    for origin, record, cells in records_with_cells(table, list(columns.items), kept, notes):
        name, why = ("", record) if isinstance(record, str) else path_in(table, columns, record)
        yield origin_of(table, columns, origin, name), str(folder / name) if name else "", why, cells


def path_in(table: Table, columns: Columns, record: Record) -> tuple[str, str]:
    """The path in a record, or why there is none ("" if there is)."""
    value = record.get(columns.items[0])
    if isinstance(value, bytes):
        return os.fsdecode(value), "" if value else "no path"
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return "", "no image" if columns.items[0] in table.images else "no path"
    if isinstance(value, list | dict):
        return "", f"not a path: a {type(value).__name__} in column {columns.items[0]!r}"
    folder = folder_of_paths(table)
    if columns.items[0] not in table.images and leaves_bucket(folder / str(value), folder):
        return "", "a path out of the bucket of the table"
    return str(value), ""


def origin_of(table: Table, columns: Columns, origin: str, name: str) -> str:
    """What the user calls a row: its path; its number if the image is in the table, or if there is no path."""
    return origin if not name or columns.items[0] in table.images else name


def folder_of_paths(table: Table) -> Path:
    """The folder that the paths in a table are relative to."""
    path = Path(table.where)
    return path if path.is_dir() else path.parent
