"""URLs of object stores, and the paths of the local mirror that stand for them.

The mirror of `s3://bucket/photos/cat/1.jpg` is `CACHE_DIR/remote/mirror-of/s3/bucket/photos/cat/1.jpg`.
"""

import os
import re
from pathlib import Path

from kerastl.display import MIRROR
from kerastl.errors import OptionError

SCHEMES = ("s3", "gs", "memory")
SAME = {"s3a": "s3", "gcs": "gs"}
FOLDER = "remote"  # in the cache directory
_URL = re.compile(rf"({'|'.join((*SCHEMES, *SAME))}|file):/(/?)(.*)", re.DOTALL)
_QUERY = re.compile(r"\?[\w.-]+=.*", re.DOTALL)
_LONGEST = 255  # bytes of a name in a file system


def is_remote(name: object) -> bool:
    """Whether a name that a user gave is the URL of a file or folder in an object store."""
    match = _URL.fullmatch(str(name))
    return match is not None and match[1] != "file" and (match[2] == "/" or isinstance(name, Path))


def local_path(name: str | Path, cache_dir: str | Path | None = None) -> Path:
    """The path to work with where a user named a file or folder: of a URL that of its mirror, of which nothing is
    fetched here; of anything else itself. cache_dir: where the mirror is; default: the user's cache directory.

    Raises OptionError for a URL without a bucket, with parts that no path can have, or with a query.
    """
    text = str(name)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    match = _URL.fullmatch(text)
    if match is None or not is_remote(name):  # pathlib has dropped a slash of what was a URL
        return Path(name)
    from kerastl.files.local import cache_folder, user_cache_dir

    parts = match[3].rstrip("/").split("/")
    if not parts[0] or not all(map(usable, parts)):
        raise OptionError(f"{text} is not the URL of a file or folder", "SCHEME://BUCKET/FOLDER/NAME, without empty "
                          "parts, . and ..", "check the URL")
    if query := _QUERY.search(match[3]):  # s3fs drops ?versionId=, and would read the newest version
        raise OptionError(f"{text} has a query, {query[0]}", "SCHEME://BUCKET/FOLDER/NAME, which is read in its newest "
                          "version", "copy the version that is meant to a name of its own, and pass that; rename a "
                          "file whose name contains this text")
    root = cache_folder(cache_dir or user_cache_dir(), FOLDER)
    return Path(f"{root.absolute()}{MIRROR}{SAME.get(match[1], match[1])}", *parts)


def local_only(name: str | Path, argument: str) -> Path:
    """The path of an output that cannot be remote. Raises OptionError, which names the argument, for a URL."""
    if is_remote(name):
        raise OptionError(f"`{argument}` is {name}", "a local folder", "copy it to the object store afterwards")
    return local_path(name)


def usable(part: str) -> bool:
    """Whether a part of a URL can be the name of a file or folder of the mirror."""
    return part not in ("", ".", "..") and "\0" not in part and len(os.fsencode(part)) <= _LONGEST


def is_mirrored(path: str | Path) -> bool:
    """Whether a path is one of a mirror."""
    return MIRROR in str(path) and url_of(path) is not None


def url_of(path: str | Path) -> str | None:
    """The URL that a path of the mirror stands for; None for any other path."""
    before, mark, rest = str(path).rpartition(MIRROR)
    scheme, _, name = rest.partition("/")
    if not (mark and before and name and scheme in SCHEMES):
        return None
    if "/.." in name:  # as in a table that names images beside its folder
        bucket, name = name.partition("/")[0], os.path.normpath(name)
        return f"{scheme}://{name}" if name.partition("/")[0] == bucket != ".." else None
    return f"{scheme}://{name}"


def leaves_bucket(path: str | Path, folder: str | Path) -> bool:
    """Whether a path that remote data name, seen from their folder in the mirror, leads out of their bucket."""
    url, around = url_of(path), url_of(folder)
    return around is not None and (url is None or url.split("/")[:3] != around.split("/")[:3])


def root_of(path: str | Path) -> Path:
    """The folder of the mirror and its store, of a path of the mirror."""
    return Path(str(path).rpartition(MIRROR)[0])


def shown(path: str | Path) -> str:
    """A path as a user knows it: of the mirror its URL."""
    return url_of(path) or str(path)
