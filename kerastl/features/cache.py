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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import CheckFailed, OptionError
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
    """The rows of one key. Opening reads the ids; rows stay on disk, memory-mapped."""

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
        self._places: dict[bytes, tuple[int, int]] = {}  # of each id: the segment, and the row in it
        self._segments: list[NDArray[Any]] = []
        self._seen: set[str] = set()
        self.refresh()

    def __repr__(self) -> str:
        return f"Space({self.key.name}, {len(self._places)} rows)"

    def refresh(self) -> None:
        """Read the segments that were added since. One that is evicted meanwhile is ignored."""
        folders = [self.folder, *([Path(self._temporary.name)] if self._temporary else [])]
        for path in sorted(path for folder in folders for path in folder.glob("*.ids.npy")):
            name = path.name.removesuffix(".ids.npy")
            if name in self._seen:
                continue
            self._seen.add(name)
            try:
                ids = np.load(path)
                rows = np.load(path.with_name(f"{name}.rows.npy"), mmap_mode="r")
                if self._writable:
                    os.utime(path)  # used now: eviction takes the least recently used first
            except FileNotFoundError:
                continue
            except (ValueError, EOFError):  # a damaged disk; NumPy's messages do not help
                ids = rows = np.empty(0)
            if ids.dtype != np.dtype("V16") or rows.shape != (len(ids), *self.key.shape):
                raise OptionError(f"the cache segment {path} does not fit its space", "segments that kerastl wrote",
                                  "clear the cache: kerastl cache --clear")
            number = len(self._segments)
            self._segments.append(rows)
            self._places.update((bytes(content_hash), (number, i)) for i, content_hash in enumerate(ids))

    def __contains__(self, content_hash: str) -> bool:
        return bytes.fromhex(content_hash) in self._places

    def gather(self, ids: Sequence[str]) -> NDArray[Any]:
        """The rows of these ids, in this order: [len(ids), *shape], float32 unless rows are integers. Raises KeyError
        for a missing row."""
        places = np.array([self._places[bytes.fromhex(content_hash)] for content_hash in ids],
                          dtype=np.int64).reshape(-1, 2)
        stored = np.dtype(self.key.dtype)
        out = np.empty((len(ids), *self.key.shape), dtype=np.float32 if stored.kind == "f" else stored)
        for number in np.unique(places[:, 0]):
            inside = np.flatnonzero(places[:, 0] == number)
            out[inside] = self._segments[number][places[inside, 1]]
            if self.key.row_bytes >= LARGE_ROW:
                _release(self._segments[number])
        return out

    def append(self, ids: Sequence[str], rows: NDArray[Any]) -> None:
        """Store rows as one segment: afterwards either all of them exist, or none. Raises CheckFailed for numbers that
        the space's type cannot hold."""
        if not ids:
            return
        limits = np.finfo(self.key.dtype) if np.dtype(self.key.dtype).kind == "f" else np.iinfo(self.key.dtype)
        if rows.size and not (limits.min <= rows.min() and rows.max() <= limits.max):
            raise CheckFailed(f"features range from {rows.min():.3g} to {rows.max():.3g}",
                              f"at most {float(limits.max):.3g}, the largest {self.key.dtype} value",
                              "use another feature layer (`layer`), or a head that takes pooled features")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
        keys = np.frombuffer(b"".join(bytes.fromhex(content_hash) for content_hash in ids), dtype="V16")
        folder = self.folder if self._writable else self._temporary_folder()
        # The file of the ids is begun first: while it is held, `evict` takes the rows for those of a running process
        with atomic_file(folder / f"{name}.ids.npy") as ids_file:
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
