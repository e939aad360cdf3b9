"""The files of shards: one for each shard, complete or absent, and a manifest of all of them."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.errors import DataError
from kerastl.files import (
    atomic_file,
    cache_folder,
    held,
    held_folder,
    open_file,
    read_bytes,
    remove_folder,
    remove_leftovers,
    remove_unheld,
    write_atomically,
)

FOLDER = "shards"  # in the cache directory
JOB, MANIFEST = "job.json", "manifest.json"
CONTENT = "content"  # of a job: what `content_of` returns
KEPT_SECONDS = 30 * 24 * 3600.0  # the shards of a run that nobody continues
ERRORS, PLACES, ROWS = "errors", "places", "rows"  # in a shard's file, beside its arrays, which are `array:NAME`
_ARRAY = "array:"


@dataclass(frozen=True)
class Shard:
    """A part of the work. number: its place among the shards. start: the number of its first row. rows: how many it
    has. task: what a worker needs to compute it, as JSON holds it. digest: a hash of its rows and of the job."""

    number: int
    start: int
    rows: int
    task: Mapping[str, Any]
    digest: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"part-{self.number:06d}-{self.digest}.npz"


@dataclass(frozen=True)
class Part:
    """What a worker computed of a shard. arrays: by name, [len(places), ...]. places: of the computed rows in the
    shard. errors: of each other row, the reason why it has no result."""

    arrays: Mapping[str, NDArray[Any]]
    places: Sequence[int]
    errors: Mapping[int, str]

    @property
    def rows(self) -> int:
        """How many rows the shard has."""
        return len(self.places) + len(self.errors)


@dataclass
class Manifest:
    """What became of each shard, written when all of them have been read: counts, and the hash of each file."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, shard: Shard, part: Part, sha256: str) -> None:
        """Enter a shard."""
        self.entries.append({"name": shard.name, "start": shard.start, ROWS: part.rows, "computed": len(part.places),
                             ERRORS: len(part.errors), "sha256": sha256})

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder of the job."""
        totals = {name: sum(entry[name] for entry in self.entries) for name in (ROWS, "computed", ERRORS)}
        write_atomically(folder / MANIFEST, json.dumps({**totals, "shards": self.entries}, indent=1))


def digest_of(*parts: Any) -> str:
    """16 hexadecimal digits for what JSON can hold."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def write_part(path: Path, part: Part) -> None:
    """Write the file of a shard: afterwards it is complete or absent."""
    errors = json.dumps({str(place): reason for place, reason in part.errors.items()}).encode()
    arrays: dict[str, NDArray[Any]] = {f"{_ARRAY}{name}": array for name, array in part.arrays.items()}
    arrays |= {PLACES: np.asarray(part.places, np.int64), ERRORS: np.frombuffer(errors, np.uint8)}
    with atomic_file(path) as partial, open_file(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_part(path: Path, shard: Shard) -> tuple[Part, str]:
    """The content of a shard's file, and its SHA-256. Raises DataError for a file that does not hold each row once, and
    FileNotFoundError where there is none."""
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name.removeprefix(_ARRAY): file[name] for name in file.files if name.startswith(_ARRAY)}
            places = file[PLACES].tolist()
            errors = {int(place): reason for place, reason in json.loads(file[ERRORS].tobytes()).items()}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged", "the file that a worker wrote", "delete it, and run again") from error
    if sorted([*places, *errors]) != [*range(shard.rows)] or {len(array) for array in arrays.values()} - {len(places)}:
        raise DataError(f"{path} does not hold each of its {shard.rows} rows once", "the file that a worker wrote",
                        "delete it, and run again")
    return Part(arrays, places, errors), hashlib.sha256(content).hexdigest()


@contextmanager
def job_folder(cache_dir: Path, name: str) -> Iterator[Path]:
    """The folder of a job in the cache, held by this process alone: another one that does the same job waits. When the
    block ends, only the manifest stays; when it fails, all shards stay for the next run."""
    parent = cache_folder(cache_dir, FOLDER)
    _remove_old(parent, name)
    folder = parent / name
    with held_folder(folder, "computes the same rows"):
        remove_leftovers(folder)
        yield folder
        _empty(folder)


def content_of(rows: Hashes) -> str:
    """16 hexadecimal digits for the rows of a pass, by which its job is known."""
    return hashlib.blake2b(rows.raw.tobytes(), digest_size=8).hexdigest()


def remove_finished(cache_dir: Path, prefix: str, rows: Hashes) -> None:
    """Remove all but the manifest of jobs that were killed when their rows were in the cache already, unless a process
    works on them. prefix: of the names of the jobs. rows: that are in the cache."""
    for folder in (cache_dir / FOLDER).glob(f"{escape(prefix)}*/"):
        with suppress(FileNotFoundError, BlockingIOError):
            if _is_of(folder, rows) or _is_read(folder):
                with held(folder):
                    _empty(folder)


def _is_of(folder: Path, rows: Hashes) -> bool:
    """Whether the last job of a folder was to compute these rows."""
    job = folder / JOB
    return job.exists() and json.loads(read_bytes(job)).get(CONTENT) == content_of(rows)


def _is_read(folder: Path) -> bool:
    """Whether all shards in a folder were read before its process was killed."""
    if not (folder / MANIFEST).exists():
        return False
    read = {entry["name"] for entry in json.loads(read_bytes(folder / MANIFEST))["shards"]}
    return {path.name for path in folder.glob("part-*")} <= read


def _empty(folder: Path) -> None:
    """Remove all but the manifest."""
    for path in folder.iterdir():
        if path.name == MANIFEST:
            continue
        if path.is_dir():
            remove_folder(path)
        else:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Kept:
    """What runs that were killed have left for the next run: how many they are, and the bytes of their shards."""

    runs: int
    bytes: int


def kept(cache_dir: Path) -> Kept:
    """The shards of runs that have not ended, also of those that go on at the moment."""
    sizes = [sum(map(_size, files)) for _, files in _begun(cache_dir)]
    return Kept(len(sizes), sum(sizes))


def remove_kept(cache_dir: Path) -> int:
    """Remove the shards that no process works on. Returns the bytes freed."""
    freed = 0
    for folder, files in _begun(cache_dir):
        size = sum(map(_size, files))
        freed += size if remove_unheld(folder) else 0
    return freed


def _begun(cache_dir: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The folders of jobs that have not ended, with the files in them."""
    for folder in sorted((cache_dir / FOLDER).glob("*/")):
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
        if files:
            yield folder, files


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its job has just ended
        return 0


def _remove_old(parent: Path, current: str) -> None:
    """Remove the folders of jobs that nobody has continued for 30 days."""
    remove_leftovers(parent)
    for folder in parent.glob("*/"):
        with suppress(FileNotFoundError):
            if folder.name != current and abs(time.time() - folder.stat().st_mtime) >= KEPT_SECONDS:
                remove_unheld(folder)
