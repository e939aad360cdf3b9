"""Errors of the operating system, and those that a damaged model causes, as one message each."""

import errno
import os
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)


def system_error(error: Exception) -> str | None:
    """The message for an error of memory, of a disk or of a path; None for any other error."""
    number, path = getattr(error, "errno", None), getattr(error, "filename", None)

    def is_one_of(*numbers: int) -> bool:  # TensorFlow and HDF5 say it in words only
        return number in numbers or any(os.strerror(each) in str(error) for each in numbers)

    if is_one_of(errno.EFBIG):
        return _message(f"a file may not grow further: {path or 'while writing'}", "a file system, and a limit of the "
                        "process (ulimit -f), that allow files of the size of the model", "raise the limit, or put "
                        "`out` and `cache_dir` on another disk")
    if is_one_of(*FULL):
        return _message(f"no space left on disk ({path or 'while writing'})", "space for the model and the cache",
                        "free some, or put `out` and `cache_dir` on another disk")
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, which is not imported here
        return _message(f"out of memory: {' '.join(str(error).split())[:160]}", "memory for the weights and a batch",
                        "use a smaller `batch_size` or a smaller backbone")
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return _message(f"{os.strerror(number)}: {path or 'while writing'}", "permission to read or write it",
                        "change its permissions, or choose another path")
    if number == errno.ENAMETOOLONG:
        return _message(f"file name too long: {str(path)[:60]}...", "a path that the file system supports",
                        "shorten it")
    return None


def damaged_model(config: Any, error: Exception) -> str | None:
    """The message where the model that a command names is damaged, whatever error that led to; None where its files
    are as its manifest says, or the command names no model."""
    from kerastl.errors import KerastlError, ModelError
    from kerastl.files import local_path
    from kerastl.versions.damage import faults
    from kerastl.versions.folder import VERIFY, find_version

    for argument in ("model", "teacher", "patient"):
        name = getattr(config, argument, None)
        if not isinstance(name, str):
            continue
        try:
            if not local_path(name).is_dir():
                continue
            folder = find_version(name)
            found = faults(folder)
        except (KerastlError, OSError):  # find_version and the readers of a version say what is wrong themselves
            continue
        if found and isinstance(error, ModelError):
            named = any(fault in error.got for fault in found)
            got = error.got if named else f"{error.got}\n  damage: {'; '.join(found)}"
            hint = error.hint if "kerastl verify" in error.hint else f"{error.hint}; list the damage: kerastl verify"
            return _message(got, error.expected, hint)
        if found:
            cause = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return _message(f"{folder} is damaged: {'; '.join(found)}\n  cause: {cause}", "the files as they were "
                            "written", VERIFY)
    return None


def _message(got: str, expected: str, hint: str) -> str:
    return f"{got}\n  expected: {expected}\n  to fix: {hint}"
