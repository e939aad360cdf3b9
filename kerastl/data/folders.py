"""Folders of class folders: which files there are, of which class, on which side."""

import os
from collections.abc import Iterator
from pathlib import Path

from kerastl.data.examples import SkippedRows
from kerastl.data.rows import SIDES, Row
from kerastl.data.tables import TABLES
from kerastl.errors import DataError


def walk(folder: Path) -> Iterator[Path]:
    """What lies below, sorted, without hidden files and folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))


def folder_rows(root: Path, skipped: SkippedRows) -> list[Row]:
    """A row for each file of `<class>/**/<file>`, or of `train/ validation/ test/` of such. What lies elsewhere and
    class folders without files are left out."""
    below = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if "train" in below and all(name in SIDES for name in below):
        _beside(root, root, skipped)
        return [row for name in below for row in _class_folders(root / name, root, SIDES[name], skipped)]
    return _class_folders(root, root, "", skipped)


def _class_folders(folder: Path, root: Path, side: str, skipped: SkippedRows) -> list[Row]:
    rows: list[Row] = []
    _beside(folder, root, skipped)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        files = list(walk(entry))
        if not files:
            skipped.add(str(entry.relative_to(root)), "class folder without files")
        rows += [Row(str(path.relative_to(root)), str(path), (entry.name,), side=side) for path in files]
    return rows


def _beside(folder: Path, root: Path, skipped: SkippedRows) -> None:
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(".") and not entry.is_dir():
            skipped.add(str(entry.relative_to(root)), "lies beside the class folders, not in one")


def no_source(source: str) -> DataError:
    """The error for what is neither a folder, nor a table, nor a name of TFDS."""
    got = f"{source} is a file of another kind" if Path(source).exists() else f"no such path: {source}"
    return DataError(got, f"a folder of class folders, a table ({', '.join(TABLES)}) or tfds:NAME", "check --data")
