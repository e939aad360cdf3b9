"""Files of blocks of lines, divided by empty lines."""

from collections.abc import Iterator
from pathlib import Path

from kerastl.errors import DataError
from kerastl.files import read_bytes


def blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each block of a file with the number of its first line, counted from 1. Line ends may be those of any system.
    Raises DataError for a file that cannot be read or is not UTF-8."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "a readable file", "check the path") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = content[:error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {place}: the bytes {content[error.start:error.start + 4]!r} are not UTF-8",
                        "text in UTF-8", "convert the file: iconv -f latin1 -t utf-8") from error
    block: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")  # not splitlines: U+2028 and its like may be part of a word
    for number, line in enumerate(lines, 1):
        if line.strip(" \t\r"):
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []
    if block:
        yield len(lines) + 1 - len(block), block
