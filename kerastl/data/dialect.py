"""How a text file is divided into cells: delimiter, quotes and escapes, detected from its lines.

Own code, because `csv.Sniffer` guesses from letters (it takes "e" for a delimiter of prose) and knows no escapes.
"""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice
from typing import Any, BinaryIO

from kerastl.data.encoding import BLOCK, Encoding

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
HEAD = 1 << 16  # bytes from which the delimiter is detected
_RECORDS = 200  # records in them that are examined
_VOTES = 1000  # lines with backslashes that are examined, in the whole file
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How lines are divided into cells."""

    delimiter: str
    quote: str = '"'
    escape: str = ""  # a backslash, if it is written before quotes instead of doubling them
    blanks: bool = False  # a delimiter is followed by blanks that are not part of the cell
    mixed: bool = False  # lines with the other way to write quotes occur too
    sep_line: bool = False  # the first line is sep=X, as Excel writes it

    def reader(self, lines: Iterable[str], strict: bool = True) -> Any:
        """A reader of records that raises csv.Error for a broken one, if `strict`."""
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, escapechar=self.escape or None,
                          skipinitialspace=self.blanks, strict=strict)

    @property
    def change(self) -> Callable[[str], str] | None:
        """What has to be done to lines before: a backslash before anything else than a quote, a delimiter, a backslash
        or the end of the line is a character."""
        if not self.escape:
            return None
        before = re.compile(rf"\\(?:([{re.escape(self.quote + self.delimiter)}\\\r\n])|)")

        def doubled(found: re.Match[str]) -> str:
            return found[0] if found[1] else "\\\\"

        return lambda line: before.sub(doubled, line) if "\\" in line else line

    @property
    def other(self) -> "Dialect":
        """The same with the other way to write quotes inside quotes."""
        return replace(self, escape="" if self.escape else "\\")

    def cells(self, line: str) -> list[str] | None:
        """The cells of a line by itself; None if its quotes are broken."""
        change = self.change
        try:
            records = list(self.reader([change(line) if change else line]))
        except csv.Error:
            return None
        return records[0] if len(records) == 1 else None

    @property
    def words(self) -> str:
        """The delimiter, and how quotes are written if not doubled."""
        words = f"cells separated by {DELIMITERS.get(self.delimiter, repr(self.delimiter))}"
        return f"{words}, quotes written with a backslash" if self.escape else words

    def notes(self, usual: str) -> list[str]:
        """What is unusual, in words."""
        if self.sep_line:
            notes = [f"the first line, sep={self.delimiter}, names the delimiter"]
        else:
            notes = [f"cells are separated by {DELIMITERS[self.delimiter]}, not by {DELIMITERS[usual]}"
                     ] if self.delimiter != usual else []
        notes += ["cells are quoted by single quotes"] if self.quote != '"' else []
        if self.mixed:
            notes.append("quotes inside cells are written with a backslash in some lines and doubled in others")
        elif self.escape:
            notes.append("quotes inside cells are written with a backslash")
        return notes + ["blanks after delimiters are ignored"] * self.blanks


def dialect_of(head: bytes, encoding: Encoding, usual: str) -> Dialect:
    """The dialect, except for escapes. head: the first lines. usual: the delimiter that the file name implies."""
    lines = head[: head.rfind(b"\n") + 1 or len(head)].decode(encoding.codec, "replace").splitlines(keepends=True)
    while lines and not lines[0].strip():
        lines = lines[1:]
    if lines and (sep := _SEP.fullmatch(lines[0])):
        return _with_quotes(Dialect(sep[1], sep_line=True), lines[1:])
    best, most = Dialect(usual), 0.0
    for delimiter in (usual, *(mark for mark in DELIMITERS if mark != usual)):
        dialect = _with_quotes(Dialect(delimiter), lines)
        fits = max(_fits(dialect, lines), _fits(dialect.other, lines))
        if fits > max(most, 0.5 * (delimiter != usual)):
            best, most = dialect, fits
    return best


def _with_quotes(dialect: Dialect, lines: Sequence[str]) -> Dialect:
    """The dialect with its quotes, and whether blanks follow its delimiters."""
    header = lines[0].strip().split(dialect.delimiter) if lines else []
    if header and all(re.fullmatch(r"\s*'[^']+'\s*", name) for name in header):
        dialect = replace(dialect, quote="'")
    quote = re.escape(dialect.quote)
    padded = re.compile(rf"{re.escape(dialect.delimiter)} +{quote}(?!{quote})")
    return replace(dialect, blanks=2 * sum(bool(padded.search(line)) for line in lines) >= max(1, len(lines)))


def _fits(dialect: Dialect, lines: Sequence[str]) -> float:
    """The share of the first records that have as many cells as the header, or one more (an index), 0 if the header has
    only one."""
    change = dialect.change or str
    rows = list(islice(dialect.reader(StringIO("".join(map(change, lines)), newline=""), strict=False), _RECORDS))
    if not rows or len(rows[0]) < 2:
        return 0.0
    width, body = len(rows[0]), rows[1:]
    return max((1 + sum(len(row) == width + more for row in body)) / len(rows) for more in (0, 1))


def count_escapes(dialect: Dialect, opener: Callable[[], BinaryIO], encoding: Encoding,
                  widths: tuple[int, int]) -> tuple[int, int, int]:
    """The lines with backslashes that are whole records only if quotes are doubled, those only if they are written with
    a backslash, and all that were examined. widths: the cells of a record in each of these ways."""
    pattern = re.compile(rb"[^\n]*\\[" + re.escape(dialect.quote + dialect.delimiter).encode() + rb"][^\n]*\n?")
    doubled = escaped = examined = 0
    with opener() as file:
        rest = b""
        while examined < _VOTES and (block := file.read(BLOCK)):
            end = block.rfind(b"\n") + 1
            data, rest = (rest + block[:end], block[end:]) if end else (b"", b"")  # of a line over a block: nothing
            for line in pattern.findall(data if b"\\" in data else b""):
                text = line.decode(encoding.codec, "replace")
                as_doubled, as_escaped = _whole(dialect, text, widths[0]), _whole(dialect.other, text, widths[1])
                doubled += as_doubled and not as_escaped
                escaped += as_escaped and not as_doubled
                examined += 1
    return doubled, escaped, examined


def _whole(dialect: Dialect, line: str, width: int) -> bool:
    """Whether a line is a record of `width` cells. Who doubles quotes also quotes each cell that contains any."""
    cells = dialect.cells(line)
    if cells is None or len(cells) != width:
        return False
    quote = dialect.quote
    return bool(dialect.escape) or not any(
        f"\\{quote}" in cell and f"{quote}{cell.replace(quote, 2 * quote)}{quote}" not in line for cell in cells)
