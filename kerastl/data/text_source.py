"""The text of a source, as lines that end in byte 10, and its encoding."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from kerastl.data.encoding import BLOCK, Encoding, encoding_of
from kerastl.data.source import Source
from kerastl.data.spool import copied

_READ_AS_THEY_ARE = ("utf-8", "cp1252", "latin-1")  # in these, byte 10 ends a line and every byte is a character
_HEAD = 1 << 16  # bytes in which the ends of lines are examined
_QUOTED = re.compile(rb'"[^"]*"')


def text_of(source: Source, folder: Path | None) -> tuple[Callable[[], BinaryIO], Encoding, str]:
    """A function that opens the text after its byte order mark, its encoding, and how its lines end.

    Text in an encoding that `Lines` cannot read is first converted to UTF-8, and text whose lines end in a bare
    carriage return to line feeds, in an unnamed file in `folder`.
    """
    with source.opener() as file:
        encoding = encoding_of(file)
    start = encoding.start

    def opener() -> BinaryIO:
        file = source.opener()
        file.seek(start)
        return file

    result: Callable[[], BinaryIO] = opener
    if encoding.codec not in _READ_AS_THEY_ARE:
        result = copied(_in_utf8(opener, encoding.codec), folder)
        encoding = replace(encoding, codec="utf-8", partly=True)
    with result() as file:
        head = file.read(_HEAD)
    ends = _line_end(head), _line_end(head.replace(b'\\"', b""))  # quotes may be written with a backslash
    end = "\r" if "\r" in ends else ends[0]
    if end == "\r":
        result = copied(_with_line_feeds(result), folder)
    return result, replace(encoding, start=0), end


def _line_end(head: bytes) -> str:
    """How the header ends, outside quotes, because a quoted cell may contain other ends of lines. A carriage return
    ends lines only if most end so."""
    plain = _QUOTED.sub(b"", head)
    first = re.search(rb"\r?\n|\r", plain)
    if first is None or first[0] != b"\r":
        return first[0].decode() if first else ""
    returns, feeds, both = plain.count(b"\r"), plain.count(b"\n"), plain.count(b"\r\n")
    return "\r" if returns - both > feeds else "\n"


def _in_utf8(opener: Callable[[], BinaryIO], codec: str) -> Iterator[bytes]:
    """Blocks of UTF-8. Bytes that are not in the encoding are kept as they are, lone surrogates too."""
    wide = codec.startswith(("utf-16", "utf-32"))
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass" if wide else "surrogateescape")
    with opener() as file:
        while block := file.read(BLOCK):
            yield _encoded(decoder.decode(block), wide)
        rest = decoder.getstate()[0]
        yield bytes(0x80 | byte & 0x3F for byte in rest)  # half a character, which is not UTF-8 either


def _encoded(text: str, wide: bool) -> bytes:
    return text.encode("utf-8", "surrogatepass" if wide else "surrogateescape")


def _with_line_feeds(opener: Callable[[], BinaryIO]) -> Iterator[bytes]:
    with opener() as file:
        while block := file.read(BLOCK):
            yield block.replace(b"\r", b"\n")
