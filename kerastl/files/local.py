"""Files: opening them, and writing a file or a folder so that readers see the old content or the new, never a mixture.

Content is first written beside its destination, under a name that starts with a dot and ends in `.part`, then synced
and renamed. If writing fails, the partial file is removed. If the process is killed, it remains, is never read, and is
removed later by `remove_leftovers`: its writer holds a lock on it, which ends with the process, however it ends.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from kerastl.display import MIRROR
from kerastl.errors import OptionError
from kerastl.files.addresses import is_mirrored, local_path
from kerastl.files.partial import beside, held, remove_leftovers, temporary_folder

TAG = "CACHEDIR.TAG"  # https://bford.info/cachedir/: backup programs skip folders that hold it
OURS = "made by kerastl"
UNWRITTEN = b"kerastl: this file is about to be written\n"
Named = TypeVar("Named", str, Path)


def open_file(path: str | Path, mode: str = "rb", **options: Any) -> Any:
    """Open a file as `open` does; text is UTF-8 unless `options` say otherwise. A file of a mirror is fetched where it
    has to be. Raises OSError as `open` does, for a file of a mirror also DataError."""
    if "b" not in mode:
        options = {"encoding": "utf-8", **options}
    if mode[0] == "r" and MIRROR in str(path) and is_mirrored(path):
        from kerastl.files.reading import fetched

        return fetched(Path(path), lambda: open(path, mode, **options))
    return open(path, mode, **options)


def is_file(path: str | Path) -> bool:
    """Whether there is a file at a path, also one of a mirror that was not fetched yet."""
    if os.path.isfile(path) or not is_mirrored(path):
        return os.path.isfile(path)
    from kerastl.files.reading import is_remote_file

    return is_remote_file(Path(path))


def size_of(path: str | Path) -> int:
    """The bytes of a file, also one of a mirror that was not fetched yet. Raises OSError."""
    if is_mirrored(path) and os.path.islink(path) and not os.path.exists(path):
        from kerastl.files.store import size_in

        return size_in(os.path.basename(os.readlink(path)))
    return os.stat(path).st_size


def listed_state(path: str | Path) -> str | None:
    """A name for the state of a remote file's content, by its path in the mirror; None for any other path, and where
    there is none."""
    return os.path.basename(os.readlink(path)) if is_mirrored(path) and os.path.islink(path) else None


def prefetched(paths: Iterable[Named]) -> Iterator[Named]:
    """The same paths in order. Those of a mirror are fetched ahead, many at a time, while the caller reads the ones
    before. One that there is not is left for its reader to meet. Raises DataError where fetching fails."""
    paths = iter(paths)
    for path in paths:
        if is_mirrored(path):
            from kerastl.files.reading import fetched_ahead

            yield from fetched_ahead(chain([path], paths))
            return
        yield path


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


def output_file(out: str, endings: Sequence[str], inputs: Sequence[str] = ()) -> Path:
    """The path `out` to write a file to, checked before the work begins. inputs: what will be read. Raises OptionError
    where it has another ending, is a folder or an input, or no file can be made there."""
    path = local_path(out)
    if path.suffix not in endings:
        raise OptionError(f"`out` must end in {' or '.join(endings)} (got {out})")
    if is_mirrored(path):
        if out.rstrip("/") in (name.rstrip("/") for name in inputs):
            raise OptionError(f"`out` is {out}, which is an input, and would be replaced", "the path of another file",
                              "choose another path")
        check_writable(path, "out")
        return path
    if not path.parent.is_dir():
        raise OptionError(f"`out` is {out}, but there is no folder {path.parent}", "a path in an existing folder",
                          "create the folder first")
    if path.exists() and any(os.path.exists(name) and os.path.samefile(name, path) for name in inputs):
        raise OptionError(f"`out` is {out}, which is an input, and would be replaced", "the path of another file",
                          "choose another path")
    check_writable(path, "out")
    return path


def check_writable(path: Path, argument: str) -> None:
    """Raises OptionError, which names the argument, where a file at `path` cannot be written: before the work begins.
    The folder of `path` exists. What killed processes left of this file is removed."""
    if is_mirrored(path):
        from kerastl.files.writing import check_destination

        return check_destination(path, argument)
    if path.is_dir():
        raise OptionError(f"`{argument}` is {path}, which is a folder", "the path of a file", "choose another path")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OptionError(f"`{argument}` is {path}, but no file can be made in {path.parent}: {error.strerror}",
                          "a folder that can be written to", "choose another folder") from error
    remove_leftovers(path.parent, name=path.name)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file whose content is in memory. A string is written as UTF-8, its line endings unchanged. What killed
    processes left of this file is removed."""
    if not is_mirrored(path):
        remove_leftovers(path.parent, name=path.name)
    with atomic_file(path) as partial:
        write_file(partial, content)


@contextmanager
def atomic_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """A path to write to. It replaces `path` when the block ends, and is removed if the block fails. The folder of
    `path` must exist. durable: whether to wait until it is on the disk; without, a machine that loses its power may
    keep a file of the right name and the wrong size."""
    if is_mirrored(path):
        from kerastl.files.writing import uploading

        with uploading(path) as partial:
            yield partial
        return
    partial = beside(path)
    try:
        write_file(partial, UNWRITTEN)  # there must be a file to hold; every writer replaces its content
        with held(partial):
            yield partial
            if partial.stat().st_size == len(UNWRITTEN) and read_bytes(partial) == UNWRITTEN:
                raise FileNotFoundError(errno.ENOENT, "nothing was written", str(path))
            if durable:
                sync(partial)
            partial.replace(path)
            if durable:
                sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into. It becomes `path` when the block ends, and is removed if the block fails. One of a
    mirror is uploaded, its manifest last.

    The parent of `path` must exist. Raises FileExistsError if `path` exists when the block ends.
    """
    if is_mirrored(path):
        from kerastl.files.writing import publishing

        with publishing(path) as partial:
            yield partial
        return
    with temporary_folder(path.parent, path.name) as partial:
        yield partial
        for inner in [*partial.rglob("*"), partial]:
            sync(inner)
        _rename_folder(partial, path)
        sync(path.parent)


def file_sha256(path: Path) -> str:
    """The hash of a file's content, 64 hexadecimal digits; empty if there is no such file."""
    if not is_file(path):
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


def user_cache_dir() -> Path:
    """The user's cache directory by the platform's convention. Raises OptionError for a user without a home directory,
    as in a container that runs under a number."""
    path = in_home(lambda: platformdirs.user_cache_dir("kerastl", appauthor=False))
    if path is None:
        raise OptionError("there is no home directory for the cache", "a folder that can be written to",
                          "set `cache_dir`, or the environment variable XDG_CACHE_HOME")
    return path


def in_home(find: Callable[[], str | Path]) -> Path | None:
    """A folder below the user's home directory, which `find` returns; None for a user without one."""
    try:
        path = Path(find())
    except RuntimeError:  # of pathlib, and of newer versions of platformdirs
        return None
    return None if path.parts[0] == "~" else path  # of older ones: a folder of this name, wherever the user is


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it does not exist yet."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return os.access(nearest, os.W_OK | os.X_OK)


def cache_folder(cache_dir: str | Path, name: str) -> Path:
    """A folder in the cache directory, tagged as kerastl's, so that clearing the cache removes it. Where the cache is
    read-only, a temporary folder that is removed when the process ends."""
    folder = Path(cache_dir) / name
    if not is_writable(folder):
        return Path(_instead_of(folder).name)
    if not (folder / TAG).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / TAG, f"Signature: 8a477f597d28d172789f06886806bc55\n# A cache, {OURS}.\n")
    return folder


def cache_folders(cache_dir: Path) -> list[Path]:
    """The folders of a cache directory that `cache_folder` made, by name."""
    tags = sorted(cache_dir.glob(f"*/{TAG}"))
    return [tag.parent for tag in tags if OURS in read_text(tag, errors="replace")]


@cache
def _instead_of(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    temporary = tempfile.TemporaryDirectory(prefix="kerastl-")
    print(f"the cache {folder} is read-only: what would be written there is kept in {temporary.name} while this "
          "process runs", flush=True)
    return temporary


def _rename_folder(partial: Path, path: Path) -> None:
    if path.exists():
        raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path))
    try:
        partial.rename(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path)) from error
