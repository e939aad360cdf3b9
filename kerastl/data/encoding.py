"""The encoding of a text file, detected by reading it once, block by block, with an explanation."""

import codecs
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from kerastl.data.spool import Unnamed
from kerastl.files import open_file

BLOCK = 1 << 20  # bytes read at a time
HEAD = 4096  # bytes that are searched for UTF-16 without a byte order mark
ESCAPED = re.compile("[\udc80-\udcff]")  # how errors="surrogateescape" represents bytes that are not UTF-8
_MARKS = {codecs.BOM_UTF8: ("utf-8", "UTF-8"), codecs.BOM_UTF16_LE: ("utf-16-le", "UTF-16"),
          codecs.BOM_UTF16_BE: ("utf-16-be", "UTF-16")}
_NOT_C1 = bytes({*range(256)} - {*range(0x80, 0xA0)})
_NOT_CP1252 = {0x81, 0x8D, 0x8F, 0x90, 0x9D}


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file. `why` is "" for plain UTF-8, which needs no explanation."""

    codec: str
    name: str  # for messages
    why: str = ""
    start: int = 0  # length of the byte order mark in bytes
    partly: bool = False  # UTF-8 except for some bytes

    @property
    def note(self) -> str:
        """A message about the encoding, "" for plain UTF-8."""
        return f"{self.name}: {self.why}" if self.why else ""


def encoding_of(file: BinaryIO) -> Encoding:
    """By the byte order mark, otherwise by the NULs of UTF-16, otherwise UTF-8 if valid, otherwise cp1252 or latin-1.

    A file in which non-ASCII characters in UTF-8 outnumber the bytes that are not UTF-8 still counts as UTF-8.
    """
    head = file.read(HEAD)
    for mark, (codec, name) in _MARKS.items():
        if head.startswith(mark) and codec != "utf-8":
            return Encoding(codec, name, "detected by its byte order mark", len(mark))
    if codec := _unmarked_utf16(head):
        return Encoding(codec, "UTF-16", "detected by its NUL bytes, as it has no byte order mark")
    file.seek(0)
    return _by_its_bytes(file, len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)


def _unmarked_utf16(head: bytes) -> str:
    """The codec if every other byte is NUL, as for ASCII characters in UTF-16; otherwise ""."""
    for codec, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        nuls, others = head[high::2].count(0), head[low::2].count(0)
        if nuls > 0.15 * len(head) / 2 and others < 0.1 * nuls and 0 in head[high:12:2]:
            try:
                codecs.getincrementaldecoder(codec)().decode(head)
            except UnicodeDecodeError:
                continue
            return codec
    return ""


def _by_its_bytes(file: BinaryIO, start: int) -> Encoding:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    done = good = bad = 0  # bytes read, non-ASCII characters, bytes that are not UTF-8
    first, odd = "", set[int]()
    while True:
        block = file.read(BLOCK)
        text = decoder.decode(block, final=not block)
        if not text.isascii():
            beyond = len(text) - len(text.encode("ascii", "ignore"))
            wrong = _escaped(text)
            good += beyond - len(wrong)
            bad += len(wrong)
            if wrong:
                odd.update(block.translate(None, _NOT_C1))
                if not first:
                    place = done + len(text[: text.index(wrong[0])].encode("utf-8", "surrogateescape"))
                    first = f"byte 0x{ord(wrong[0]) - 0xDC00:02x} at {place:,} is not UTF-8"
        done += len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
        if not block:
            break
    if not bad:
        return Encoding("utf-8", "UTF-8", "with a byte order mark" if start else "", start)
    if good > bad or start:
        more = f", nor are {bad - 1:,} more" if bad > 1 else ""
        return Encoding("utf-8", "UTF-8", f"but {first}{more}", start, partly=True)
    codec = "cp1252" if odd and not odd & _NOT_CP1252 else "latin-1"
    return Encoding(codec, codec, first)


def _escaped(text: str) -> list[str]:
    try:
        text.encode()  # the fastest test
    except UnicodeEncodeError:
        return ESCAPED.findall(text)
    return []


def decoded(data: bytes) -> tuple[str, Encoding]:
    """The text of a small file, without its byte order mark. If `partly`, invalid bytes are escaped as surrogates."""
    encoding = encoding_of(io.BytesIO(data))
    errors = "surrogateescape" if encoding.codec == "utf-8" else "replace"
    return data[encoding.start:].decode(encoding.codec, errors), encoding


def lines_of(path: Path, folder: Path | None) -> tuple[Callable[[], BinaryIO], Encoding]:
    """A function that opens a text file after its byte order mark, and the encoding of its lines, which end in byte 10.

    A file in UTF-16 is first converted to UTF-8, and one whose lines end in a bare carriage return to line feeds, in an
    unnamed file in `folder`.
    """
    with open_file(path) as file:
        encoding = encoding_of(file)
        file.seek(encoding.start)
        head = file.read(HEAD)
        file.seek(encoding.start)
        if encoding.codec.startswith("utf-16"):
            decoder = codecs.getincrementaldecoder(encoding.codec)("surrogatepass")
            copy = _copied(file, folder, lambda block: decoder.decode(block).encode("utf-8", "surrogatepass"))
            return copy, Encoding("utf-8", encoding.name, encoding.why, partly=True)
        if b"\r" in head and b"\n" not in head:
            return _copied(file, folder, lambda block: block.replace(b"\r", b"\n")), replace(encoding, start=0)

    def opener() -> BinaryIO:
        file: BinaryIO = open_file(path)
        file.seek(encoding.start)
        return file

    return opener, encoding


def _copied(file: BinaryIO, folder: Path | None, change: Callable[[bytes], bytes]) -> Callable[[], BinaryIO]:
    copy, size = Unnamed(folder), 0
    while block := file.read(BLOCK):
        data = bytearray(change(block))
        copy.write(data, size)
        size += len(data)

    def opener() -> BinaryIO:
        os.lseek(copy.fd, 0, os.SEEK_SET)
        return open(os.dup(copy.fd), "rb")

    return opener
