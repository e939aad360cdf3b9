"""Sources of images: a folder of class folders, a table of paths and labels, or a prepared TFDS data set.

Files are read once, for their hash; nothing is decoded. Rows without a readable file are skipped, with the reason.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kerastl.data.detection import check_modality, modality_of_folder, modality_of_table
from kerastl.data.examples import Examples, SkippedRows, enough
from kerastl.data.folders import folder_rows, no_source, walk
from kerastl.data.paths import Paths
from kerastl.data.rows import UNLABELLED, Row, cell, examples_of, labels_in, split_in
from kerastl.data.tables import TABLES, Table, check_columns, open_table
from kerastl.data.tfds import tfds_rows
from kerastl.data.unpacked import unpacked
from kerastl.errors import DataError, OptionError
from kerastl.files import open_file
from kerastl.modality import IMAGE


def read_images(source: str | Path, *, min_per_class: int = 10, limit: int | None = None, data_dir: str | None = None,
                cache_dir: str | Path | None = None) -> Examples:
    """The labelled images of a source, hashed but not decoded.

    source: `DIR` containing `<class>/**/<image>` (or `train/ validation/ test/` of such); a `.csv`, `.tsv`, `.jsonl`
    or `.parquet` table with columns `path,label` and optionally `group,split`; or `tfds:NAME[:split]`.
    min_per_class: classes with fewer images are skipped. limit: read at most this many images, distributed evenly over
    the classes. data_dir: the folder of TFDS data sets. cache_dir: where TFDS images are unpacked.
    Raises DataError if there is no such source, or fewer than two classes of `min_per_class` images.
    """
    source, skipped, notes = str(source), SkippedRows(), list[str]()
    examples = _hashed(source, _rows(source, data_dir, cache_dir, skipped, notes), skipped, notes, min_per_class)
    return examples.limited(limit) if limit else examples


def read_labelled(source: str, *, text_column: str | None = None, label_column: str | None = None,
                  min_per_class: int = 0, limit: int | None = None, data_dir: str | None = None,
                  cache_dir: str | Path | None = None) -> Examples:
    """As `read_images`, by default with all classes, however small. Raises OptionError for a column, which only texts
    have."""
    _no_columns(text_column=text_column, label_column=label_column)
    return read_images(source, min_per_class=min_per_class, limit=limit, data_dir=data_dir, cache_dir=cache_dir)


def read_unlabelled(source: str, *, text_column: str | None = None, data_dir: str | None = None,
                    cache_dir: str | Path | None = None) -> Examples:
    """As `read_images`, for images that need no labels: also any folder of images, or a table of paths.

    Raises DataError if there is no such source, or nothing in it.
    """
    _no_columns(text_column=text_column)
    if source.startswith("tfds:"):
        return read_images(source, min_per_class=0, data_dir=data_dir, cache_dir=cache_dir)
    paths = read_inputs([source])
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    rows = [Row(os.path.relpath(path, root), str(path), UNLABELLED) for path in paths]
    return _hashed(source, rows, SkippedRows(), [], 0)


def read_inputs(inputs: Iterable[str], *, text_column: str | None = None) -> list[Path]:
    """The files to predict on: files as they are, all files in a folder, the files in the `path` column of a table.

    Raises DataError for a path that does not exist.
    """
    _no_columns(text_column=text_column)
    files: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            check_modality(name, modality_of_folder(path), IMAGE)
            files += [file for file in walk(path) if file.is_file()]
        elif path.suffix.lower() in TABLES and path.is_file():
            table, column, paths = _image_table(path, None, labelled=False)
            files += [Path(paths.find(f"{origin}: {record}" if isinstance(record, str) else
                                      str(record.get(column) or f"{origin} has no path")))
                      for origin, record in table.records([column])]
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"no such file or folder: {name}", "an image, a folder of images, or a table",
                            "check the path")
    return files


def _no_columns(**columns: str | None) -> None:
    for argument, value in columns.items():
        if value is not None:
            raise OptionError(f"`{argument}` is {value}, but the source contains images", "a source of texts",
                              f"omit `{argument}`")


def _hashed(source: str, rows: list[Row], skipped: SkippedRows, notes: list[str], min_per_class: int) -> Examples:
    readable = []
    for row, content in zip(rows, _hashes([str(row.item) for row in rows]), strict=True):
        if isinstance(content, OSError):
            skipped.add(row.origin, str(content.strerror or content))
        else:
            readable.append((row, content))
    if not readable:
        first = next(iter(skipped.listed()), None)
        raise DataError(f"no labelled images in {source}" + (f" ({first.origin}: {first.reason})" if first else ""),
                        "DIR/<class>/<image>, or a table with the columns path and label",
                        "check the path; paths in a table are relative to the table's folder")
    return enough(examples_of(IMAGE, source, readable, skipped, min_per_class, notes))


def _rows(source: str, data_dir: str | None, cache_dir: str | Path | None, skipped: SkippedRows, notes: list[str]
          ) -> list[Row]:
    if source.startswith("tfds:"):
        return tfds_rows(source, data_dir, cache_dir)
    path = Path(source)
    if path.is_dir():
        check_modality(source, modality_of_folder(path), IMAGE)
        return folder_rows(path, skipped)
    if path.is_file() and path.suffix.lower() in TABLES:
        table, column, paths = _image_table(path, cache_dir, labelled=True)
        rows = _table_rows(table, column, paths, skipped)
        notes += [*table.notes, *paths.notes()]
        return rows
    raise no_source(source)


def _image_table(path: Path, cache_dir: str | Path | None, labelled: bool) -> tuple[Table, str, Paths]:
    """A table of images in files, with those inside it unpacked, the column of their paths, and where these lead."""
    table = open_table(path, None if cache_dir is None else Path(cache_dir))
    column = table.images[0] if table.images else "path"
    if column not in table.names and any(table.sample(1)):
        check_modality(table.where, modality_of_table(table), IMAGE)
    check_columns(table, (column, "label") if labelled else (column,))
    return unpacked(table, cache_dir), column, Paths(path.parent)


def _table_rows(table: Table, column: str, paths: Paths, skipped: SkippedRows) -> list[Row]:
    rows = []
    wanted = [name for name in (column, "label", "split", "group") if name in table.names]
    for origin, record in table.records(wanted):
        if isinstance(record, str):
            skipped.add(origin, record)
            continue
        name, labels = record.get(column), labels_in(record.get("label"))
        if not name or labels is None:
            skipped.add(origin, "no label" if name else "no image" if table.images else "no path")
            continue
        file, split = paths.find(str(name)), split_in(table.where, origin, record.get("split"))
        if not os.path.lexists(file) and (why := paths.why_missing(str(name))):
            skipped.add(str(name), f"No such file or directory: {why}")
        else:
            rows.append(Row(origin if table.images else str(name), file, labels, cell(record.get("group")), split))
    return rows


def _hashes(paths: list[str]) -> list[bytes | OSError]:
    def content_hash(path: str) -> bytes | OSError:
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                return OSError(errno.EINVAL, "not a regular file")  # opening a named pipe would block
            with open_file(path) as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        except OSError as error:  # returned: it becomes the reason why the row is skipped
            return error
        except ValueError:  # such as a NUL in the name
            return OSError(errno.EINVAL, "not a valid file name")

    with ThreadPoolExecutor() as pool:
        return list(pool.map(content_hash, paths))
