"""Folders of class folders: their files, with the class and the split of each."""

import os
from collections.abc import Iterator
from pathlib import Path

from kerastl.data.examples import SkippedRows
from kerastl.data.rows import SPLIT_NAMES, Row
from kerastl.data.tables import TABLES
from kerastl.errors import DataError


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder in sorted order, without hidden files and folders."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))


def folder_rows(root: Path, skipped: SkippedRows) -> list[Row]:
    """A row for each file of `<class>/**/<file>`, or of `train/ validation/ test/` of such. Files elsewhere and class
    folders without files are skipped."""
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if "train" in folders and all(name in SPLIT_NAMES for name in folders):
        _skip_files(root, root, skipped)
        return [row for name in folders for row in _class_folders(root / name, root, SPLIT_NAMES[name], skipped)]
    return _class_folders(root, root, "", skipped)


def _class_folders(folder: Path, root: Path, split: str, skipped: SkippedRows) -> list[Row]:
    rows: list[Row] = []
    _skip_files(folder, root, skipped)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        files = list(walk(entry))
        if not files:
            skipped.add(str(entry.relative_to(root)), "class folder without files")
        rows += [Row(str(path.relative_to(root)), str(path), (entry.name,), split=split) for path in files]
    return rows


def _skip_files(folder: Path, root: Path, skipped: SkippedRows) -> None:
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith(".") and not entry.is_dir():
            skipped.add(str(entry.relative_to(root)), "not inside a class folder")


def no_source(source: str) -> DataError:
    """The error for a source that is neither a folder, nor a table, nor the name of a TFDS data set."""
    problem = (f"{source} is not in a supported format" if Path(source).exists() else
               f"no such file or folder: {source}")
    return DataError(problem, f"a folder of class folders, a table ({', '.join(TABLES)}) or tfds:NAME",
                     "check the path of the data")
