"""Walking through folders: links are followed, junk is ignored by name, and what was met is told."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__pycache__", "$recycle.bin",
        "system volume information", "icon\r", "lost+found"}  # and hidden files; in lower case


@dataclass
class Walk:
    """What was met while walking through folders. junk: ignored names; linked: folders that were reached by a link;
    loops: links that lead to a folder around them, and links to a folder that was read already."""

    junk: Counter[str] = field(default_factory=Counter)
    linked: list[Path] = field(default_factory=list)
    loops: list[tuple[Path, str]] = field(default_factory=list)

    def notes(self, root: Path) -> list[str]:
        """What was met, in sentences."""
        lines = []
        if self.junk:
            names = ", ".join(f"{name} ({n:,})" if n > 1 else name for name, n in sorted(self.junk.items()))
            lines.append(f"ignored by name: {names}")
        if self.linked:
            more = f" and {len(self.linked) - 5:,} more" if len(self.linked) > 5 else ""
            names = ", ".join(str(path.relative_to(root)) for path in self.linked[:5])
            lines.append(f"followed links to folders: {names}{more}")
        return lines


def walk(folder: Path, met: Walk | None = None) -> Iterator[Path]:
    """The files below a folder in sorted order, without hidden files and junk. Links to folders are followed, unless
    they lead to a folder around them or to one that was read already."""
    met = Walk() if met is None else met
    here = Path(os.path.realpath(folder))
    yield from _walk(folder, here, {here, *here.parents}, met)


def _walk(folder: Path, real: Path, seen: set[Path], met: Walk) -> Iterator[Path]:
    found = entries(folder, met)
    yield from (path for path, is_folder in found if not is_folder)
    for path in [path for path, is_folder in found if is_folder]:
        linked = path.is_symlink()
        target = Path(os.path.realpath(path)) if linked else real / path.name
        if target in seen:
            met.loops.append((path, "link to a folder around it" if real.is_relative_to(target) else
                              f"link to a folder that was read already: {target}"))
            continue
        met.linked += [path] * linked
        seen.add(target)
        yield from _walk(path, target, seen, met)


def entries(folder: Path, met: Walk) -> list[tuple[Path, bool]]:
    """The sorted entries of a folder, without hidden ones and junk, and whether each is a folder itself."""
    listed = []
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda entry: entry.name):
            if entry.name.lower() in JUNK or entry.name.startswith("~$"):
                met.junk[entry.name] += 1
            elif not entry.name.startswith("."):
                listed.append((folder / entry.name, _is_folder(entry)))
            elif entry.name not in (".DS_Store", ".gitkeep", ".gitattributes"):
                met.junk["._*" if entry.name.startswith("._") else entry.name] += 1
    return listed


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it as a file tells the reason
        return False


def folders_in(folder: Path, met: Walk | None = None) -> dict[str, Path]:
    """The folders in a folder by name, without hidden ones and junk."""
    return {path.name: path for path, is_folder in entries(folder, met or Walk()) if is_folder}
