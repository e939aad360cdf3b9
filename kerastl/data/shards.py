"""Tables in several files: a folder of Parquet files, as in repositories of the Hugging Face Hub, is one table."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kerastl.data.apostrophes import restored
from kerastl.data.delimited import Record
from kerastl.data.rows import split_name
from kerastl.data.tables import TABLES, Table, listed, open_table
from kerastl.data.walk import walk
from kerastl.errors import DataError

_BESIDE = (".md", ".json", ".yaml", ".yml", ".py")  # what describes a data set
_SHARD = re.compile(r"([A-Za-z_]+?)[-_.]?\d*(-of-\d+)?")  # train-00000-of-00002, test-0, validation


def is_table(path: Path) -> bool:
    """Whether a path is a file with the ending of a table, or a folder of Parquet files."""
    return bool(_parquet_files(path)) if path.is_dir() else path.is_file() and path.suffix.lower() in TABLES


def open_source(path: Path, folder: Path | None = None) -> Table:
    """The table at a path for which `is_table`. The rows of a folder of Parquet files are those of all files, in the
    order of their names, with a column `split` if the names, or the folders the files are in, tell it.

    Raises DataError as `open_table` does, or if the files have different columns.
    """
    if not path.is_dir():
        return restored(open_table(path, folder))
    files = _parquet_files(path)
    tables = [open_table(file, folder) for file in files]
    first = tables[0]
    for file, table in zip(files, tables, strict=True):
        if set(table.names) != set(first.names):
            raise DataError(f"{file} has the columns {', '.join(table.names)}, but {files[0]} has "
                            f"{', '.join(first.names)}", "files with the same columns",
                            "name one file, or a folder of files that belong together")
    splits = [_split_of(file.relative_to(path)) for file in files]
    named = "split" not in first.names and all(splits) and len(set(splits)) > 1
    if "split" not in first.names and any(splits) and not all(splits):
        known = [str(file.relative_to(path)) for file, split in zip(files, splits, strict=True) if split]
        other = [str(file.relative_to(path)) for file, split in zip(files, splits, strict=True) if not split]
        raise DataError(f"{path} contains {listed(known)}, named after splits, beside {listed(other)}",
                        "files of train, validation and test, or files without splits",
                        f"move {listed(other)} elsewhere, or name one file")

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        for file, table, split in zip(files, tables, splits, strict=True):
            for origin, record in table.records(only):
                if named and isinstance(record, dict):
                    record["split"] = split
                yield f"{file.relative_to(path)}, {origin}", record

    names = (*first.names, "split") if named else first.names
    notes = [f"{len(files):,} Parquet files are read as one table: "
             + listed([str(file.relative_to(path)) for file in files])]
    notes += ["the column 'split' is made of their names"] * named
    return replace(first, where=str(path), names=names, records=records, notes=(*notes, *first.notes))


def _parquet_files(path: Path) -> list[Path]:
    """The Parquet files below a folder, if there is nothing else but what describes them."""
    files = []
    for file in walk(path):
        if file.suffix.lower() == ".parquet":
            files.append(file)
        elif file.suffix.lower() not in _BESIDE and file.suffix:
            return []
    return files


def _split_of(path: Path) -> str:
    """The part that a file's name or folder stands for, "" if none."""
    match = _SHARD.fullmatch(path.stem)
    return split_name(match[1] if match else path.stem) or split_name(path.parent.name)
