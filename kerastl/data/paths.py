"""Paths in tables: found where they are, or why they are not, such as backslashes, letter case or a missing ending."""

import os
import re
from collections import Counter
from pathlib import Path

_DIAGNOSED = 200  # missing files whose cause is looked for; others are only missing
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Paths:
    """Finds the files that a table names, relative to its folder. Counts the names that had to be read differently."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changed: Counter[str] = Counter()  # by what was changed
        self._listed: dict[Path, list[str]] = {}
        self._missing = 0

    def find(self, name: str) -> str:
        """The path of the file: as named, or with slashes for backslashes, or without blanks around it, where that file
        exists and the named one does not."""
        path = self.folder / name
        if "\0" in name or os.path.lexists(path):
            return str(path)
        for how, other in (("backslashes read as slashes", name.replace("\\", "/")),
                           ("blanks around paths removed", name.strip()),
                           ("backslashes read as slashes", name.strip().replace("\\", "/")),
                           ("file:// removed", name.removeprefix("file://"))):
            if other and other != name and os.path.lexists(self.folder / other):
                self.changed[how] += 1
                return str(self.folder / other)
        return str(path)

    def why_missing(self, name: str) -> str:
        """A cause for a missing file, "" if none is known."""
        self._missing += 1
        if self._missing > _DIAGNOSED or "\0" in name:
            return ""
        if _URL.match(name):
            return "a URL, not a file: download the images first"
        if _DRIVE.match(name):
            return "a path of a Windows computer: make paths relative to the table's folder"
        slashes = name.strip().replace("\\", "/")
        near = self._near(slashes)
        if near:
            return near
        return "the path has backslashes" if "\\" in name else ""

    def notes(self) -> list[str]:
        """What was changed, and how often."""
        return [f"{how} in {n:,} path{'' if n == 1 else 's'}" for how, n in self.changed.items()]

    def _near(self, name: str) -> str:
        """The existing file that differs in letter case, ending or blanks."""
        folder = self.folder
        for part in Path(name).parts[:-1]:
            names = self._names(folder)
            if part not in names and part not in ("..", os.sep):
                close = next((other for other in names if other.strip().lower() == part.strip().lower()), None)
                return f"the folder is called {close!r}, not {part!r}" if close else ""
            folder = folder / part
        last = Path(name).name
        for other in self._names(folder):
            if other.lower() == last.lower():
                return f"the file is called {other!r}: letter case matters"
            if other.strip().lower() == last.strip().lower():
                return f"the file is called {other!r}, with blanks"
        stems = [other for other in self._names(folder) if Path(other).stem == last or (
            Path(other).stem == Path(last).stem and Path(last).suffix)]
        if not stems:
            return ""
        return f"there is {stems[0]!r}: the ending is {'missing' if Path(stems[0]).stem == last else 'another'}"

    def _names(self, folder: Path) -> list[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = sorted(os.listdir(folder))
            except OSError:  # there is no such folder, which is what the user is told
                self._listed[folder] = []
        return self._listed[folder]
