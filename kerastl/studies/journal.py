"""Finished pieces of a long comparison, a line each in a file, so that a killed run goes on where it was."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Cells:
    """Records by key, in a file of JSON lines. A line that was torn by a kill counts as not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = 0  # of those asked for, how many were there
        self._records: dict[str, dict[str, Any]] = {}
        self._torn = False
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            self._torn = bool(text) and not text.endswith("\n")
            for line in text.splitlines():
                record = _parsed(line)
                if record:
                    self._records[record["key"]] = record

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a key, or None."""
        record = self._records.get(key)
        self.found += record is not None
        return record

    def add(self, key: str, record: dict[str, Any]) -> dict[str, Any]:
        """Write a record down at once, and give it back as it will be read."""
        line = json.dumps({"key": key, **record}, ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if self._torn else "") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._torn = False
        self._records[key] = json.loads(line)
        return self._records[key]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and "key" in record else None


def fingerprint(about: Sequence[Any], *arrays: NDArray[Any]) -> str:
    """A key that is the same only for the same work: 32 hexadecimal digits. about: what JSON can hold."""
    digest = hashlib.blake2b(json.dumps(list(about), sort_keys=True).encode(), digest_size=16)
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
