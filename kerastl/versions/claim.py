"""One run at a time for each model: a second one learns of the first when it starts, not after all its work."""

import hashlib
import os
import weakref
from pathlib import Path

from kerastl.errors import ModelError, OptionError
from kerastl.features.cache import default_dir
from kerastl.files import cache_folder, hold, is_writable, read_text, remove_leftovers, write_file

FOLDER = "runs"  # in the user's cache directory, with a small file for each model


class Claim:
    """A lock that ends with the process, with the object, or with `release`. handle: the descriptor that holds it."""

    def __init__(self, handle: int) -> None:
        self._close = weakref.finalize(self, os.close, handle)

    def release(self) -> None:
        """Let others write versions of the model."""
        self._close()


def claim(home: Path) -> Claim | None:
    """Keep other processes from writing versions into `home` while this one works on its own, and remove what killed
    ones left there. None where this process holds it already, or where locks or the cache directory cannot be used:
    then a second run is stopped when it writes its version.

    Raises ModelError while another process holds it.
    """
    remove_leftovers(home)
    digest = hashlib.blake2b(os.fsencode(home.absolute().resolve()), digest_size=16).hexdigest()
    try:
        cache = default_dir()
    except OptionError:  # there is no home directory
        return None
    if not is_writable(cache / FOLDER):
        return None
    try:
        path = cache_folder(cache, FOLDER) / digest
        if not path.exists():
            write_file(path, "")
        handle = hold(path)
    except BlockingIOError:
        process = read_text(path)
        if process == str(os.getpid()):
            return None
        raise ModelError(f"{home} is being written by another run (process {process or 'unknown'})",
                         "one run at a time per name", "wait until it has ended, or choose another `name`") from None
    except OSError:
        return None
    if handle is None:
        return None
    os.truncate(path, 0)
    write_file(path, str(os.getpid()))
    return Claim(handle)
