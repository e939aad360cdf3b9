"""The store behind a mirror: content by what it was fetched from, of limited size; the least recently used goes first.

An entry is a file, or the folder of a version. Its name is `HASH-SIZE`: a hash of the URL and of what the object store
says of this state of its content, and the size in bytes. Room is reserved under a lock before an entry is written, so
that the limit holds for all threads and processes together.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kerastl.errors import DataError, OptionError
from kerastl.files.local import open_file, read_text, write_file
from kerastl.files.partial import PARTIAL, beside, discard, held, remove_leftovers, remove_unheld

LIMIT = 10 * 2**30  # bytes
VARIABLE = "KERASTL_REMOTE_CACHE_MB"
STORE, LOCK, USED = "store", ".lock", ".bytes"


def limit() -> int:
    """The bytes that a store may take. Raises OptionError where the variable that sets them is no number."""
    given = os.environ.get(VARIABLE, "")
    if not given:
        return LIMIT
    if not given.isdecimal() or int(given) < 1:
        raise OptionError(f"the environment variable {VARIABLE} is {given!r}", "a whole number of megabytes, 1 or more")
    return int(given) * 2**20


def entry_name(url: str, state: str, size: int) -> str:
    """The name of an entry. state: what the object store says of the content, such as its ETag."""
    digest = hashlib.blake2b("\0".join((url, state)).encode(), digest_size=12)
    return f"{digest.hexdigest()}-{size}"


def size_in(name: str) -> int:
    """The size in the name of an entry, or of its partial file; 0 for another name."""
    size = name.removeprefix(".").partition("-")[2].partition(".")[0]
    return int(size) if size.isdecimal() else 0


@contextmanager
def adding(root: Path, name: str, what: str, folder: bool = False) -> Iterator[Path]:
    """A path to write an entry to, for which there is room now. It becomes the entry when the block ends. what: its
    URL, for messages. Raises DataError where it is larger than the store may be."""
    store = root / STORE
    store.mkdir(parents=True, exist_ok=True)
    partial = beside(store / name)
    with ExitStack() as stack:
        with _locked(store):
            remove_leftovers(store, 0, name)  # of the same command, which was killed; the others go with old entries
            _make_room(store, size_in(name), what)
            partial.mkdir() if folder else write_file(partial, b"")
            stack.callback(discard, partial)
            stack.enter_context(held(partial))
        yield partial
        _settle(partial, store / name)


def _settle(partial: Path, path: Path) -> None:
    if path.is_dir():  # the same version, which another process added meanwhile, is as good
        return
    partial.rename(path)


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    with open_file(store / LOCK, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(store: Path, size: int, what: str) -> None:
    """Count `size` more bytes, and remove entries where these would be too many. The count is never too low: it is
    corrected whenever the store is looked through."""
    most = limit()
    if size > most:
        raise DataError(f"{what} has {size / 1e6:,.1f} MB, but the cache of remote files may take {most / 1e6:,.1f} MB",
                        "a larger limit", f"set the environment variable {VARIABLE}, in megabytes")
    try:
        used = int(read_text(store / USED))
    except (FileNotFoundError, ValueError):
        used = None
    if used is None or used + size > most:
        used = _evict(store, most - size, what)
    write_file(store / USED, str(used + size))


def _evict(store: Path, most: int, what: str) -> int:
    """Remove the least recently used entries until the others take at most `most` bytes. Returns what they take. One
    that a process has open keeps its content until it is closed; the version that a process has loaded stays."""
    remove_leftovers(store)
    entries, used = [], 0
    for entry in os.scandir(store):
        size = size_in(entry.name)
        used += size
        if size and not entry.name.endswith(PARTIAL):
            with suppress(FileNotFoundError):
                entries.append((entry.stat().st_mtime, size, Path(entry.path)))
    enough = most - most // 10 if used > most else most  # some more, so that this is not done for every file
    for _, size, path in sorted(entries):
        if used <= enough:
            break
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif not remove_unheld(path):
            continue
        used -= size
    if used > most:
        raise DataError(f"there is no room for {what} in the cache of remote files: versions that are in use and files "
                        "that are being fetched take all of it", "a larger limit",
                        f"set the environment variable {VARIABLE}, in megabytes")
    return used


_KEPT: dict[Path, int] = {}  # the entries that this process keeps, each with the descriptor of its lock


def keep(folder: Path) -> None:
    """Keep the folder of a version from being removed until it is released, or this process ends. Raises
    FileNotFoundError."""
    if folder not in _KEPT:
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH)
        _KEPT[folder] = handle


def release(folder: Path) -> bool:
    """Let the folder of a version be removed when others need the room. Returns whether it was kept."""
    if (handle := _KEPT.pop(folder, None)) is None:
        return False
    os.close(handle)
    return True
