"""Frozen dataclasses as JSON documents and back.

A field's JSON key is its name, or what `key` says. Keys that a class does not know are kept in `extra` and written
back, so that a file written by a later version survives being read and written by this one.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from kerastl.errors import one_line

_PLAIN: dict[Any, Any] = {bool: bool, int: int, float: (int, float), str: str}
_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


def key(name: str, **options: Any) -> Any:
    """A dataclass field whose JSON key is `name`. options: as `dataclasses.field` takes them."""
    return field(metadata={"key": name}, **options)


@dataclass(frozen=True)
class Section:
    """A dataclass that is part of a JSON document. extra: keys that this version does not know."""

    extra: dict[str, Any] = field(default_factory=dict, kw_only=True, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: lists for tuples, dictionaries for sections."""
        document: dict[str, Any] = to_json(self)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The section that `to_dict` made the document of; missing keys get their defaults. Raises KeyError for a
        missing key that has none, TypeError or ValueError for a value of another type."""
        section: Self = from_json(cls, document)
        return section


def to_json(value: Any) -> Any:
    """A value of dataclasses, tuples, dictionaries and plain values, as JSON holds it; a path as text."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {_key(part): to_json(getattr(value, part.name)) for part in fields(value) if part.name != "extra"}
        return {**own, **getattr(value, "extra", {})}
    if isinstance(value, Mapping):
        return {str(name): to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def from_json(kind: Any, value: Any) -> Any:
    """A JSON value as the type `kind`: a dataclass, a tuple, a dictionary, an optional or plain type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else from_json(next(kind for kind in inner if kind is not types.NoneType), value)
    if kind is Any:
        return value
    if kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{one_line(value)} is not {_NAMES[kind]}")
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _section(kind, value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{one_line(value)} is not a list")
        types_ = inner[:1] * len(value) if inner[1:] == (Ellipsis,) else inner
        return tuple(from_json(type_, item) for type_, item in zip(types_, value, strict=True))
    if origin is dict:
        return {name: from_json(inner[1], item) for name, item in _items(value)}
    return value


def _section(kind: type, document: Any) -> Any:
    hints, values, unknown = _hints(kind), {}, dict(_items(document))
    for part in fields(kind):
        if part.name == "extra":
            continue
        if _key(part) in unknown:
            try:
                values[part.name] = from_json(hints[part.name], unknown.pop(_key(part)))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{_key(part)}: {error}") from error
        elif part.default is MISSING and part.default_factory is MISSING:
            raise KeyError(_key(part))
    return kind(**values, **({"extra": unknown} if issubclass(kind, Section) else {}))


def _items(document: Any) -> Any:
    if not isinstance(document, Mapping):
        raise TypeError(f"{one_line(document)} is not an object with keys")
    return document.items()


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _key(part: Any) -> str:
    return str(part.metadata.get("key", part.name))
