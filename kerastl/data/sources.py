"""Sources of images: a folder of class folders, a table of paths and labels, or a prepared TFDS data set.

Files are read once, for their hash; nothing is decoded. What has no readable file is left out, with the reason.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kerastl.data.examples import Examples, SkippedRows, enough
from kerastl.data.folders import folder_rows, no_source, walk
from kerastl.data.kinds import check_kind, kind_of_folder, kind_of_table
from kerastl.data.rows import UNLABELLED, Row, cell, examples_of, labels_in, side_in
from kerastl.data.tables import TABLES, Table, check_columns, open_table
from kerastl.data.tfds import tfds_rows
from kerastl.errors import DataError
from kerastl.modality import IMAGE


def read_images(source: str, *, min_per_class: int = 10, limit: int | None = None, data_dir: str | None = None,
                cache_dir: Path | None = None) -> Examples:
    """The labelled images of a source, hashed and not decoded.

    source: `DIR` holding `<class>/**/<image>` (or `train/ validation/ test/` of such), a `.csv`, `.tsv`, `.jsonl`
    or `.parquet` with columns `path,label` and optionally `group,split`, or `tfds:NAME[:split]`.
    data_dir: where TFDS data sets lie. cache_dir: where TFDS images are unpacked to.
    Raises DataError when there is no such source, or fewer than two classes of `min_per_class` rows.
    """
    skipped, notes = SkippedRows(), list[str]()
    made = _hashed(source, _rows(source, data_dir, cache_dir, skipped, notes), skipped, notes, min_per_class)
    return made.limited(limit) if limit else made


def _hashed(source: str, rows: list[Row], skipped: SkippedRows, notes: list[str], min_per_class: int) -> Examples:
    good = []
    for row, content in zip(rows, _hashes([str(row.item) for row in rows]), strict=True):
        if isinstance(content, OSError):
            skipped.add(row.origin, str(content.strerror or content))
        else:
            good.append((row, content))
    if not good:
        first = next(iter(skipped.listed()), None)
        raise DataError(f"no labelled images in {source}" + (f" ({first.origin}: {first.reason})" if first else ""),
                        "DIR/<class>/<image>, or a table with columns path,label",
                        "check the path; for a table, paths are relative to the table's folder")
    return enough(examples_of(IMAGE, source, good, skipped, min_per_class, notes))


def read_any(source: str, *, data_dir: str | None = None, cache_dir: Path | None = None) -> Examples:
    """As `read_images`, for images whose labels do not matter: a folder of images will do, or a table of paths.

    Raises DataError when there is no such source, or nothing in it.
    """
    if source.startswith("tfds:"):
        return read_images(source, min_per_class=0, data_dir=data_dir, cache_dir=cache_dir)
    paths = read_unlabelled([source])
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    rows = [Row(os.path.relpath(path, root), str(path), UNLABELLED) for path in paths]
    return _hashed(source, rows, SkippedRows(), [], 0)


def read_unlabelled(paths: Iterable[str]) -> list[Path]:
    """Files to predict on: files as they are, folders with all they hold, tables by their `path` column.

    Raises DataError for a path that is not there.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            check_kind(name, kind_of_folder(path), "image")
            found += [p for p in walk(path) if p.is_file()]
        elif path.suffix.lower() in TABLES and path.is_file():
            table = _paths(open_table(path), ("path",))
            found += [path.parent / (f"{origin}: {record}" if isinstance(record, str) else
                                     str(record.get("path") or f"{origin} has no path"))
                      for origin, record in table.records(["path"])]
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no such file or folder: {name}", "an image, a folder of images or a table", "check it")
    return found


def _rows(source: str, data_dir: str | None, cache_dir: Path | None, skipped: SkippedRows, notes: list[str]
          ) -> list[Row]:
    if source.startswith("tfds:"):
        return tfds_rows(source, data_dir, cache_dir)
    path = Path(source)
    if path.is_dir():
        check_kind(source, kind_of_folder(path), "image")
        return folder_rows(path, skipped)
    if path.is_file() and path.suffix.lower() in TABLES:
        table = _paths(open_table(path, cache_dir), ("path", "label"))
        notes += table.notes
        return _table_rows(table, path.parent, skipped)
    raise no_source(source)


def _paths(table: Table, wanted: tuple[str, ...]) -> Table:
    if "path" not in table.names and any(table.sample(1)):
        check_kind(table.where, kind_of_table(table), "image")
    check_columns(table, wanted)
    return table


def _table_rows(table: Table, folder: Path, skipped: SkippedRows) -> list[Row]:
    rows = []
    for origin, record in table.records(None):
        if isinstance(record, str):
            skipped.add(origin, record)
            continue
        name, labels = record.get("path"), labels_in(record.get("label"))
        if not name or labels is None:
            skipped.add(origin, "no label" if name else "no path")
        else:
            side = side_in(table.where, origin, record.get("split"))
            rows.append(Row(str(name), str(folder / str(name)), labels, cell(record.get("group")), side))
    return rows


def _hashes(paths: list[str]) -> list[bytes | OSError]:
    def one(path: str) -> bytes | OSError:
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                return OSError(errno.EINVAL, "not a regular file")  # opening a pipe would wait for ever
            with open(path, "rb") as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        except OSError as error:  # kept with its row: it becomes the row's reason for being left out
            return error
        except ValueError:  # such as a NUL in the name
            return OSError(errno.EINVAL, "not the name of a file")

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, paths))
