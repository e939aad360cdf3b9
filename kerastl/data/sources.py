"""Sources of pictures: a folder of class folders, a table of paths and labels, or a prepared TFDS data set.

Files are read once, for their hash; nothing is decoded. What has no readable file is left out, with the reason.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kerastl.data.examples import Examples, LeftOut
from kerastl.data.rows import SIDES, Row, are_sets, cell, examples_of, labels_in
from kerastl.data.tables import TABLES, table
from kerastl.data.tfds import tfds_rows
from kerastl.errors import DataError


def read_images(source: str, *, min_per_class: int = 10, limit: int | None = None, data_dir: str | None = None,
                cache_dir: Path | None = None) -> Examples:
    """The labelled pictures of a source, hashed and not decoded.

    source: `DIR` holding `<class>/**/<picture>` (or `train/ validation/ test/` of such), a `.csv`, `.jsonl` or
    `.parquet` with columns `path,label` and optionally `group,split`, or `tfds:NAME[:split]`.
    data_dir: where TFDS data sets lie. cache_dir: where TFDS pictures are unpacked to.
    Raises DataError when there is no such source, or fewer than two classes of `min_per_class` rows.
    """
    rows, left_out = _rows(source, data_dir, cache_dir)
    made = _hashed(source, rows, left_out, min_per_class)
    return made.limited(limit) if limit else made


def _hashed(source: str, rows: list[Row], left_out: list[LeftOut], min_per_class: int) -> Examples:
    hashes = _hashes([row.path for row in rows])
    bad = [LeftOut(row.origin, _why(h)) for row, h in zip(rows, hashes, strict=True) if isinstance(h, OSError)]
    good = [(row, h) for row, h in zip(rows, hashes, strict=True) if isinstance(h, str)]
    if not good:
        raise DataError(f"no labelled pictures in {source}" + (f" ({bad[0].origin}: {bad[0].reason})" if bad else ""),
                        "DIR/<class>/<picture>, or a table with columns path,label",
                        "check the path; for a table, paths are relative to the table's folder")
    return examples_of(source, good, tuple(left_out + bad), min_per_class)


def read_any(source: str, *, data_dir: str | None = None, cache_dir: Path | None = None) -> Examples:
    """As `read_images`, for pictures whose labels do not matter: a folder of pictures will do, or a table of paths.

    Raises DataError when there is no such source, or nothing in it.
    """
    if source.startswith("tfds:"):
        return read_images(source, min_per_class=0, data_dir=data_dir, cache_dir=cache_dir)
    paths = read_unlabelled([source])
    root = Path(source) if Path(source).is_dir() else Path(source).parent
    rows = [Row(os.path.relpath(path, root), path, ("",)) for path in paths]
    return _hashed(source, rows, [], 0)


def read_unlabelled(paths: Iterable[str]) -> list[Path]:
    """Files to predict on: files as they are, folders with all they hold, tables by their `path` column.

    Raises DataError for a path that is not there.
    """
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            found += [p for p in _walk(path) if p.is_file()]
        elif path.suffix.lower() in TABLES and path.is_file():
            found += [path.parent / str(record.get("path") or f"row {number} has no path")
                      for number, record in enumerate(table(path, ("path",)), 1)]
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no such file or folder: {name}", "a picture, a folder of pictures or a table", "check it")
    return found


def _rows(source: str, data_dir: str | None, cache_dir: Path | None) -> tuple[list[Row], list[LeftOut]]:
    if source.startswith("tfds:"):
        return tfds_rows(source, data_dir, cache_dir), []
    path = Path(source)
    if path.is_dir():
        return _folder_rows(path)
    if path.is_file() and path.suffix.lower() in TABLES:
        return _table_rows(path)
    got = f"{source} is a file of another kind" if path.exists() else f"no such path: {source}"
    raise DataError(got, f"a folder of class folders, a table ({', '.join(TABLES)}) or tfds:NAME",
                    "check --data")


def _walk(folder: Path) -> list[Path]:
    """What lies below, sorted, without hidden files and folders."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent) / name for name in sorted(files) if not name.startswith(".")]
    return found


def _folder_rows(root: Path) -> tuple[list[Row], list[LeftOut]]:
    below = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if "train" in below and all(name in SIDES for name in below):
        rows, left_out = [], _beside(root, root)
        for name in below:
            some, out = _class_folders(root / name, root, SIDES[name])
            rows += some
            left_out += out
        return rows, left_out
    return _class_folders(root, root, "")


def _class_folders(folder: Path, root: Path, side: str) -> tuple[list[Row], list[LeftOut]]:
    rows: list[Row] = []
    left_out = _beside(folder, root)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        files = _walk(entry)
        if not files:
            left_out.append(LeftOut(str(entry.relative_to(root)), "class folder without files"))
        rows += [Row(str(path.relative_to(root)), path, (entry.name,), side=side) for path in files]
    return rows, left_out


def _beside(folder: Path, root: Path) -> list[LeftOut]:
    return [LeftOut(str(entry.relative_to(root)), "lies beside the class folders, not in one")
            for entry in sorted(folder.iterdir()) if not entry.name.startswith(".") and not entry.is_dir()]


def _table_rows(path: Path) -> tuple[list[Row], list[LeftOut]]:
    rows, left_out = [], []
    for number, record in enumerate(table(path, ("path", "label")), 1):
        name, label, side = record.get("path"), record.get("label"), cell(record.get("split")).lower()
        labels = labels_in(label)
        if not name or labels is None:
            left_out.append(LeftOut(f"row {number}", "no label" if name else "no path"))
        elif side and side not in SIDES:
            raise DataError(f"{path}, row {number}: split {side!r}", f"one of {', '.join(SIDES)}, or empty",
                            "mend the split column")
        else:
            group = cell(record.get("group"))
            rows.append(Row(str(name), path.parent / str(name), labels, group, SIDES.get(side, "")))
    if not are_sets(rows):  # then an empty list is no label, not the empty set
        left_out += [LeftOut(row.origin, "no label") for row in rows if row.labels == ("",)]
        rows = [row for row in rows if row.labels != ("",)]
    return rows, left_out


def _hashes(paths: list[Path]) -> list[str | OSError]:
    def one(path: Path) -> str | OSError:
        try:
            if path.exists() and not path.is_file():
                return OSError(errno.EINVAL, "not a regular file")  # opening a pipe would wait for ever
            with path.open("rb") as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError as error:  # kept with its row: it becomes the row's reason for being left out
            return error
        except ValueError:  # such as a NUL in the name
            return OSError(errno.EINVAL, "not the name of a file")

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, paths))


def _why(error: str | OSError) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else error
