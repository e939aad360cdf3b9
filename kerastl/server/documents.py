"""The JSON documents that clients send, as TF Serving's parser reads them."""

import json
import re
from collections import Counter
from typing import Any

from kerastl.server.status import ServingError, invalid
from kerastl.server.tensors import CONSTANTS, shown

BYTE_ORDER_MARK = "\ufeff"
LEVELS, DEEPEST = 100, 1_000_000  # of nesting that are read, and that a document may have
CLOSING = {"[": "]", "{": "}"}
TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*("?)|[\[\]{}]', re.DOTALL)  # strings, the end of each as a group; brackets
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
ESCAPES = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]|(u[dD][89a-fA-F])|.)", re.DOTALL)  # the group: half a pair


def parsed(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; NaN and Infinity are numbers. What follows the object is ignored, as TF Serving does.
    Raises ServingError, also for an object in which a key stands twice: which of the values is meant is unknown."""
    text = body.decode("utf-8", "surrogateescape").removeprefix(BYTE_ORDER_MARK).lstrip(" \t\r\n")
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    try:
        value = _decoded(text)
    except RecursionError:
        value = _decoded(_shallow(text))
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def _decoded(text: str) -> Any:
    if SURROGATE.search(text) and (lone := next((place for place in ESCAPES.finditer(text) if place[1]), None)):
        raise _unparsed("The surrogate pair in string is invalid.", lone.start())
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise _unparsed("Invalid value." if error.msg == "Expecting value" else error.msg, error.pos) from error
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a document."""
    document = dict(pairs)
    if len(document) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise invalid(f"JSON Parse error: the key {shown(repeated)} stands twice in an object")
    return document


def _shallow(text: str) -> str:
    """A document without what is nested deeper than any tensor: Python's parser cannot read it, and TF Serving, whose
    parser can, has no use for it either."""
    parts: list[str] = []
    start, open_brackets = 0, list[str]()
    for token in TOKENS.finditer(text):
        mark = token[0]
        if mark in CLOSING:
            open_brackets.append(CLOSING[mark])
            if len(open_brackets) == LEVELS + 1:
                parts.append(text[start:token.start()])
            if len(open_brackets) > DEEPEST:
                raise _unparsed("the document is nested too deeply", token.start())
        elif mark in CLOSING.values():
            if not open_brackets or open_brackets.pop() != mark:
                raise _unparsed("Invalid value.", token.start())
            if len(open_brackets) == LEVELS:
                parts.append("[]")
                start = token.end()
            if not open_brackets:
                return "".join([*parts, text[start:token.end()]])
        elif not token[1]:
            break
    raise _unparsed("Missing a closing quotation mark or bracket", len(text))


def _unparsed(reason: str, offset: int) -> ServingError:
    return invalid(f"JSON Parse error: {reason} at offset: {offset}")


_DECODER = json.JSONDecoder(parse_constant=CONSTANTS.__getitem__, object_pairs_hook=_unique)
