"""Columns for many rows that use little memory: texts in an unnamed file, hashes as bytes."""

import hashlib
import io
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import index
from pathlib import Path
from typing import Any, BinaryIO, SupportsIndex, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from kerastl.inputs import Text

T = TypeVar("T", bound=Text)

BUFFER = 1 << 20  # bytes written at a time


class Unnamed:
    """A file without a name, by its descriptor. Its space is released when this object is deleted or the process ends,
    in whatever way."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and folder.exists() and not os.access(folder, os.W_OK):
            folder = None  # a read-only cache: the system's folder for temporary files
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            self.fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.fd)

    def write(self, data: bytearray, at: int) -> None:
        """Write all of `data` at byte `at`."""
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.fd, rest, at)
            rest, at = rest[done:], at + done

    def read(self, size: int, at: int) -> bytes:
        """Read `size` bytes at byte `at`. The file has no shared position, so threads may read at the same time."""
        parts = []
        while size:
            part = os.pread(self.fd, size, at)
            if not part:
                raise EOFError("a temporary file of texts is truncated")
            parts.append(part)
            size, at = size - len(part), at + len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Reader(io.RawIOBase):
    """Reads an unnamed file from its start, at a position of its own, unlike a duplicate of its descriptor."""

    def __init__(self, file: Unnamed) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = os.preadv(self._file.fd, [buffer], self._at)
        self._at += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = (0, self._at, os.fstat(self._file.fd).st_size)[whence]
        self._at = start + offset
        return self._at


def copied(blocks: Iterable[bytes], folder: Path | None) -> Callable[[], BinaryIO]:
    """A function that opens an unnamed file in `folder`, to which these blocks were written."""
    copy, size = Unnamed(folder), 0
    for block in blocks:
        copy.write(bytearray(block), size)
        size += len(block)
    return lambda: io.BufferedReader(_Reader(copy), BUFFER)


def content(text: Text) -> bytes:
    """What a text is hashed by: its UTF-8 bytes; for a pair those of both texts, each after its length in 4 bytes."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    return b"".join(len(part).to_bytes(4, "little") + part for part in map(content, text))


def digest(text: Text) -> bytes:
    """The 16-byte hash of a text. In hexadecimal it is the text's id."""
    return hashlib.blake2b(content(text), digest_size=16).digest()


class Spool(Sequence[T]):
    """Texts, or pairs of texts, in an unnamed file, each read on access. Uses 12 bytes of memory per row.

    folder: the folder of the file; default: that of temporary files.
    """

    def __init__(self, folder: Path | None = None, pairs: bool = False) -> None:
        self._file, self.pairs = Unnamed(folder), pairs
        self._starts, self._sizes = array("q"), array("I")
        self._written, self._tail = 0, bytearray()

    def append(self, text: T) -> None:
        """Append a text."""
        data = content(text)
        self._starts.append(self._written + len(self._tail))
        self._sizes.append(len(data))
        self._tail += data
        if len(self._tail) >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._tail, self._written)
        self._written, self._tail = self._written + len(self._tail), bytearray()

    @property
    def sizes(self) -> NDArray[np.uint32]:
        """The size of each text in bytes, without reading them. [rows]."""
        return np.frombuffer(self._sizes.tobytes(), np.uint32)

    def take(self, rows: NDArray[np.intp]) -> "Spool[T]":
        """The same column for these rows only, in the same file."""
        self._flush()
        taken: Spool[T] = object.__new__(Spool)
        taken._file, taken.pairs, taken._written, taken._tail = self._file, self.pairs, self._written, bytearray()
        taken._starts = array("q", np.frombuffer(self._starts.tobytes(), np.int64)[rows].tobytes())
        taken._sizes = array("I", self.sizes[rows].tobytes())
        return taken

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if self._tail:
            self._flush()
        data = self._file.read(self._sizes[index(place)], self._starts[index(place)])
        if not self.pairs:
            return cast(T, data.decode("utf-8", "surrogatepass"))
        end = 4 + int.from_bytes(data[:4], "little")
        pair = data[4:end].decode("utf-8", "surrogatepass"), data[end + 4:].decode("utf-8", "surrogatepass")
        return cast(T, pair)


class Hashes(Sequence[str]):
    """Hashes in hexadecimal, stored as bytes. raw: [rows, 16] uint8."""

    def __init__(self, raw: NDArray[np.uint8]) -> None:
        self.raw = raw

    def take(self, rows: NDArray[np.intp]) -> "Hashes":
        """The same column for these rows only."""
        return Hashes(self.raw[rows])

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, place: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Hashes": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "str | Hashes":
        if isinstance(place, slice):
            return Hashes(self.raw[place])
        return self.raw[index(place)].tobytes().hex()
