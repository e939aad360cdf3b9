"""Records of JSON files: one object a line (JSONL), an array of objects, or objects one after the other."""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.broken import Broken
from kerastl.data.delimited import Place, Record, Records
from kerastl.data.encoding import BLOCK, ESCAPED, Encoding
from kerastl.data.lines import MAX_LINE, TOO_LONG, Lines, LineTooLong
from kerastl.errors import DataError

_START, _BETWEEN = re.compile(r"\s*\[?"), re.compile(r"[\s,\]]*")
_EXPECTED = "an array of objects, or one object a line"
_SAMPLE = 1000  # records that are examined for the names of columns
_HEAD = 1 << 16  # characters in which the layout is detected


def json_records(path: Path, opener: Callable[[], BinaryIO], encoding: Encoding) -> tuple[list[str], str, Records]:
    """The columns, the layout (`lines` or `array`), and a function that returns each record, or why it is broken, with
    its place. Raises DataError if the file is one object, not rows."""
    layout = _layout(path, opener, encoding)
    of_file = _of_lines if layout == "lines" else _of_values

    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        with opener() as file:
            yield from of_file(path, file, encoding)

    sample = [record for _, record in islice(records(None), _SAMPLE)]
    objects = [record for record in sample if not isinstance(record, str)]
    if sample and not objects:
        raise DataError(f"{path} contains no JSON objects ({sample[0]})", _EXPECTED,
                        'write each row as an object, such as {"text": "...", "label": "..."}')
    if len(sample) == 1 and _is_of_columns(objects[0]):
        raise _one_object(path, objects[0])
    return list(dict.fromkeys(name for record in objects for name in record)), layout, records


def _layout(path: Path, opener: Callable[[], BinaryIO], encoding: Encoding) -> str:
    """`array` if the file begins with an array of objects, or with an object that takes several lines."""
    with opener() as file:
        head = file.read(_HEAD).decode(encoding.codec, "replace")
    text = head.lstrip()
    if text.startswith("["):
        rest = text[1:].lstrip()
        line = text.partition("\n")[0]
        return "array" if not line[1:].strip() or rest.startswith(("{", "]")) else "lines"
    if not text.startswith("{") or _complete(text.partition("\n")[0]) or len(text.splitlines()) < 2:
        return "lines"
    with opener() as file:
        first = list(islice(_of_values(path, file, encoding), 2))
    if len(first) == 1 and isinstance(record := first[0][1], dict) and _holds_rows(record):
        raise _one_object(path, record)
    return "array" if first and isinstance(first[0][1], dict) else "lines"


def _one_object(path: Path, record: Record) -> DataError:
    more = f" and {len(record) - 10:,} more" if len(record) > 10 else ""
    return DataError(f"{path} is one JSON object, with the keys {', '.join(map(str, list(record)[:10]))}{more}",
                     _EXPECTED, "save the rows in it as a file of their own (pandas: to_json with orient='records')")


def _is_of_columns(record: Record) -> bool:
    """Whether the only object of a file contains rows: in columns, by number, or in a list."""
    return bool(record) and (all(isinstance(value, list | dict) and len(value) > 1 for value in record.values()) or any(
        isinstance(value, list) and len(value) > 1 and all(isinstance(row, dict) for row in value)
        for value in record.values()))


def _holds_rows(record: Record) -> bool:
    return any(isinstance(value, list | dict) and len(value) > 1 for value in record.values())


def _complete(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _of_lines(path: Path, file: BinaryIO, encoding: Encoding) -> Iterator[tuple[Place, Record | str]]:
    lines, number = Lines(file, encoding), 0
    while True:
        lines.begin()
        try:
            line = next(lines, None)
        except LineTooLong:
            lines.skip()
            line = ""
        if line is None:
            return
        if line == "" or not line.isspace():
            number += 1
            yield (number, lines.first), _object(line, lines.first, encoding)


def _object(line: str, number: int, encoding: Encoding) -> Record | str:
    if not line:
        return TOO_LONG
    if why := encoding.unreadable(line):
        return Broken(why, _parsed(line))
    try:
        record = json.loads(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return f"broken JSON: line {number}, column {error.colno}: {error.msg}"
    except ValueError as error:  # such as a number with too many digits
        return f"broken JSON: line {number}: {error}"
    except RecursionError:
        return f"broken JSON: line {number} is nested too deeply"
    return record if isinstance(record, dict) else f"not a JSON object: line {number}: {line.strip()[:40]}"


def _parsed(line: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _of_values(path: Path, file: BinaryIO, encoding: Encoding) -> Iterator[tuple[Place, Record | str]]:
    """The objects of an array, or one after the other. Raises DataError where the JSON is broken: unlike in JSONL, it
    is unknown where the next object begins."""
    for number, (line, value) in enumerate(_values(path, file, encoding), 1):
        if not isinstance(value, dict):
            yield (number, line), f"not a JSON object: line {line}: {json.dumps(value)[:40]}"
        else:
            broken = encoding.partly and ESCAPED.search(json.dumps(value, ensure_ascii=False))
            yield (number, line), Broken(f"not {encoding.name}", value) if broken else value


def _values(path: Path, file: BinaryIO, encoding: Encoding) -> Iterator[tuple[int, Any]]:
    """Each value with its line. Reads a block at a time, so that memory use does not depend on the size of the file."""
    pieces, decode = _pieces(file, encoding), json.JSONDecoder().raw_decode
    text, line, wanted = next(pieces, ""), 1, 1
    at = _START.match(text).end()  # type: ignore[union-attr]
    between = "]" * (not text[:at].endswith("["))  # what lies between two values
    line += text.count("\n", 0, at)
    while True:
        start, at = at, _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        line, between = line + text.count("\n", start, at), between + text[start:at]
        try:
            value, end = decode(text, at)
            if end < len(text):  # otherwise a number may go on
                yield line, value
                line, at, wanted, between = line + text.count("\n", at, end), end, 1, "]" * ("]" in between)
                continue
            error: Exception = json.JSONDecodeError("unexpected end", text, at)
        except (ValueError, RecursionError) as raised:
            error = raised
        more = "".join(islice(pieces, wanted)) if len(text) - at < MAX_LINE else ""
        if not more:
            if at < len(text):
                raise _damaged(path, error, text, at, line)
            if "]" not in between:
                raise DataError(f"{path} is broken JSON: its array is not closed", "a whole file", "write it again")
            return
        wanted, text, at = 2 * wanted, text[at:] + more, 0  # doubled: a large object is not decoded many times


def _pieces(file: BinaryIO, encoding: Encoding) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding.codec)("surrogateescape" if encoding.partly else "strict")
    while block := file.read(BLOCK):
        if piece := decoder.decode(block):
            yield piece
    yield "\n"  # so that the last value ends before the text does


def _damaged(path: Path, error: Exception, text: str, at: int, line: int) -> DataError:
    where = f"line {line}: {error or 'nested too deeply'}"
    if isinstance(error, json.JSONDecodeError):
        column = error.pos - text.rfind("\n", 0, error.pos)
        where = f"line {line + text.count(chr(10), at, error.pos)}, column {column}: {error.msg}"
    return DataError(f"{path} is broken JSON: {where}", "an array of objects, or one object a line",
                     "write the file again, or as one object a line, where a broken one affects only itself")
