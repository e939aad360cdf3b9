"""The finished parts of a long study, each written to a file at once, so that a killed study resumes where it was."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.files import open_file


class Journal:
    """Records by key, in a file of JSON lines. A line that a kill left incomplete is ignored.

    resumed: how many of the requested records had been written by an earlier run.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.resumed = path, 0
        self._records: dict[str, dict[str, Any]] = {}
        if path.exists():
            with open_file(path, "r", errors="replace") as file:
                text = file.read()
            self._records = {record["key"]: record for line in text.splitlines() if (record := _parsed(line))}

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a key, or None."""
        record = self._records.get(key)
        self.resumed += record is not None
        return record

    def add(self, key: str, record: dict[str, Any]) -> dict[str, Any]:
        """Write a record to the disk, and return it as it will be read."""
        line = json.dumps({"key": key, **record}, ensure_ascii=False)
        with open_file(self.path, "ab+", buffering=0) as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # another process may be at work on the same study
            after_a_kill = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            rest = memoryview(("\n" * bool(after_a_kill) + line + "\n").encode())
            while rest:
                rest = rest[file.write(rest):]
            os.fsync(file.fileno())
        self._records[key] = json.loads(line)
        return self._records[key]

    def once(self, key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a key; the work is done where there is none yet."""
        return self.get(key) or self.add(key, work())


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and "key" in record else None


def work_key(about: Sequence[Any], *arrays: NDArray[Any]) -> str:
    """A key that is equal only for the same work: 32 hexadecimal digits. about: values that JSON can hold."""
    digest = hashlib.blake2b(json.dumps(list(about), sort_keys=True).encode(), digest_size=16)
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
