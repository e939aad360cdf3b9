"""Texts of many rows, which use little memory: in an unnamed file."""

import hashlib
import io
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import add, index
from pathlib import Path
from typing import Any, BinaryIO, SupportsIndex, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Column
from kerastl.inputs import Text

T = TypeVar("T", bound=Text)

BUFFER = 1 << 20  # bytes written at a time
TOGETHER = 1024  # texts that are read at a time where their order is that of the file


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


class Reader(io.RawIOBase):
    """Reads a file from its start, by its descriptor, at a position of its own, unlike a duplicate of the descriptor.
    owner: what closes the descriptor when it is deleted, if anything."""

    def __init__(self, fd: int, owner: object = None) -> None:
        self._fd, self._owner, self._at = fd, owner, 0

    def fileno(self) -> int:
        return self._fd

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = os.preadv(self._fd, [buffer], self._at)
        self._at += size
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = (0, self._at, os.fstat(self._fd).st_size)[whence]
        self._at = start + offset
        return self._at


def copied(blocks: Iterable[bytes], folder: Path | None) -> Callable[[], BinaryIO]:
    """A function that opens an unnamed file in `folder`, to which these blocks were written."""
    copy, size = Unnamed(folder), 0
    for block in blocks:
        copy.write(bytearray(block), size)
        size += len(block)
    return lambda: io.BufferedReader(Reader(copy.fd, copy), BUFFER)


def content(text: Text) -> bytes:
    """What a text is hashed by: its UTF-8 bytes; for a pair those of both texts, each after its length in 4 bytes."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    return b"".join(len(part).to_bytes(4, "little") + part for part in map(content, text))


def digest(text: Text) -> bytes:
    """The 16-byte hash of a text. In hexadecimal it is the text's id."""
    return hashlib.blake2b(content(text), digest_size=16).digest()


class Spool(Column[T]):
    """Texts, or pairs of texts, each read on access: from memory up to 1 MB, more from an unnamed file. Uses 12 bytes
    of memory per row besides.

    folder: the folder of the file; default: that of temporary files.
    """

    def __init__(self, folder: Path | None = None, pairs: bool = False) -> None:
        self._folder, self.pairs = folder, pairs
        self._file: Unnamed | None = None
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
        if self._file is None:
            self._file = Unnamed(self._folder)
        self._file.write(self._tail, self._written)
        self._written, self._tail = self._written + len(self._tail), bytearray()

    def _read(self, size: int, at: int) -> bytes:
        """Bytes of texts that are all in the file, or all in memory."""
        if at >= self._written or self._file is None:
            return bytes(self._tail[at - self._written:at - self._written + size])
        return self._file.read(size, at)

    @property
    def sizes(self) -> NDArray[np.uint32]:
        """The size of each text in bytes, without reading them. [rows]."""
        return np.frombuffer(self._sizes.tobytes(), np.uint32)

    def take(self, rows: NDArray[np.intp]) -> "Spool[T]":
        """The same column for these rows only, of the same file."""
        taken: Spool[T] = object.__new__(Spool)
        taken._folder, taken._file, taken.pairs = self._folder, self._file, self.pairs
        taken._written, taken._tail = self._written, self._tail
        taken._starts = array("q", np.frombuffer(self._starts, np.int64)[rows].tobytes())
        taken._sizes = array("I", np.frombuffer(self._sizes, np.uint32)[rows].tobytes())
        return taken

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[T]:
        """Neighbours in the file are read together."""
        for first in range(0, len(self), TOGETHER):
            last = min(first + TOGETHER, len(self))
            starts, sizes = self._starts[first:last], self._sizes[first:last]
            begin, end = min(starts), max(map(add, starts, sizes))
            if end - begin > BUFFER or begin < self._written < end:
                yield from (self[row] for row in range(first, last))
                continue
            data = self._read(end - begin, begin)
            yield from (self._text(data[at - begin:at - begin + size])
                        for at, size in zip(starts, sizes, strict=True))

    @overload
    def __getitem__(self, place: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> "Spool[T]": ...
    def __getitem__(self, place: SupportsIndex | slice) -> "T | Spool[T]":
        if isinstance(place, slice):
            return self.take(np.arange(*place.indices(len(self))))
        return self._text(self._read(self._sizes[index(place)], self._starts[index(place)]))

    def _text(self, data: bytes) -> T:
        if not self.pairs:
            return cast(T, data.decode("utf-8", "surrogatepass"))
        end = 4 + int.from_bytes(data[:4], "little")
        pair = data[4:end].decode("utf-8", "surrogatepass"), data[end + 4:].decode("utf-8", "surrogatepass")
        return cast(T, pair)
