"""Images inside tables, as in data sets of the Hugging Face Hub: written to files, which are then read like others."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.data.delimited import Record
from kerastl.data.tables import Table
from kerastl.files import atomic_file, cache_folder, user_cache_dir, write_file

_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp",
             b"II*\0": ".tif", b"MM\0*": ".tif"}


def unpacked(table: Table, cache_dir: str | Path | None) -> Table:
    """The same table, with the path of a file in place of each image in it; a table without images as it is.

    The files are written while the records are read, one at a time, to the folder `images` of the cache directory
    (default: the user's), named after their content: what is there already is not written again. The origin of a record
    contains the path of its image inside the data set, if it has one. A path without bytes is left to be read.
    """
    if not table.images:
        return table

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        folder = folder_of(cache_dir)
        for origin, record in table.records(only):
            if isinstance(record, dict):
                named = [str(value["path"]) for name in table.images
                         if (value := record.get(name)) and value.get("path")]
                origin = f"{origin}: {named[0]}" if named else origin
                record = {name: _path(value, folder) if name in table.images else value
                          for name, value in record.items()}
            yield origin, record

    return replace(table, records=records)


def folder_of(cache_dir: str | Path | None) -> Path:
    """The folder in which images of tables are written."""
    return Path(cache_dir or user_cache_dir()) / "images"


def _path(value: Any, folder: Path) -> str | None:
    """Where the bytes of an image are written, or its path if it has no bytes."""
    data = value and value["bytes"]
    if not data:
        return value and value.get("path")
    suffix = next((ending for magic, ending in _SUFFIXES.items() if data.startswith(magic)), "")
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    path = folder / digest[:2] / f"{digest}{suffix}"
    if not path.exists() or path.stat().st_size != len(data):  # the size differs if writing it was interrupted
        path = cache_folder(folder.parent, folder.name) / digest[:2] / f"{digest}{suffix}"
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path, durable=False) as partial:
            write_file(partial, data)
    return str(path.absolute())
