"""The feature cache: rows on disk, addressed by what they were computed from and with.

A space is a folder named by the hash of everything that decides a row's numbers except the example itself: backbone,
weights, preprocessing, tap, pooling, compute kind, shape. It holds segments, each two files: `NAME.rows.npy`, the
numbers, and `NAME.ids.npy`, the content hashes. A segment is written aside, synced and renamed, the ids last; it exists
when its ids do. So a killed run leaves no torn row, and processes may share a space without locks: the worst is a row
stored twice.
"""

import hashlib
import json
import mmap
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from kerastl.errors import CheckFailed, OptionError
from kerastl.files import STALE_SECONDS, atomic_file, open_file, remove_leftovers, write_atomically

DEFAULT_LIMIT = 10 * 2**30  # bytes
LARGE_ROW = 4096  # bytes, a page: of such rows what was read is let go, else a head's training would fill the memory


@dataclass(frozen=True)
class SpaceKey:
    """What decides the numbers of a row, beside the example."""

    backbone: str
    weights_hash: str
    preprocessing: str
    tap: str
    pooling: str
    compute: str  # float32 | bfloat16 | ...: rows of different kinds never mix
    shape: tuple[int, ...]  # of a row: (dim,), or that of a map or of token states
    dtype: str = "float32"  # as kept on disk

    @property
    def row_bytes(self) -> int:
        """What a row takes on disk."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def name(self) -> str:
        """The folder's name: the backbone's, for people, and a hash."""
        digest = hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=8).hexdigest()
        readable = "".join(c if c.isalnum() else "_" for c in self.backbone)[-40:]
        return f"{readable}-{self.compute}-{digest}"


def default_dir() -> Path:
    """The user's cache directory by the platform's convention."""
    return Path(platformdirs.user_cache_dir("kerastl", appauthor=False))


def chosen_dir(cache_dir: str | None) -> Path:
    """The cache directory asked for, or the default. Raises OptionError when it cannot be made or is a file."""
    path = Path(cache_dir) if cache_dir else default_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"--cache-dir {path}: {error.strerror}", "a folder that can be written to", "choose another"
                          ) from error
    return path


class Space:
    """The rows of one key. Opening reads the ids; rows stay on disk, memory-mapped."""

    def __init__(self, cache_dir: Path, key: SpaceKey) -> None:
        self.key = key
        self.folder = cache_dir / "features" / key.name
        self.folder.mkdir(parents=True, exist_ok=True)
        about = self.folder / "space.json"
        if not about.exists():
            write_atomically(about, json.dumps(asdict(key), indent=1))
        self._where: dict[bytes, tuple[int, int]] = {}
        self._segments: list[NDArray[Any]] = []
        self._seen: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in segments that appeared since. One that vanishes meanwhile (evicted) counts as not there."""
        for path in sorted(self.folder.glob("*.ids.npy")):
            name = path.name.removesuffix(".ids.npy")
            if name in self._seen:
                continue
            self._seen.add(name)
            try:
                ids = np.load(path)
                rows = np.load(self.folder / f"{name}.rows.npy", mmap_mode="r")
                os.utime(path)  # used now: eviction takes the longest unused first
            except FileNotFoundError:
                continue
            except (ValueError, EOFError):  # a damaged disk; numpy's words are of no help
                ids = rows = np.empty(0)
            if ids.dtype != np.dtype("V16") or rows.shape != (len(ids), *self.key.shape):
                raise OptionError(f"cache segment {path} does not fit its space", "segments that kerastl wrote",
                                  "clear it: kerastl cache --clear")
            number = len(self._segments)
            self._segments.append(rows)
            self._where.update((bytes(one), (number, i)) for i, one in enumerate(ids))

    def __contains__(self, content_hash: str) -> bool:
        return bytes.fromhex(content_hash) in self._where

    def gather(self, ids: Sequence[str]) -> NDArray[Any]:
        """The rows of these ids, in this order: [len(ids), *shape], float32 unless rows are whole numbers. Raises
        KeyError for one that is missing."""
        places = np.array([self._where[bytes.fromhex(one)] for one in ids], dtype=np.int64).reshape(-1, 2)
        kept = np.dtype(self.key.dtype)
        out = np.empty((len(ids), *self.key.shape), dtype=np.float32 if kept.kind == "f" else kept)
        for number in np.unique(places[:, 0]):
            chosen = np.flatnonzero(places[:, 0] == number)
            out[chosen] = self._segments[number][places[chosen, 1]]
            if self.key.row_bytes >= LARGE_ROW:
                _let_go(self._segments[number])
        return out

    def append(self, ids: Sequence[str], rows: NDArray[Any]) -> None:
        """Store rows as one segment: either all of them are there after, or none. Raises CheckFailed for numbers that
        the space's type cannot hold."""
        if not ids:
            return
        limits = np.finfo(self.key.dtype) if np.dtype(self.key.dtype).kind == "f" else np.iinfo(self.key.dtype)
        if rows.size and not (limits.min <= rows.min() and rows.max() <= limits.max):
            raise CheckFailed(f"features from {rows.min():.3g} to {rows.max():.3g}",
                              f"what {self.key.dtype} can hold, to {float(limits.max):.3g}",
                              "take them at another tap, or use a head on pooled features")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        keys = np.frombuffer(b"".join(bytes.fromhex(one) for one in ids), dtype="V16")
        _save(self.folder / f"{name}.rows.npy", np.ascontiguousarray(rows, dtype=self.key.dtype))
        _save(self.folder / f"{name}.ids.npy", keys)
        self.refresh()


def _save(path: Path, array: NDArray[Any]) -> None:
    with atomic_file(path) as partial, open_file(partial, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data.cast("B"))  # np.save would hide why a disk refused it


def _let_go(rows: NDArray[Any]) -> None:
    """Give back the memory in which a mapped file was read; the system's own cache keeps what it likes."""
    mapped = getattr(rows, "_mmap", None)  # NumPy has no public name for it
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class SpaceUse:
    """What `kerastl cache` shows of one space."""

    name: str
    backbone: str
    compute: str
    rows: int
    bytes: int
    last_used: float  # seconds since 1970


def usage(cache_dir: Path) -> list[SpaceUse]:
    """Every space there, largest first."""
    found = []
    for about in (cache_dir / "features").glob("*/space.json"):
        key = json.loads(about.read_text())
        files = _stats(about.parent.iterdir())
        ids = [stat for path, stat in files.items() if path.name.endswith(".ids.npy")]
        rows = sum(max(0, stat.st_size - 128) // 16 for stat in ids)
        size = sum(stat.st_size for stat in files.values())
        last = max((stat.st_mtime for stat in ids), default=files[about].st_mtime)
        found.append(SpaceUse(about.parent.name, key["backbone"], key["compute"], rows, size, last))
    return sorted(found, key=lambda space: -space.bytes)


def _stats(paths: Iterable[Path]) -> dict[Path, os.stat_result]:
    """Size and times of the files that are still there when looked at: others write and evict meanwhile."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = path.stat()
    return found


def clear(cache_dir: Path) -> int:
    """Remove what kerastl keeps there (features, unpacked TFDS images, unfinished fine-tuning). Returns bytes freed.

    Nothing else in the folder is touched."""
    freed = 0
    left = [path.name for path in cache_dir.glob("contrast-*")]  # of runs that were killed
    for name in ("features", "tfds", "fine_tune", *left):
        folder = cache_dir / name
        freed += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    for verdict in cache_dir.glob("*-speed.json"):
        verdict.unlink(missing_ok=True)
    return freed


def evict(cache_dir: Path, limit: int = DEFAULT_LIMIT) -> int:
    """Remove the segments unused for longest until the features take at most `limit` bytes. Returns bytes freed.

    A process that has a segment open keeps reading it: the file goes when the last reader closes it.
    """
    folder = cache_dir / "features"
    now = time.time()
    for space in folder.glob("*"):
        remove_leftovers(space)
    files = {path: stat for path, stat in _stats(folder.glob("*/*")).items() if path.suffix == ".npy"}
    segments = []
    for path, stat in files.items():
        ids = path.with_name(path.name.replace(".rows.npy", ".ids.npy"))
        if path != ids and ids not in files:
            if now - stat.st_mtime > STALE_SECONDS:  # the run that wrote these rows was killed before it wrote the ids
                path.unlink(missing_ok=True)
        elif path != ids:
            segments.append((files[ids].st_mtime, files[ids].st_size + stat.st_size, ids, path))
    total, freed = sum(size for _, size, _, _ in segments), 0
    for _, size, ids, rows in sorted(segments):
        if total - freed <= limit:
            break
        ids.unlink(missing_ok=True)  # ids first: without them the segment is not there
        rows.unlink(missing_ok=True)
        freed += size
    return freed
