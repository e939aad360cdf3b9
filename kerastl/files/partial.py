"""Partial files and folders, and the locks by which others know whether somebody works on them.

A lock ends with its process, however that ends. What no process holds was left by one that was killed, and is removed.
"""

import fcntl
import glob
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".part"
OWN = "kerastl"  # of the folders of temporary files
STALE_SECONDS = 24 * 3600.0  # after which a file is assumed to be that of a killed process, where locks cannot tell
FRESH_SECONDS = 5.0  # a partial file may be so young that its writer does not hold it yet
SHORTENED = 40  # characters of a name that the name of its partial file contains
WAIT_SECONDS = 0.5  # between two looks at a folder that another process holds
_LEFTOVER = re.compile(rf"\..*\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")


def beside(path: Path) -> Path:
    """A new name for a partial file or folder beside the one that it will become."""
    # The name is shortened, since file names are limited to 255 bytes. TF Serving ignores names that are no numbers.
    return path.with_name(f".{path.name[:SHORTENED]}.{uuid.uuid4().hex[:8]}{PARTIAL}")


def hold(path: Path) -> int | None:
    """Lock a file or folder for this process, until the returned descriptor is closed or the process ends; None where
    the file system has no locks. Raises BlockingIOError while another process, or another descriptor, holds it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Within, this process holds a file or folder that exists. Raises as `hold` does."""
    handle = hold(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def held_folder(folder: Path, what: str) -> Iterator[None]:
    """Within, this process alone holds a folder, which is made where there is none: another one waits. what: the other
    process does, for a message. Where the file system has no locks, nobody waits."""
    handle = _awaited(folder, what)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _awaited(folder: Path, what: str) -> int | None:
    waiting = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = hold(folder)
        except FileNotFoundError:  # its last holder has removed it
            continue
        except BlockingIOError:
            if not waiting:
                print(f"another process {what} ({folder}): waiting for it", flush=True)
            waiting = True
            time.sleep(WAIT_SECONDS)
            continue
        with suppress(FileNotFoundError):  # removed between opening and locking it
            if handle is None or os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        if handle is not None:
            os.close(handle)


def leftover_of(name: str) -> str:
    """A pattern for the partial files of a file or folder of this name, in its folder."""
    return f".{glob.escape(name[:SHORTENED])}.*{PARTIAL}"


def remove_leftovers(folder: Path, older_than: float | None = None, name: str | None = None) -> int:
    """Remove the partial files and folders that killed processes left in a folder (not in its subfolders): those that
    no process holds, once nothing in them has changed for `older_than` seconds. Default: a few seconds, but a day where
    the file system has no locks, and for files of other names, which earlier versions did not hold. name: of what was
    being written, in a folder that others use too. Returns the bytes freed."""
    freed = 0
    for path in folder.glob(f"*{PARTIAL}" if name is None else leftover_of(name)):
        size, age = _size_and_age(path)
        if abs(age) < (FRESH_SECONDS if older_than is None else older_than):  # below 0: the clock was set back since
            continue
        try:
            handle = hold(path)
        except (BlockingIOError, FileNotFoundError, PermissionError):  # at work, just finished, or another user's
            continue
        if handle is not None:
            os.close(handle)
        if older_than is None and age < STALE_SECONDS and (handle is None or not _LEFTOVER.fullmatch(path.name)):
            continue
        discard(path)
        freed += size
    return freed


def discard(partial: Path) -> None:
    """Remove a partial file or folder, if it is still there."""
    shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one. It loses its name first, so that a process that is killed meanwhile leaves no
    folder that seems complete; `remove_leftovers` of its parent removes the rest then. A link stays."""
    if folder.is_symlink():
        return
    gone = beside(folder)
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    except OSError:  # it is a mount point, or its parent cannot be written to
        gone = folder
    shutil.rmtree(gone, ignore_errors=True)


def remove_unheld(folder: Path) -> bool:
    """Remove a folder as `remove_folder` does, unless a process holds it. Returns whether that was done."""
    try:
        with held(folder):
            remove_folder(folder)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


def _size_and_age(path: Path) -> tuple[int, float]:
    """The bytes in a file or folder, and the seconds since anything in it changed."""
    size, last_change = 0, 0.0
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with suppress(FileNotFoundError):  # its writer has just finished
            stat = file.stat()
            size, last_change = size + stat.st_size, max(last_change, stat.st_mtime)
    return size, time.time() - last_change


@contextmanager
def temporary_folder(parent: Path, name: str = "tmp") -> Iterator[Path]:
    """A new folder in `parent`, removed when the block ends, or by `remove_leftovers` if the process is killed."""
    folder = beside(parent / name)
    try:
        folder.mkdir()
        with held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_temporary_files() -> Iterator[None]:
    """Within, whatever asks Python's `tempfile` for a place, libraries too, gets one in a folder of this process. It is
    removed when the block ends; after a kill, by the next process that comes here, at its end if workers of the killed
    one still wrote there at its start. Programs like systemd-tmpfiles spare it, because it is locked."""
    try:
        parent, before = Path(tempfile.gettempdir()), tempfile.tempdir
    except FileNotFoundError:  # there is no place at all: who needs one says so
        yield
        return
    remove_leftovers(parent, name=OWN)
    with temporary_folder(parent, OWN) as folder:
        folder.chmod(0o700)
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
            remove_leftovers(parent, name=OWN)
