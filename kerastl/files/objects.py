"""Requests to object stores by fsspec: with retries, and with errors that say what is wrong. Nothing else imports
fsspec, and this module does so only when a URL is used."""

import errno
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from kerastl.errors import DataError, OptionError, one_line

WAITS = (0.2, 0.8, 3.2)  # seconds between tries, times 1 to 2 at random so that many readers do not return together
AT_ONCE = 32  # requests
EXTRA = "pip install 'kerastl[remote]'"
# Packages whose errors are taken for ones that may pass, as those of the network are
_TRANSIENT = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "requests", "urllib3")
_CREDENTIALS = {"s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for a server "
                      "other than Amazon's",
                "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"}

# Of botocore: settings that name a login which does not exist, or has expired
_NO_LOGIN = ("ProfileNotFound", "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError")

_VERSION = "?versionId="  # s3fs takes what follows for a version

Result = TypeVar("Result")


@dataclass(frozen=True)
class Listed:
    """A file in an object store. state: what the store says of its content; it changes when the content does."""

    url: str
    size: int
    state: str


def store_of(url: str) -> Any:
    """fsspec's file system for a URL. Raises OptionError where a package is missing, DataError for a name that it would
    take for that of another file."""
    scheme = url.partition("://")[0]
    _check_name(url)
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(f"{url} cannot be used: {error}", "the packages for remote files", EXTRA) from error


def _check_name(url: str) -> None:
    """Raises DataError for a file of S3 whose name s3fs cuts off, so that another file would be read."""
    if url.startswith("s3://") and _VERSION in url:
        raise DataError(f"{url} cannot be read: its name contains {_VERSION}", "another name", "rename the file")


def asked(url: str, request: Callable[[], Result]) -> Result:
    """What a request returns; one that fails for a reason that may pass is tried again. Raises FileNotFoundError and
    PermissionError for this file, FileExistsError for one that must not exist, DataError for all other reasons."""
    for wait in (*WAITS, None):
        try:
            return request()
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if "bucket does not exist" in str(error).lower():
                raise DataError(f"no such bucket: {bucket_of(url)} (for {url})", "a bucket that exists",
                                "check its name, and the endpoint and region that are set") from error
            raise FileNotFoundError(2, "No such file or folder", url) from error
        except PermissionError as error:
            raise PermissionError(13, f"Access denied ({one_line(str(error))})", url) from error
        except Exception as error:
            name = type(error).__name__
            if isinstance(error, ValueError) or name == "ParamValidationError":  # of a name, or of the endpoint
                raise DataError(f"{url} cannot be used: {one_line(str(error))[:300]}", "the URL of a file or folder in "
                                "a bucket, and the address of a server", "check the URL and the endpoint") from error
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # of this machine's disk
                raise
            if name in _NO_LOGIN or "Credential" in name or "credential" in str(error).lower():
                raise DataError(f"no credentials for {url}: {error}", "credentials that the store accepts",
                                _CREDENTIALS.get(url.partition("://")[0], "")) from error
            if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _TRANSIENT:
                raise
            if wait is None:
                raise DataError(f"{url} cannot be reached, after {len(WAITS) + 1} tries: {type(error).__name__}: "
                                f"{error}", "an object store that answers", "check the network and the endpoint, and "
                                "run it again") from error
            time.sleep(wait * (1 + random.random()))
    raise AssertionError("the last wait is None")


def bucket_of(url: str) -> str:
    """The bucket of a URL, as a URL."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def about(url: str) -> Listed | None:
    """The file at a URL; None for a folder. Raises as `asked` does."""
    info = asked(url, lambda: store_of(url).info(url))
    return _listed(url, info) if info["type"] == "file" else None


def listing(url: str) -> list[Listed]:
    """The files below a folder, in the order of their names; none where there is no such folder, since object stores
    have no empty ones. Raises as `asked` does."""
    store = store_of(url)
    try:
        found = asked(url, lambda: store.find(url, detail=True))
    except FileNotFoundError:
        return []
    scheme, prefix = url.partition("://")[0], store._strip_protocol(url).rstrip("/") + "/"
    files = [(name, info) for name, info in found.items() if info["type"] == "file" and name.startswith(prefix)
             and not name.endswith("/")]
    listed = [_listed(f"{scheme}://{name.lstrip('/')}", info) for name, info in sorted(files)]
    for file in listed:
        _check_name(file.url)
    return listed


def _listed(url: str, info: dict[str, Any]) -> Listed:
    key = next((key for key in ("ETag", "etag", "generation", "created") if info.get(key)), "")
    value = info.get(key)  # a date, or its seconds, depending on the request
    state = f"{key} {value.timestamp() if isinstance(value, datetime) else value}"
    return Listed(url, int(info["size"]), f"{state} {info['size']}")


def state_of_md5(digest: str, size: int) -> str:
    """The state of a file of S3 whose ETag is the MD5 of its content, as it is where it was uploaded in one part."""
    return f'ETag "{digest}" {size}'


def download(url: str, path: Path, size: int) -> None:
    """Copy a file to a local path. size: bytes that it should have; an answer that ends early is one that fails, unless
    the file has changed. Raises as `asked` does."""
    store = store_of(url)

    def request() -> None:
        store.get_file(url, str(path))
        received = path.stat().st_size
        if received != size and int(store.info(url)["size"]) == size:
            raise OSError(f"received {received:,} of {size:,} bytes")

    asked(url, request)


def upload(path: Path, url: str) -> None:
    """Copy a local file to a URL; it is there completely, or as before. Raises as `asked` does."""
    store = store_of(url)
    asked(url, lambda: store.put_file(str(path), url))


def content(url: str) -> bytes:
    """The content of a small file. Raises as `asked` does."""
    store = store_of(url)
    data: bytes = asked(url, lambda: store.cat_file(url))
    return data


def create(url: str, content: bytes) -> None:
    """Write a small file that must not exist. Raises FileExistsError where it does, and as `asked` does."""
    store = store_of(url)
    asked(url, lambda: store.pipe_file(url, content, mode="create"))


def remove(url: str) -> None:
    """Remove a file. Raises as `asked` does."""
    store = store_of(url)
    asked(url, lambda: store.rm_file(url))
