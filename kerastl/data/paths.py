"""Paths in tables: those written on Windows are read, and of others that lead nowhere the cause is named."""

import difflib
import os
import re
import unicodedata
from pathlib import Path

_MOST = 1000  # paths whose cause is looked for


class Paths:
    """Explains why paths lead nowhere. It remembers the names in each folder, and looks into a limited number."""

    def __init__(self) -> None:
        self._names: dict[Path, list[str]] = {}
        self._asked = 0

    def cause(self, path: str) -> str:
        """Why there is no such file, as far as the names in its folder tell; empty if nothing is close."""
        self._asked += 1
        if self._asked > _MOST:
            return ""
        if re.search(r"(^|/)[a-z][a-z0-9+.-]+:/", path):  # a path has dropped the second slash
            return "it is an address; only files of this machine are read"
        if re.search(r"(^|/)~[\w.-]*/", path):
            return "~ is not replaced by a home folder; write the whole path"
        if re.search(r"(^|/)[A-Za-z]:\\", path):
            return "it is a Windows path with a drive; write it relative to the table's folder"
        if os.path.islink(path):
            return "it is a link, and there is nothing at its target"
        folder, part = _first_missing(Path(path.replace("\\", "/")))
        slashes = "it has backslashes, and " if "\\" in path else ""
        near = _close(part, self._in(folder))
        return f"{slashes}{near}" if near else "it has backslashes" if slashes else ""

    def _in(self, folder: Path) -> list[str]:
        if folder not in self._names:
            try:
                self._names[folder] = sorted(os.listdir(folder))
            except OSError:  # a folder that may not be read says nothing about the names in it
                self._names[folder] = []
        return self._names[folder]


def from_windows(path: str) -> str | None:
    """The file that a path with backslashes means, if there is one."""
    other = path.replace("\\", "/")
    return other if other != path and os.path.isfile(other) else None


def _first_missing(path: Path) -> tuple[Path, str]:
    """The deepest folder of a path that exists, and the part that is not in it."""
    try:
        for folder in path.parents:
            if folder.is_dir():
                return folder, path.relative_to(folder).parts[0]
    except ValueError:  # a NUL in the name
        pass
    return path.parent, path.name


def _close(part: str, names: list[str]) -> str:
    """How a name differs from the closest one in its folder."""
    def nfc(name: str) -> str:
        return unicodedata.normalize("NFC", name)

    for name in names:
        if name.strip() == part.strip():
            return f"it has outer blanks: there is {name!r}"
        if nfc(name) == nfc(part):
            return f"its accents are encoded in another Unicode form: there is {name!r}"
        if nfc(name).casefold() == nfc(part).casefold():
            return f"its letter case differs: there is {name!r}"
    for name in names:
        if os.path.splitext(name)[0] == part:
            return f"its ending is missing: there is {name!r}"
        if os.path.splitext(name)[0] == os.path.splitext(part)[0]:
            return f"its ending differs: there is {name!r}"
    near = difflib.get_close_matches(part, names, n=1, cutoff=0.85)
    return f"the closest name is {near[0]!r}" if near else ""
