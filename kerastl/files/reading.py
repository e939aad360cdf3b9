"""Reading from object stores: folders are listed once, as links of the mirror, and files are fetched when opened.

A link leads into the store (see `store.py`), to an entry whose name tells the state of the content that was listed. A
file that has changed since has another state, is fetched anew and gets another link.
"""

import errno
import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from kerastl.errors import DataError
from kerastl.files import objects
from kerastl.files.addresses import is_mirrored, local_path, root_of, url_of, usable
from kerastl.files.local import Named, open_file
from kerastl.files.objects import Listed
from kerastl.files.partial import beside
from kerastl.files.store import STORE, adding, entry_name, keep, release, size_in

MANIFEST = "manifest.json"  # the last file of a version: without it, the version does not exist
CLAIMS = ".claims"  # beside the versions: the numbers of those that are being published
TRIES = 3
STARTED = time.time() - 0.1  # the clock of file systems lags a little


def source_path(source: str | Path, cache_dir: str | Path | None = None) -> Path:
    """The path of data that a user named. A remote file is fetched, a remote folder listed; of anything else, the path
    itself. Raises DataError where there is no such file or folder, or it cannot be reached."""
    path = local_path(source, cache_dir)
    url = url_of(path)
    if url is None:
        return path
    file = _found(url)
    if file is None:
        _mirror(path, _denied(url, lambda: objects.listing(url)))
    else:
        lead_to(path, _entry(file))
        open_file(path).close()
    return path


def model_path(model: str | Path) -> Path:
    """The path of a model, a version or a folder of models that a user named; of a remote one as `refreshed`. Raises
    DataError where the object store cannot be reached."""
    path = local_path(model)
    refreshed(path)
    return path


def refreshed(folder: Path) -> None:
    """Look again at a folder of the mirror: versions without a manifest are not in it. Nothing is done for any other
    folder. Raises DataError where the object store cannot be reached."""
    url = url_of(folder)
    if url is None:
        return
    files = _denied(url, lambda: objects.listing(url))
    complete = {file.url.rpartition("/")[0] for file in files if file.url.endswith(f"/{MANIFEST}")}
    _mirror(folder, [file for file in files if any(_is_below(file.url, version) for version in complete)
                     or file.url.rpartition("/")[2].startswith(".")])


def taken_numbers(home: Path) -> list[int]:
    """The numbers of a remote model's versions that exist, are being published, or were given up half-way."""
    url = url_of(home)
    if url is None:
        return []
    names = [file.url.removeprefix(f"{url}/").removeprefix(f"{CLAIMS}/").partition("/")[0]
             for file in _denied(url, lambda: objects.listing(url))]
    return sorted({int(name) for name in names if name.isdecimal()})


def whole(folder: Path) -> Path:
    """The folder of a version, with all of its files in place; of a mirror, they are fetched, and stay while this
    process runs. Raises DataError where that fails."""
    if not is_mirrored(folder) or not folder.is_dir():
        return folder
    for _ in range(TRIES):
        if not folder.is_symlink():
            _fetch_version(folder)
        with suppress(FileNotFoundError):  # removed to make room, before it could be kept
            keep(folder.resolve(strict=True))
            os.utime(folder)
            return folder
        folder.unlink(missing_ok=True)
        refreshed(folder)
    raise DataError(f"{url_of(folder)} cannot be kept in the cache of remote files, because others need the room")


def released(folder: Path) -> None:
    """The folder of a version, of which `whole` was asked for, is not used any more; if it is one of a mirror, it may
    be removed to make room."""
    if is_mirrored(folder):
        release(folder.resolve())


def fetched(path: Path, read: Callable[[], Any]) -> Any:
    """What `read` returns for a file of the mirror, which is fetched if need be, and is the most recently used now."""
    for _ in range(TRIES):
        if _version_around(path) or _is_known(path):
            with suppress(FileNotFoundError):
                result = read()
                with suppress(OSError):  # removed meanwhile, or on a read-only disk
                    os.utime(path)
                return result
        fetch(path)
    return read()


def fetch(path: Path) -> None:
    """Fetch a file of the mirror. Raises FileNotFoundError where there is none, DataError where it cannot be reached,
    OSError where it changes again and again."""
    url = url_of(path)
    if url is None or _version_around(path):  # a version is whole, or not there
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    for _ in range(TRIES):
        name = os.path.basename(os.readlink(path)) if _is_known(path) else _entry(_file_at(url))
        if (root_of(path) / STORE / name).exists() or _downloaded(root_of(path), url, name):
            return lead_to(path, name)
        lead_to(path, _entry(_file_at(url)))  # it has changed since it was listed
    raise OSError(errno.EBUSY, "changes while it is read", url)


def fetched_ahead(paths: Iterable[Named]) -> Iterator[Named]:
    """The same paths in order, fetched ahead: some dozens at a time."""
    ahead = deque[tuple[Named, Future[None]]]()
    with ThreadPoolExecutor(objects.AT_ONCE) as pool:
        try:
            for path in paths:
                ahead.append((path, pool.submit(_fetch_if_there, Path(path))))
                if len(ahead) >= objects.AT_ONCE:
                    first, future = ahead.popleft()
                    future.result()
                    yield first
            for first, future in ahead:
                future.result()
                yield first
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def is_remote_file(path: Path) -> bool:
    """Whether there is a file at a path of the mirror, which may not have been listed."""
    if _is_known(path) and not _version_around(path):
        return True
    try:
        fetch(path)
    except OSError:
        return False
    return True


def _is_known(path: Path) -> bool:
    """Whether there is a link that this process made, or another one meanwhile; an older one may be out of date. So may
    one of the future, which was made before the clock was set back."""
    try:
        return path.is_symlink() and STARTED <= path.lstat().st_mtime <= time.time() + 0.1
    except FileNotFoundError:
        return False


def _fetch_if_there(path: Path) -> None:
    if not (path.exists() and _is_known(path)):
        with suppress(OSError):  # which its reader meets
            fetch(path)


def _found(url: str) -> Listed | None:
    """What is at the URL of data: a file, or None for a folder. Raises DataError for nothing."""
    try:
        return _denied(url, lambda: objects.about(url))
    except FileNotFoundError as error:
        raise DataError(f"no such file or folder: {url}", "the URL of data", "check the URL") from error


def _file_at(url: str) -> Listed:
    """The file at a URL. Raises FileNotFoundError where there is none."""
    file = objects.about(url)
    if file is None:
        raise FileNotFoundError(errno.ENOENT, "it is a folder", url)
    return file


def _denied(url: str, request: Callable[[], Any]) -> Any:
    try:
        return request()
    except PermissionError as error:
        raise DataError(f"{url}: {error.strerror}", "a file or folder that may be read",
                        "check the credentials, and what they may do") from error


def _version_around(path: Path) -> Path | None:
    """The version that was fetched as a whole, of which a path is a part; None for none."""
    mirror = len(root_of(path).parts) + 1
    return next((parent for parent in path.parents if len(parent.parts) > mirror and parent.is_symlink()), None)


def _entry(file: Listed) -> str:
    return entry_name(file.url, file.state, file.size)


def _is_below(url: str, folder: str) -> bool:
    return url.startswith(f"{folder}/")


class _Changed(Exception):
    """The content is in another state than the one that was listed."""


def _downloaded(root: Path, url: str, name: str) -> bool:
    """Fetch a file into the store; False where its content is not in the state that the entry's name tells."""
    try:
        with adding(root, name, url) as partial:
            objects.download(url, partial, size_in(name))
            if name != _entry_by_md5(url, partial) and name != _entry(_file_at(url)):
                raise _Changed
    except _Changed:
        return False
    return True


def _entry_by_md5(url: str, path: Path) -> str:
    """The name of the entry if the state is the MD5 of the content, which saves another request."""
    with open_file(path) as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = path.stat().st_size
    return entry_name(url, objects.state_of_md5(digest, size), size)


def _mirror(folder: Path, files: Sequence[Listed]) -> None:
    """Make a folder of the mirror hold a link for each file, and nothing else. A version that was fetched as a whole
    stays while its files are the same. Raises DataError for names that no folder can hold."""
    url = str(url_of(folder))
    places = {file.url.removeprefix(f"{url}/"): file for file in files}
    folders = {"/".join(parts[:n]) for name in places if (parts := name.split("/")) for n in range(1, len(parts))}
    wrong = [name for name in places if not all(map(usable, name.split("/"))) or name in folders]
    if wrong:
        raise DataError(f"{url} has {len(wrong):,} names that no folder can hold, such as {wrong[0]!r}",
                        "names without empty parts, . and .., that are not also those of folders", "rename the files")
    kept = {name for name in ("", *folders) if (folder / name).is_symlink() and _is_current(folder / name, files)}
    links = {name: _entry(file) for name, file in places.items() if not _inside(name, kept)}
    if "" not in kept:
        _clear(folder, set(links), folders, kept)
    for name, entry in links.items():
        lead_to(folder / name, entry)


def _inside(name: str, kept: set[str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:n]) in kept for n in range(len(parts)))


def _clear(folder: Path, links: set[str], folders: set[str], kept: set[str]) -> None:
    """Remove what a folder of the mirror holds besides."""
    if folder.is_symlink():
        folder.unlink()
    for parent, inner, names in os.walk(folder):
        for name in (*inner, *names):
            path = Path(parent, name)
            place = str(path.relative_to(folder))
            if path.is_symlink() and place not in links and place not in kept:
                path.unlink()
            elif path.is_dir() and not path.is_symlink() and place not in folders:
                shutil.rmtree(path)


def version_entry(url: str, entries: Mapping[str, str]) -> str:
    """The name of the entry of the version at a URL. entries: those of its files, by their places in it."""
    state = "\n".join(f"{place} {entry}" for place, entry in sorted(entries.items()))
    return entry_name(url, state, sum(map(size_in, entries.values())))


def entries_below(url: str, files: Sequence[Listed]) -> dict[str, str]:
    """The names of the entries of the files below a URL, by their places there."""
    return {file.url.removeprefix(f"{url}/"): _entry(file) for file in files if _is_below(file.url, url)}


def _is_current(folder: Path, files: Sequence[Listed]) -> bool:
    url = str(url_of(folder))
    name = version_entry(url, entries_below(url, files))
    return os.path.basename(os.readlink(folder)) == name and folder.exists()


def _fetch_version(folder: Path) -> None:
    """Put a version, of which the mirror has links, into the store as one entry, to which the mirror then leads."""
    root, url = root_of(folder), str(url_of(folder))
    entries = {str(path.relative_to(folder)): os.path.basename(os.readlink(path))
               for path in folder.rglob("*") if path.is_symlink()}
    name = version_entry(url, entries)
    if not (root / STORE / name).is_dir():
        with adding(root, name, url, folder=True) as partial, ThreadPoolExecutor(objects.AT_ONCE) as pool:
            for place in entries:
                (partial / place).parent.mkdir(parents=True, exist_ok=True)
            list(pool.map(lambda place: _place(f"{url}/{place}", entries[place], partial / place), entries))
    lead_to(folder, name)


def _place(url: str, entry: str, path: Path) -> None:
    """Fetch a file of a version to its place. Raises DataError where it is gone or has changed since it was listed."""
    try:
        objects.download(url, path, size_in(entry))
        same = entry == _entry_by_md5(url, path) or entry == _entry(_file_at(url))
    except FileNotFoundError:
        same = False
    if not same:
        raise DataError(f"{url} has changed while the version was fetched", "a version that stays as it was written",
                        "run it again once nobody writes to it")


def lead_to(path: Path, name: str) -> None:
    """Let a path of the mirror lead to an entry of the store."""
    if (version := _version_around(path)) is not None:
        version.unlink(missing_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(path)
    partial.symlink_to(root_of(path) / STORE / name)
    partial.replace(path)
