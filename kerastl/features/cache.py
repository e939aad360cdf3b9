"""The feature cache: rows on disk, addressed by what they were computed from and with.

A space is a folder named by the hash of everything that decides a row's numbers except the example itself: backbone,
weights, preprocessing, feature layer, pooling, arithmetic, shape. It holds segments, each two files: `NAME.rows.npy`,
the numbers, and `NAME.ids.npy`, the content hashes. The ids are written last; a segment exists when its ids do. So a
killed run leaves no torn row, and processes may share a space without locks: at worst a row is stored twice.

A cache that cannot be written to, such as one on a read-only disk, is used as it is: rows that it lacks are kept in a
temporary folder while the process runs.
"""

import hashlib
import json
import mmap
import os
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes, Places
from kerastl.errors import CheckFailed, DataError, OptionError
from kerastl.files import (
    atomic_file,
    cache_folder,
    is_remote,
    is_writable,
    open_file,
    user_cache_dir,
    write_atomically,
)

FOLDER = "features"  # in the cache directory
IDS = ".ids.npy"  # how the names of the files of ids end
MOST_MAPPED = 256  # segments whose rows are mapped at a time
LARGE_ROW = 4096  # bytes, a page: memory into which larger rows were read is released, or training would fill it


@dataclass(frozen=True)
class SpaceKey:
    """Everything but the example that determines the values of a row. The names are those of `space.json` on disk."""

    backbone: str
    weights_hash: str
    preprocessing: str
    tap: str  # the feature layer
    pooling: str
    compute: str  # float32 | openvino-bfloat16 | ...: rows of different arithmetic are never mixed
    shape: tuple[int, ...]  # of a row: (dim,), or that of a map or of token states
    dtype: str = "float32"  # on disk

    @property
    def row_bytes(self) -> int:
        """The size of a row on disk."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def name(self) -> str:
        """The folder's name: the backbone's, for people, and a hash."""
        digest = hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=8).hexdigest()
        readable = "".join(c if c.isalnum() else "_" for c in self.backbone)[-40:]
        return f"{readable}-{self.compute}-{digest}"


def default_dir() -> Path:
    """The user's cache directory by the platform's convention."""
    return user_cache_dir()


def chosen_dir(cache_dir: str | Path | None) -> Path:
    """The requested cache directory, or the default. Raises OptionError when it cannot be made or is a file."""
    if is_remote(cache_dir):
        raise OptionError(f"`cache_dir` is {cache_dir}", "a local folder, because features are mapped into memory from "
                          "it", "choose a folder on a local disk; data and models may be remote")
    path = Path(cache_dir) if cache_dir else default_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"`cache_dir` {path} cannot be used: {error.strerror}", "a folder that can be written to",
                          "choose another folder") from error
    return path


class Space:
    """The rows of one key. Opening reads the ids and keeps 24 bytes of each; rows stay on disk, memory-mapped."""

    def __init__(self, cache_dir: str | Path, key: SpaceKey) -> None:
        self.key = key
        self.folder = Path(cache_dir) / FOLDER / key.name
        self._temporary: tempfile.TemporaryDirectory[str] | None = None  # of rows that cannot be stored in the cache
        self._writable = is_writable(self.folder)
        if self._writable:
            cache_folder(cache_dir, FOLDER)
            self.folder.mkdir(exist_ok=True)
            description = self.folder / "space.json"
            if not description.exists():
                write_atomically(description, json.dumps(asdict(key), indent=1))
        self._places = Places()  # of each id: the number of its row, over all segments
        self._segments: list[Path] = []  # the files of rows
        self._starts = [0]  # the number of the first row of each segment, and that of the next one
        self._mapped: OrderedDict[int, NDArray[Any]] = OrderedDict()  # the last used segments
        self._seen: set[str] = set()
        self.refresh()

    def __repr__(self) -> str:
        return f"Space({self.key.name}, {len(self._places)} rows)"

    def refresh(self) -> None:
        """Read the segments that were added since. One that is evicted meanwhile is ignored."""
        folders = [self.folder, *([Path(self._temporary.name)] if self._temporary else [])]
        new = sorted((name, folder) for folder in folders if folder.is_dir() for name in os.listdir(folder)
                     if name.endswith(IDS) and name not in self._seen)
        ids: list[NDArray[np.uint8]] = []
        for name, folder in new:
            self._seen.add(name)
            try:
                ids.append(self._add(folder / name))
            except FileNotFoundError:
                continue
        if ids:
            hashes = Hashes(np.concatenate(ids))
            self._places.add(hashes, np.arange(self._starts[-1] - len(hashes), self._starts[-1]))

    def _add(self, path: Path) -> NDArray[np.uint8]:
        """Add a segment, and return its ids, [rows, 16]."""
        file = path.with_name(f"{path.name.removesuffix(IDS)}.rows.npy")
        try:
            ids, rows = np.load(path), np.load(file, mmap_mode="r")
            if self._writable:
                os.utime(path)  # used now: eviction takes the least recently used first
        except (ValueError, EOFError):  # a damaged disk; NumPy's messages do not help
            ids = rows = np.empty(0)
        if ids.dtype != np.dtype("V16") or rows.shape != (len(ids), *self.key.shape):
            raise OptionError(f"the cache segment {path} does not fit its space", "segments that kerastl wrote",
                              "clear the cache: kerastl cache --clear")
        self._keep(len(self._segments), rows)
        self._segments.append(file)
        self._starts.append(self._starts[-1] + len(ids))
        return np.asarray(ids.view(np.uint8).reshape(-1, 16))

    def _keep(self, segment: int, rows: NDArray[Any]) -> None:
        """Keep a segment mapped, and not too many of them: each holds an open file."""
        self._mapped[segment] = rows
        while len(self._mapped) > MOST_MAPPED:
            self._mapped.popitem(last=False)

    def _rows(self, segment: int) -> NDArray[Any]:
        rows = self._mapped.pop(segment, None)
        if rows is None:
            try:
                rows = np.load(self._segments[segment], mmap_mode="r")
            except FileNotFoundError as error:
                raise DataError(f"{self._segments[segment]} was removed while its rows were needed",
                                "a cache that other processes do not clear meanwhile", "run the same command again"
                                ) from error
        self._keep(segment, rows)
        return rows

    def has(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Whether the space has the row of each id, [len(ids)]."""
        return self._places.find(Hashes.of(ids)) >= 0

    def __contains__(self, content_hash: str) -> bool:
        return bool(self.has([content_hash])[0])

    def gather(self, ids: Sequence[str]) -> NDArray[Any]:
        """The rows of these ids, in this order: [len(ids), *shape], float32 unless rows are integers. Raises KeyError
        for a missing row."""
        numbers = self._places.find(Hashes.of(ids))
        if len(lacking := np.flatnonzero(numbers < 0)):
            raise KeyError(ids[int(lacking[0])])
        stored = np.dtype(self.key.dtype)
        out = np.empty((len(ids), *self.key.shape), dtype=np.float32 if stored.kind == "f" else stored)
        segments = np.searchsorted(self._starts, numbers, side="right") - 1
        order = np.argsort(segments, kind="stable")
        for inside in np.split(order, np.flatnonzero(np.diff(segments[order])) + 1) if len(order) else ():
            segment = int(segments[inside[0]])
            rows = self._rows(segment)
            out[inside] = rows[numbers[inside] - self._starts[segment]]
            if self.key.row_bytes >= LARGE_ROW:
                _release(rows)
        return out

    def append(self, ids: Sequence[str], rows: NDArray[Any]) -> None:
        """Store rows as one segment: afterwards either all of them exist, or none. Raises CheckFailed for numbers that
        the space's type cannot hold."""
        if not len(ids):
            return
        limits = np.finfo(self.key.dtype) if np.dtype(self.key.dtype).kind == "f" else np.iinfo(self.key.dtype)
        if rows.size and not (limits.min <= rows.min() and rows.max() <= limits.max):
            raise CheckFailed(f"features range from {rows.min():.3g} to {rows.max():.3g}",
                              f"at most {float(limits.max):.3g}, the largest {self.key.dtype} value",
                              "use another feature layer (`layer`), or a head that takes pooled features")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        keys = np.ascontiguousarray(Hashes.of(ids).raw).view("V16").ravel()
        folder = self.folder if self._writable else self._temporary_folder()
        # The file of the ids is begun first: while it is held, `evict` takes the rows for those of a running process
        with atomic_file(folder / f"{name}{IDS}") as ids_file:
            with atomic_file(folder / f"{name}.rows.npy") as rows_file:
                _save(rows_file, np.ascontiguousarray(rows, dtype=self.key.dtype))
            _save(ids_file, keys)
        self.refresh()

    def _temporary_folder(self) -> Path:
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="kerastl-")
            print(f"the cache {self.folder} is read-only: features that it lacks are kept in {self._temporary.name} "
                  "while this process runs", flush=True)
        return Path(self._temporary.name)


def known_space(cache_dir: Path, key: SpaceKey) -> Space | None:
    """The space of a key, if the cache has one."""
    return Space(cache_dir, key) if (cache_dir / FOLDER / key.name).is_dir() else None


def _save(path: Path, array: NDArray[Any]) -> None:
    with open_file(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data.cast("B"))  # np.save would hide why the disk refused it


def _release(rows: NDArray[Any]) -> None:
    """Release the memory into which a mapped file was read; the operating system's cache keeps what it can."""
    mapped = getattr(rows, "_mmap", None)  # NumPy has no public name for it
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
