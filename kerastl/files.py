"""Files: opening them, and writing a file or a folder so that readers see the old content or the new, never a mixture.

Content is first written beside its destination, under a name that starts with a dot and ends in `.part`, then synced
and renamed. If writing fails, the partial file is removed. If the process is killed, it remains, is never read, and is
removed later by `remove_leftovers`.
"""

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from kerastl.errors import OptionError

PARTIAL = ".part"
TAG = "CACHEDIR.TAG"  # https://bford.info/cachedir/: backup programs skip folders that hold it
OURS = "made by kerastl"
STALE_SECONDS = 24 * 3600.0  # after which a partial file is assumed to be that of a killed process


def open_file(path: str | Path, mode: str = "rb", **options: Any) -> Any:
    """Open a file as `open` does; text is UTF-8 unless `options` say otherwise. Raises OSError as `open` does."""
    if "b" not in mode:
        options = {"encoding": "utf-8", **options}
    return open(path, mode, **options)


def read_bytes(path: str | Path) -> bytes:
    """The content of a file. Raises OSError as `open` does."""
    with open_file(path) as file:
        content: bytes = file.read()
    return content


def read_text(path: str | Path, errors: str = "strict") -> str:
    """The content of a text file in UTF-8, with line endings as `\\n`. errors: as `open` takes it."""
    with open_file(path, "r", errors=errors) as file:
        content: str = file.read()
    return content


def write_file(path: str | Path, content: bytes | str) -> None:
    """Write a file into a folder that is itself written atomically. A string is written as UTF-8, its line endings
    unchanged."""
    with open_file(path, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def output_file(out: str, endings: Sequence[str]) -> Path:
    """The path `out` to write a file to, checked before the work begins. Raises OptionError where it has another ending
    or its folder does not exist."""
    path = Path(out)
    if path.suffix not in endings:
        raise OptionError(f"`out` must end in {' or '.join(endings)} (got {out})")
    if not path.parent.is_dir():
        raise OptionError(f"`out` is {out}, but there is no folder {path.parent}", "a path in an existing folder",
                          "create the folder first")
    return path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whose content is in memory. A string is written as UTF-8, its line endings unchanged."""
    with atomic_file(path) as partial:
        write_file(partial, content)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to. It replaces `path` when the block ends, and is removed if the block fails. The folder of
    `path` must exist."""
    partial = _beside(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into. It becomes `path` when the block ends, and is removed if the block fails.

    The parent of `path` must exist. Raises FileExistsError if `path` exists when the block ends.
    """
    partial = _beside(path)
    try:
        partial.mkdir()
        yield partial
        for inner in [*partial.rglob("*"), partial]:
            sync(inner)
        _rename_folder(partial, path)
        sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """The hash of a file's content, 64 hexadecimal digits; empty if there is no such file."""
    if not path.is_file():
        return ""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, older_than: float = STALE_SECONDS) -> int:
    """Remove the partial files and folders that killed processes left in a folder (not in its subfolders), once nothing
    in them has changed for `older_than` seconds. Returns the bytes freed."""
    freed = 0
    for path in folder.glob(f"*{PARTIAL}"):
        inner = [path, *path.rglob("*")] if path.is_dir() else [path]
        size, last_change = 0, 0.0
        for file in inner:
            with suppress(FileNotFoundError):  # its writer has just finished
                stat = file.stat()
                size, last_change = size + stat.st_size, max(last_change, stat.st_mtime)
        if time.time() - last_change < older_than:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        freed += size
    return freed


def user_cache_dir() -> Path:
    """The user's cache directory by the platform's convention."""
    return Path(platformdirs.user_cache_dir("kerastl", appauthor=False))


def cache_folder(cache_dir: str | Path, name: str) -> Path:
    """A folder in the cache directory, tagged as kerastl's, so that clearing the cache removes it."""
    folder = Path(cache_dir) / name
    if not (folder / TAG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / TAG, f"Signature: 8a477f597d28d172789f06886806bc55\n# A cache, {OURS}.\n")
    return folder


def cache_folders(cache_dir: Path) -> list[Path]:
    """The folders of a cache directory that `cache_folder` made, by name."""
    tags = sorted(cache_dir.glob(f"*/{TAG}"))
    return [tag.parent for tag in tags if OURS in read_text(tag, errors="replace")]


def _beside(path: Path) -> Path:
    # The name is shortened, since file names are limited to 255 bytes. TF Serving ignores names that are no numbers.
    return path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}{PARTIAL}")


def _rename_folder(partial: Path, path: Path) -> None:
    if path.exists():
        raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path))
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path)) from error
