"""The disk usage of the cache: shown, cleared, and kept under a limit."""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kerastl.features.cache import FOLDER
from kerastl.files import FRESH_SECONDS, cache_folders, leftover_of, open_file, remove_folder, remove_leftovers

IMAGES = "images"  # of tables, by their content; see data/unpacked.py
DEFAULT_LIMIT = 10 * 2**30  # bytes
UNTAGGED = (FOLDER, "tfds", "fine_tune", "contrast-*", "bfloat16-speed.json")  # of version 0.1, which had no tags


@dataclass(frozen=True)
class SpaceUse:
    """The entry of one space in `kerastl cache`."""

    name: str
    backbone: str
    compute: str
    rows: int
    bytes: int
    last_used: float  # seconds since 1970


def usage(cache_dir: Path) -> list[SpaceUse]:
    """Every space in the cache, largest first."""
    spaces = []
    for description in (cache_dir / FOLDER).glob("*/space.json"):
        with open_file(description, "r") as file:
            key = json.load(file)
        files = _stats(description.parent.iterdir())
        ids = [stat for path, stat in files.items() if path.name.endswith(".ids.npy")]
        rows = sum(max(0, stat.st_size - 128) // 16 for stat in ids)
        size = sum(stat.st_size for stat in files.values())
        last_used = max((stat.st_mtime for stat in ids), default=files[description].st_mtime)
        spaces.append(SpaceUse(description.parent.name, key["backbone"], key["compute"], rows, size, last_used))
    return sorted(spaces, key=lambda space: -space.bytes)


def clear(cache_dir: Path) -> int:
    """Remove everything that kerastl cached. Returns the bytes freed. Other files in the folder are not touched."""
    freed = 0
    for folder in {*cache_folders(cache_dir), *(path for name in UNTAGGED for path in cache_dir.glob(name))}:
        freed += sum(stat.st_size for path, stat in _stats(folder.rglob("*")).items() if path.is_file())
        if folder.is_file():
            folder.unlink(missing_ok=True)
        remove_folder(folder)
    return freed


def evict(cache_dir: Path, limit: int = DEFAULT_LIMIT) -> int:
    """Remove the least recently used segments until the features take at most `limit` bytes. Returns the bytes freed.

    A process that has a segment open keeps reading it: the file goes when the last reader closes it.
    """
    now, folder = time.time(), cache_dir / FOLDER
    if not os.access(folder, os.W_OK):  # a read-only cache is used as it is
        return 0
    for space in folder.glob("*"):
        remove_leftovers(space)
    for images in (cache_dir / IMAGES).glob("*/"):
        remove_leftovers(images)
    files = _stats(path for path in folder.glob("*/*") if path.suffix == ".npy")
    segments = []
    for path, stat in files.items():
        ids = path.with_name(path.name.replace(".rows.npy", ".ids.npy"))
        if path == ids:
            rows = path.with_name(path.name.replace(".ids.npy", ".rows.npy"))
            if rows not in files and not rows.exists():  # clearing the cache was interrupted: rows are older than ids
                path.unlink(missing_ok=True)
        elif ids in files:
            segments.append((files[ids].st_mtime, files[ids].st_size + stat.st_size, ids, path))
        elif abs(now - stat.st_mtime) > FRESH_SECONDS and not _is_begun(ids):  # the run was killed between the two
            path.unlink(missing_ok=True)
    total, freed = sum(size for _, size, _, _ in segments), 0
    for _, size, ids, rows in sorted(segments):
        if total - freed <= limit:
            break
        ids.unlink(missing_ok=True)  # ids first: without them the segment does not exist
        rows.unlink(missing_ok=True)
        freed += size
    return freed


def _is_begun(ids: Path) -> bool:
    """Whether a process is about to complete a segment, or has just done so. Partial files that no process holds have
    been removed."""
    return any(ids.parent.glob(leftover_of(ids.name))) or ids.exists()


def _stats(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """Size and times of the files that still exist: other processes write and evict meanwhile."""
    stats = {}
    for path in paths:
        with suppress(FileNotFoundError):
            stats[path] = path.stat()
    return stats
