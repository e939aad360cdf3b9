"""Sources of pictures: a folder of class folders, a table of paths and labels, or a prepared TFDS data set.

Files are read once, for their hash; nothing is decoded. What has no readable file is left out, with the reason.
"""

import csv
import difflib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kerastl.data.examples import Examples, LeftOut, enough
from kerastl.errors import DataError, OptionError

TABLES = (".csv", ".jsonl", ".parquet")
SIDES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
         "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One row as the source has it."""

    origin: str
    path: Path
    labels: tuple[str, ...]
    group: str = ""
    side: str = ""


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
    return _examples(source, good, tuple(left_out + bad), min_per_class)


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


def table(path: Path, wanted: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """The records of a table, one at a time. Raises DataError when a wanted column is missing or a line is broken."""
    names, records = _READERS[path.suffix.lower()](path)
    missing = [name for name in wanted if name not in names]
    if missing:
        lower = {name.lower(): name for name in names if name not in wanted}
        close = difflib.get_close_matches(missing[0], lower, n=1, cutoff=0.5)
        raise DataError(f"{path} has columns {', '.join(names) or 'none'}", f"columns {', '.join(wanted)}",
                        f"rename {lower[close[0]]!r} to {missing[0]!r}" if close else f"name a column {missing[0]!r}")
    yield from records


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """A table's file as text. Raises DataError as soon as it is not."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason})", "a table in UTF-8", "save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: {error}", "a table in CSV", "mend it") from error


def _csv(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _text(path) as file:
            yield from csv.DictReader(file)

    with _text(path) as file:
        return next(csv.reader(file), []), records()


def _jsonl(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}", "one JSON object a line", "mend it") from error
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:40]}", "a JSON object", "mend the line")
                yield record

    return list(dict.fromkeys(name for record in records() for name in record)), records()


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    """A Parquet file, open. Raises DataError as soon as it turns out not to be one."""
    import pyarrow
    import pyarrow.parquet

    try:
        yield pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's: damaged pages are an OSError of Arrow's own, without a number
        raise DataError(f"{path}: {error}", "a Parquet file", "write it again") from error


def _parquet(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _arrow(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()

    with _arrow(path) as file:
        return list(file.schema_arrow.names), records()


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}


def _rows(source: str, data_dir: str | None, cache_dir: Path | None) -> tuple[list[Row], list[LeftOut]]:
    if source.startswith("tfds:"):
        from kerastl.data.tfds import tfds_rows

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
        name, label, side = record.get("path"), record.get("label"), _cell(record.get("split")).lower()
        labels = _labels(label)
        if not name or labels is None:
            left_out.append(LeftOut(f"row {number}", "no label" if name else "no path"))
        elif side and side not in SIDES:
            raise DataError(f"{path}, row {number}: split {side!r}", f"one of {', '.join(SIDES)}, or empty",
                            "mend the split column")
        else:
            group = _cell(record.get("group"))
            rows.append(Row(str(name), path.parent / str(name), labels, group, SIDES.get(side, "")))
    return rows, left_out


def _labels(label: Any) -> tuple[str, ...] | None:
    """The labels of a cell; None when there is none. A list, even an empty one, or `a|b` means several."""
    if isinstance(label, list | tuple):
        return ("", *(str(one) for one in label))  # the leading "" marks a list
    text = _cell(label)
    if not text:
        return None
    return ("", *(part.strip() for part in text.split("|") if part.strip())) if "|" in text else (text,)


def _cell(value: Any) -> str:
    """A cell as text, "" where there is nothing: None or NaN, which is not equal to itself. 0 is something."""
    return "" if value is None or value != value else str(value).strip()


def _hashes(paths: list[Path]) -> list[str | OSError]:
    def one(path: Path) -> str | OSError:
        try:
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


def _examples(source: str, rows: list[tuple[Row, str]], left_out: tuple[LeftOut, ...], min_per_class: int) -> Examples:
    several = any(row.labels[0] == "" and row.labels != ("",) for row, _ in rows)
    names = [tuple(name for name in row.labels if name) or (() if several else row.labels) for row, _ in rows]
    classes = tuple(sorted({name for some in names for name in some}))
    number = {name: i for i, name in enumerate(classes)}
    if several:
        targets = np.zeros((len(rows), len(classes)), dtype=np.int64)
        for row, some in enumerate(names):
            targets[row, [number[name] for name in some]] = 1
    else:
        targets = np.array([number[some[0]] for some in names], dtype=np.int64)
    return enough(Examples(
        kind="image", source=source, items=tuple(str(row.path) for row, _ in rows),
        origins=tuple(row.origin for row, _ in rows), ids=tuple(h for _, h in rows),
        groups=_groups(rows), given=tuple(row.side for row, _ in rows),
        classes=classes, targets=targets, left_out=left_out, min_per_class=min_per_class,
    ))


def _groups(rows: list[tuple[Row, str]]) -> tuple[str, ...]:
    """Each row's group: the user's, else its content's hash. Groups that share a content are one, called by the first
    of their names, so that exact duplicates share a side whatever the groups."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for row, content in rows:
        group, other = top(row.group or content), top(content)
        if group != other:
            known = other != content  # the content came with another group before
            low, high = sorted((group, other)) if known else (group, other)
            above[high] = low
    return tuple(top(row.group or content) for row, content in rows)


def parse_tfds(source: str) -> tuple[str, str | None]:
    """`tfds:NAME[:split]` to its name and split. Raises OptionError when the name is missing."""
    _, _, rest = source.partition(":")
    name, _, part = rest.partition(":")
    if not name:
        raise OptionError(f"--data {source}", "tfds:NAME or tfds:NAME:split", "name the data set, say tfds:tf_flowers")
    return name, part or None
