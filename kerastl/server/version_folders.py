"""The versions that a folder contains: folders whose name is a number, with a SavedModel."""

import errno
from contextlib import suppress
from pathlib import Path

from kerastl.errors import KerastlError
from kerastl.files import is_file, refreshed, shown
from kerastl.server.config import LARGEST_VERSION
from kerastl.versions.saved_graph import FILE


def version_of(name: str) -> int | None:
    """The number that a folder's name is, also with leading zeros; None for one that is no version's."""
    number = int(name) if name.isascii() and name.isdecimal() and len(name) < 100 else -1
    return number if 0 <= number <= LARGEST_VERSION else None


def versions_in(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """The versions in a model's folder that are complete enough to be loaded, and what has to be said of them. Raises
    OSError."""
    found: dict[int, Path] = {}
    notes = []
    try:
        refreshed(folder)
    except KerastlError as error:
        raise OSError(errno.EIO, error.got, shown(folder)) from error
    for path in sorted(folder.iterdir()):
        number = version_of(path.name)
        if number is None or not is_file(path / FILE):
            continue
        if number in found:  # as in TF Serving, the last of them
            notes.append(f"version {number} is {path.name} and {found[number].name}; {path.name} is used")
        found[number] = path
    return found, notes or ([] if found else [f"{folder} contains no version: a folder N/{FILE}, N a number"])


def has_versions(folder: Path) -> bool:
    """Whether a folder is a model's. Raises OSError."""
    return bool(versions_in(folder)[0])


def looks_of(folder: Path) -> object:
    """What changes when the files of a version do."""
    looks = []
    with suppress(OSError):
        for path in sorted(folder.rglob("*")):
            stat = path.stat()
            looks.append((str(path), stat.st_size, stat.st_mtime_ns))
    return looks


def graph_of(folder: Path) -> object:
    """What changes when the graph of a version is replaced; None where there is none."""
    with suppress(OSError):
        stat = (folder / FILE).stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns
    return None
