"""Writing to object stores: content is written locally first, and is there completely or not at all.

A file is uploaded in one request. A version is many files, of which the manifest is uploaded last; without it, no
reader sees the version. Its number is claimed first, by a small file that only one writer can create.
"""

import errno
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.files import objects
from kerastl.files.addresses import root_of, url_of
from kerastl.files.local import UNWRITTEN, read_bytes, write_file
from kerastl.files.partial import STALE_SECONDS, held, remove_leftovers, temporary_folder
from kerastl.files.reading import CLAIMS, MANIFEST, entries_below, lead_to, version_entry
from kerastl.files.store import adding, limit, size_in

OUTBOX = "outbox"  # beside the mirror: what is being written


def check_destination(path: Path, argument: str) -> None:
    """Raises OptionError, which names the argument, where nothing can be written to the place of a path of the mirror:
    before the work begins. A small file is written there and removed."""
    url = str(url_of(path))
    probe = f"{url.rpartition('/')[0]}/.kerastl-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        objects.create(probe, b"")
        objects.remove(probe)
    except (KerastlError, OSError) as error:
        why = error.got if isinstance(error, KerastlError) else f"nothing can be written there: {error.strerror}"
        raise OptionError(f"`{argument}` is {url}: {why}", getattr(error, "expected", "") or
                          "a place where files can be written and removed",
                          getattr(error, "hint", "") or "check the bucket, the credentials, and what they may do"
                          ) from error


@contextmanager
def uploading(path: Path) -> Iterator[Path]:
    """A local path to write to, whose content replaces the remote file when the block ends."""
    url = str(url_of(path))
    with _outbox(path) as folder:
        partial = folder / path.name
        write_file(partial, UNWRITTEN)
        yield partial
        if partial.stat().st_size == len(UNWRITTEN) and read_bytes(partial) == UNWRITTEN:
            raise FileNotFoundError(errno.ENOENT, "nothing was written", url)
        objects.upload(partial, url)
        if path.is_symlink():  # to what was there before
            path.unlink()


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A local folder to write a version into, which is uploaded when the block ends. Its number is claimed first, so
    that a writer on another machine takes the next one. Raises FileExistsError, before the block, where another writer
    has the same number; DataError where the upload fails: then nothing of it is left, or only what no reader sees."""
    url = str(url_of(path))
    home, _, number = url.rpartition("/")
    _remove_given_up(home)
    claim = f"{home}/{CLAIMS}/{number}"
    try:
        objects.create(claim, f"{os.getpid()} {time.time():.0f}\n".encode())
    except FileExistsError as error:
        raise FileExistsError(errno.EEXIST, "is being written by another run", str(path)) from error
    with _outbox(path) as folder:
        partial = folder / path.name
        partial.mkdir()
        try:
            with held(partial):
                yield partial
        except BaseException:
            with suppress(KerastlError, OSError):  # in vain where the store has gone; the number is then not used again
                objects.remove(claim)
            raise
        _publish(partial, url, path)
        objects.remove(claim)
        _adopt(partial, url, path)


def _publish(folder: Path, url: str, path: Path) -> None:
    if objects.listing(url):
        raise FileExistsError(errno.EEXIST, "appeared while it was being written", str(path))
    places = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    places = [place for place in places if place != MANIFEST]
    try:
        with ThreadPoolExecutor(objects.AT_ONCE) as pool:
            list(pool.map(lambda place: objects.upload(folder / place, f"{url}/{place}"), places))
        _compare(folder, url, places)
        objects.upload(folder / MANIFEST, f"{url}/{MANIFEST}")
    except BaseException as error:
        for place in (MANIFEST, *places):  # in vain where the store has gone; without the manifest, nobody sees them
            with suppress(KerastlError, OSError):
                objects.remove(f"{url}/{place}")
        if isinstance(error, OSError):
            raise DataError(f"{url} cannot be written: {error.strerror or error}", "a folder that may be written to",
                            "check the credentials, and what they may do") from error
        raise


def _remove_given_up(home: str) -> None:
    """Remove what killed writers uploaded of versions that no reader sees: those that were claimed more than a day ago.
    Their claims stay, so that their numbers are not used again. Such a version is not removed if it is whole."""
    files = objects.listing(home)
    whole = {file.url.rpartition("/")[0] for file in files if file.url.endswith(f"/{MANIFEST}")}
    for claim in [file.url for file in files if file.url.startswith(f"{home}/{CLAIMS}/")]:
        version = f"{home}/{claim.rpartition('/')[2]}"
        parts = [file.url for file in files if file.url.startswith(f"{version}/")]
        if not parts or version in whole:
            continue
        with suppress(FileNotFoundError):  # another writer removes it too
            _, _, begun = objects.content(claim).decode().partition(" ")
            if begun.strip().isdecimal() and time.time() - int(begun) > STALE_SECONDS:
                for part in parts:
                    objects.remove(part)


def _compare(folder: Path, url: str, places: list[str]) -> None:
    """Raises DataError where what has been uploaded is not what was written, by names and sizes."""
    sizes = {file.url.removeprefix(f"{url}/"): file.size for file in objects.listing(url)}
    if sizes != {place: (folder / place).stat().st_size for place in places}:
        raise DataError(f"{url} does not contain what was uploaded: another program writes there",
                        "a folder that only kerastl writes to", "run it again to write the next version")


def _adopt(folder: Path, url: str, path: Path) -> None:
    """Make the version that was uploaded an entry of the store, so that it is not fetched back. Where it is too large
    for that, it is fetched when it is needed, or not at all."""
    entries = entries_below(url, objects.listing(url))
    name = version_entry(url, entries)
    if {place: size_in(entry) for place, entry in entries.items()} != {
            str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()
    } or size_in(name) > limit():
        return
    with adding(root_of(path), name, url, folder=True) as partial:
        for child in list(folder.iterdir()):
            child.rename(partial / child.name)
    lead_to(path, name)


@contextmanager
def _outbox(path: Path) -> Iterator[Path]:
    folder = root_of(path) / OUTBOX
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    with temporary_folder(folder) as temporary:
        yield temporary
