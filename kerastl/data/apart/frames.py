"""What goes between this process and one that reads a table: JSON, with bytes and long texts behind it. These are in
shared memory, where they fit: it is written again when the receiver has asked for more, by `MORE`.

The reading process may have been taken over by its table. So nothing that comes from it is unpickled or otherwise run;
sizes are limited, every type is checked, and what is unknown is refused.
"""

import json
import mmap
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from kerastl.data.broken import Broken
from kerastl.data.layout import Batch, Layout
from kerastl.errors import DataError
from kerastl.inputs.isolation.messages import received

HEAD = struct.Struct("<cQQ")  # kind, bytes of JSON, bytes behind it
REQUEST, LAYOUT, BATCH, END, ERROR = b"q", b"l", b"b", b"e", b"x"
SHARED = b"m"  # a BATCH whose bytes are in the shared memory
MORE = b"n"
ROOM = 2**24  # bytes of the shared memory
MEMORY, RECORD = "memory", "record"  # of an ERROR that is no DataError: too little memory, a record that is too large
MOST_JSON, MOST_BYTES = 2**25, 2**30  # of a frame
MOST_ROWS = 2**20  # of a batch
SEPARATOR = "\0"  # of the texts of a column; it is part of almost none
LONG = 2**14  # characters from which a text goes behind the JSON
LONGEST_MESSAGE = 10_000  # characters
PLAIN = frozenset({type(None), bool, int, float, str})  # what JSON has
REFUSED = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError, struct.error)

Bytes = bytes | bytearray | memoryview
Frame = tuple[bytes, Any, Bytes]  # kind, what the JSON says, and the bytes behind it


class TooLargeError(Exception):
    """A record does not fit into a frame."""


def send(client: socket.socket, kind: bytes, document: object, behind: bytes = b"") -> None:
    """Send a frame."""
    text = _as_json(document)
    client.sendall(HEAD.pack(kind, len(text), len(behind)) + text)
    if behind:
        client.sendall(behind)


def receive(client: socket.socket, seconds: float | None = None, shared: Bytes = b"") -> Frame:
    """The next frame. shared: the shared memory; what is behind the frame may be a view of it, which the other side can
    change at any time, so that each part is copied before it is looked at. Raises EOFError where the other side has
    ended, TimeoutError where it does not send it all in these seconds, and one of REFUSED for what is no frame."""
    end = None if seconds is None else time.monotonic() + seconds
    kind, length, behind = HEAD.unpack(received(client, HEAD.size, end))
    if length > MOST_JSON or behind > MOST_BYTES:
        raise ValueError("a frame that is too large")
    text = received(client, length, end)
    if kind == SHARED and behind > len(shared):
        raise ValueError("more than the shared memory has")
    rest: Bytes = memoryview(shared)[:behind] if kind == SHARED else received(client, behind, end)
    return kind, json.loads(text.decode("utf-8", "surrogatepass")), rest


def _as_json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class Sender:
    """Sends the batches of a table. shared: the shared memory."""

    def __init__(self, client: socket.socket, shared: mmap.mmap | bytearray) -> None:
        self._client, self._shared, self._is_free = client, shared, True

    def send(self, batch: Batch) -> None:
        """Send a batch of records, as several where it is too large for one frame. Raises TooLargeError where a record
        is, TypeError for a value that no table of this kind has, BrokenPipeError where the other side has ended."""
        document, behind = _packed_batch(batch, apart=False)
        text = _as_json(document)
        if len(text) > MOST_JSON and batch.rows == 1:
            document, behind = _packed_batch(batch, apart=True)
            text = _as_json(document)
        size = sum(map(len, behind))
        if len(text) <= MOST_JSON and size <= MOST_BYTES and batch.rows <= MOST_ROWS:
            self._send(text, behind, size)
        elif batch.rows == 1:
            raise TooLargeError
        else:
            for half in batch.divided():
                self.send(half)

    def _send(self, text: bytes, behind: Sequence[bytes], size: int) -> None:
        if not 0 < size <= len(self._shared):
            self._client.sendall(HEAD.pack(BATCH, len(text), size) + text)
            for piece in behind:
                self._client.sendall(piece)
            return
        if not self._is_free and not self._client.recv(1):
            raise BrokenPipeError
        start, self._is_free = 0, False
        for piece in behind:
            self._shared[start:start + len(piece)] = piece
            start += len(piece)
        self._client.sendall(HEAD.pack(SHARED, len(text), size) + text)


def _packed_batch(batch: Batch, apart: bool) -> tuple[dict[str, Any], list[bytes]]:
    """A batch for JSON, and the bytes behind it. apart: put all long texts there, too."""
    pack = _Packing()
    columns = [pack.column(values, apart) for values in batch.columns.values()]
    broken = [[place, str(why), pack(why.first), None if why.last is why.first else pack(why.last)]
              for place, why in batch.broken.items()]
    document = {"rows": batch.rows, "lines": batch.lines, "names": list(batch.columns), "columns": columns,
                "broken": broken}
    return document, pack.behind


class _Packing:
    """Values in the form that `_unpacked` takes: what JSON has as it is, the rest as a list of a mark and parts."""

    def __init__(self) -> None:
        self.behind: list[bytes] = []
        self._size = 0

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind is str and len(value) >= LONG:
            return ["s", *self._put(value.encode("utf-8", "surrogatepass"))]
        if kind in PLAIN:
            return value
        if kind is bytes:
            return ["b", *self._put(value)]
        if kind in (list, tuple):
            return ["l" if kind is list else "t", *map(self, value)]
        if isinstance(value, Mapping):
            return ["d", *([name, self(inner)] for name, inner in value.items())]
        if kind in _TEXTS:
            return [kind.__name__, str(value)]
        if kind is timedelta:
            return ["timedelta", value.days, value.seconds, value.microseconds]
        raise TypeError(f"a value of type {kind.__name__}")

    def column(self, values: list[Any], apart: bool) -> list[Any]:
        """A column for `_column`: how its values are written, and they."""
        kinds = set(map(type, values))
        if kinds == {str} and SEPARATOR not in "".join(values):
            return ["joined", *self._put(SEPARATOR.join(values).encode("utf-8", "surrogatepass"))]
        if kinds <= PLAIN and not apart:
            return ["plain", values]
        return ["packed", list(map(self, values))]

    def _put(self, data: bytes) -> tuple[int, int]:
        start = self._size
        self.behind.append(data)
        self._size += len(data)
        return start, len(data)


_TEXTS: dict[type, Callable[[str], Any]] = {Decimal: Decimal, UUID: UUID}
_OF_TEXT = {kind.__name__: make for kind, make in _TEXTS.items()}


def _unpacked(value: Any, behind: Bytes) -> Any:
    """A value that `_Packing` packed. Raises one of REFUSED for anything else."""
    if type(value) in PLAIN:
        return value
    kind, *parts = _list(value)
    if kind == "b":
        return _piece(behind, *parts)
    if kind == "s":
        return _piece(behind, *parts).decode("utf-8", "surrogatepass")
    if kind in ("l", "t"):
        values = (_unpacked(part, behind) for part in parts)
        return list(values) if kind == "l" else tuple(values)
    if kind == "d":
        return {_text(name): _unpacked(inner, behind) for name, inner in map(_list, parts)}
    if kind == "timedelta":
        days, seconds, microseconds = map(_number, parts)
        return timedelta(days, seconds, microseconds)
    text, = parts
    return _OF_TEXT[kind](_text(text))


def _piece(behind: Bytes, start: int, length: int) -> bytes:
    piece = bytes(memoryview(behind)[_number(start):start + _number(length)])
    if start < 0 or len(piece) != length:
        raise ValueError("a piece outside of its frame")
    return piece


def batch_of(document: Any, behind: Bytes, layout: Layout, only: Sequence[str] | None) -> Batch:
    """The batch in a frame, as `send_batch` got it. Raises one of REFUSED for what is no batch of a table with this
    layout."""
    rows, names = _number(document["rows"]), _texts(document["names"])
    lines = None if document["lines"] is None else _list(document["lines"])
    broken = {_number(place): Broken(_text(reason), *(_mapping(cells, behind) for cells in (start, end)
                                                      if cells is not None))
              for place, reason, start, end in map(_list, _list(document["broken"]))}
    whole = rows - len(broken)
    if not 0 <= whole <= rows <= MOST_ROWS or not broken.keys() <= set(range(rows)):
        raise ValueError("numbers that do not fit")
    if lines is not None and (len(lines) != rows or not {int}.issuperset(map(type, lines))):
        raise ValueError("other lines")
    columns = dict(zip(names, (_column(column, behind, whole) for column in _list(document["columns"])), strict=True))
    if len(columns) != len(names) or (whole and not columns.keys() >= _wanted(layout, only)):
        raise ValueError("other columns")
    for name in columns.keys() & layout.images:
        _check_images(columns[name])
    return Batch(rows, columns, broken, lines)


def _column(value: Any, behind: Bytes, count: int) -> list[Any]:
    """The values of a column that `_Packing.column` wrote. Raises one of REFUSED for anything else."""
    kind, *parts = _list(value)
    if kind == "joined":
        values: list[Any] = _piece(behind, *parts).decode("utf-8", "surrogatepass").split(SEPARATOR)
    else:
        given, = map(_list, parts)
        values = [_unpacked(each, behind) for each in given] if kind == "packed" else given
        if kind not in ("packed", "plain") or (kind == "plain" and not PLAIN.issuperset(map(type, values))):
            raise TypeError("a value that is not packed")
    if len(values) != count:
        raise ValueError("a column of another length")
    return values


def _wanted(layout: Layout, only: Sequence[str] | None) -> set[str]:
    return set(layout.names) if only is None else set(layout.names).intersection(only)


def _check_images(values: Sequence[Any]) -> None:
    for value in values:
        if value is not None and type(value["bytes"]) not in (bytes, type(None)):
            raise TypeError("an image that is not bytes")


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("not a list")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not a text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a number")
    return value


def _texts(value: Any) -> list[str]:
    return list(map(_text, _list(value)))


def _mapping(value: Any, behind: Bytes) -> dict[str, Any]:
    mapping = _unpacked(value, behind)
    if type(mapping) is not dict:
        raise TypeError("not a mapping")
    return mapping


def of_layout(layout: Layout) -> dict[str, Any]:
    """A layout for JSON."""
    return asdict(layout)


def layout_of(document: Any) -> Layout:
    """The layout in a frame. Raises one of REFUSED for anything else."""
    if set(document) != {field.name for field in fields(Layout)}:
        raise ValueError("not a layout")
    classes = {_text(name): _texts(names) for name, names in document["classes"].items()}
    layout = Layout(_texts(document["names"]), _texts(document["notes"]), _texts(document["images"]), classes,
                    _text(document["sheet"]), _number(document["header"]))
    if not set(layout.images) <= set(layout.names):
        raise ValueError("images in no column")
    return layout


def of_error(error: DataError) -> list[str]:
    """An error for JSON."""
    return [error.got[:LONGEST_MESSAGE], error.expected[:LONGEST_MESSAGE], error.hint[:LONGEST_MESSAGE]]


def error_of(document: Any) -> DataError:
    """The error in a frame. Raises one of REFUSED for anything else."""
    got, expected, hint = (text[:LONGEST_MESSAGE] for text in _texts(document))
    return DataError(got, expected, hint)
