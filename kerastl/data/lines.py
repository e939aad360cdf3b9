"""The lines of a file as text, with a way back to the start of a record that turns out to be broken.

Own code, because no reader of CSV that we know returns to the line after a stray quote: `csv` and `pyarrow.csv` take
the rows behind it for one cell (`test_other_readers_lose_rows_behind_a_stray_quote`).
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from kerastl.data.encoding import BLOCK, Encoding

MAX_CELL = 10_000_000  # characters of a cell; longer ones are skipped
MAX_LINE = 4 * MAX_CELL  # bytes of a line that are read at once
_AFTER_A_QUOTE = (b"", b",", b";", b"\t", b"|", b"\r", b"\n")
TOO_LONG = f"a cell over {MAX_CELL // 1_000_000} MB"


class LineTooLong(Exception):
    """A line is longer than MAX_LINE bytes."""


class Lines(Iterator[str]):
    """The lines of an open file. A record consists of one or more lines; `number` is that of the last one, from 1.

    Bytes that are not UTF-8 become surrogates; a line of more than MAX_LINE bytes raises LineTooLong. change: applied
    to each line, if there is one.
    """

    def __init__(self, file: BinaryIO, encoding: Encoding, change: Callable[[str], str] | None = None) -> None:
        self.number = 0
        self.change = change
        self._file, self._codec, self._at = file, encoding.codec, file.tell()
        self._errors = "surrogateescape" if encoding.partly else "strict"
        self.begin()

    def begin(self) -> None:
        """Start a record at the next line."""
        self._start, self._before = self._at, self.number

    @property
    def first(self) -> int:
        """The number of the record's first line."""
        return self._before + 1

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self._at += len(line)
        self.number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise LineTooLong
        text = line.decode(self._codec, self._errors)
        return self.change(text) if self.change else text

    def again(self) -> None:
        """Return to the first line of the record."""
        self._file.seek(self._start)
        self._at, self.number = self._start, self._before

    def skip(self, quoted: bool = False) -> bool:
        """Continue after the record's first line, or, if `quoted`, after the line that closes its quotes. Reads at most
        a block at a time. Returns False if the quotes are closed in the middle of a cell, or never."""
        self.again()
        odd, closed = False, True
        while piece := self._file.readline(BLOCK):
            self._at += len(piece)
            if quoted and b'"' in piece:
                odd ^= piece.count(b'"') % 2 == 1
                closed = piece[piece.rindex(b'"') + 1:][:1] in _AFTER_A_QUOTE
            if piece.endswith(b"\n"):
                self.number += 1
                if not odd:
                    return closed
        return closed and not odd
