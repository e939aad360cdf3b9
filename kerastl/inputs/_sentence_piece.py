"""SentencePiece models as bytes, read, changed and written without the sentencepiece package.

The format is a protocol buffer (sentencepiece_model.proto of google/sentencepiece): field 1, repeated, is a piece,
whose position is its id; field 2 describes the training; field 3 the normalization of text.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
_UNIGRAM, _BPE = 1, 2
_BYTE_FALLBACK = 35  # a field of the training description
_NEVER = 1 << 30  # the rank of a pair that is never merged


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary. CONTROL: text never produces it. USER_DEFINED: never split. BYTE: one byte of a
    character that no piece contains."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


def pieces(model: bytes) -> list[Piece]:
    """The pieces by id. Raises ValueError if the bytes are not such a model."""
    result = []
    for number, value, _ in _fields(model):
        if number == 1:
            parts = {name: part for name, part, _ in _fields(value)}
            score = struct.unpack("<f", parts.get(2, bytes(4)))[0]
            result.append(Piece(parts.get(1, b"").decode(), score, parts.get(3, NORMAL)))
    if not result:
        raise ValueError("it contains no pieces")
    return result


def with_pieces(model: bytes, changed: Iterable[Piece]) -> bytes:
    """The model with other pieces and therefore other ids. Splitting and normalization stay the same."""
    return _written(changed) + b"".join(raw for number, _, raw in _fields(model) if number != 1)


def has_all_bytes(model: bytes) -> bool:
    """Whether characters without a piece are represented by their bytes, so that nothing is unknown."""
    trained = b"".join(value for number, value, _ in _fields(model) if number == 2)
    fallback = any(number == _BYTE_FALLBACK and value for number, value, _ in _fields(trained))
    return fallback and {piece.text for piece in pieces(model) if piece.kind == BYTE} == {*byte_pieces()}


def byte_pieces() -> list[str]:
    """SentencePiece's pieces for single bytes."""
    return [f"<0x{byte:02X}>" for byte in range(256)]


def unigram(vocabulary: Iterable[Piece], charsmap: bytes, *, byte_fallback: bool = False) -> bytes:
    """A unigram model that writes spaces as U+2581 and removes extra ones, like the models of XLM-R.

    charsmap: the precompiled normalization rules; empty for none.
    """
    normalizer = _bytes(2, charsmap) + _number(3, True) + _number(4, True) + _number(5, True)
    trained = _number(3, _UNIGRAM) + (_number(_BYTE_FALLBACK, True) if byte_fallback else b"")
    return _written(vocabulary) + _bytes(2, trained) + _bytes(3, normalizer)


def byte_pairs(vocabulary: Sequence[str], merges: Sequence[str], special: Iterable[int], unknown: int) -> bytes:
    """GPT-2's byte-level BPE as a SentencePiece model that gives the same ids for every word in UTF-8.

    SentencePiece merges two neighbours if the result is a piece, in order of the piece's score; GPT-2 merges listed
    pairs in the order of the list. Both agree if the score of a piece is the rank at which GPT-2 would complete it when
    given that piece's own text, and if pieces that it would never complete are removed, because the merges between two
    positions that no merge has crossed yet are those of that stretch alone. `special` ids and "" are not pieces of text
    either. The normalization rules map each byte to its character.
    """
    ranks = _ranks(merges)
    merged, single, special = {"".join(pair) for pair in ranks}, set(byte_characters()), {*special}
    result = []
    for i, text in enumerate(vocabulary):
        rank = _completed(text, ranks) if text in merged and i not in special else None
        if i == unknown:
            result.append(Piece(text, kind=UNKNOWN))
        elif rank is not None or (text in single and i not in special):
            result.append(Piece(text, -float(rank or 0)))
        else:
            result.append(Piece(text or f"no piece {i}", kind=CONTROL))
    normalizer = _bytes(2, _bytes_to_characters()) + _number(3, False) + _number(4, False) + _number(5, False)
    return _written(result) + _bytes(2, _number(3, _BPE)) + _bytes(3, normalizer)


def _ranks(merges: Iterable[str]) -> dict[tuple[str, ...], int]:
    """The two parts of each merge, and its position in the list; the first position if it occurs twice."""
    ranks: dict[tuple[str, ...], int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(tuple(merge.split(" ")), rank)
    return ranks


def _completed(text: str, ranks: dict[tuple[str, ...], int]) -> int | None:
    """The rank of the merge that completes the text when it stands alone; None if none does."""
    last = _last_step(text, lambda left, right: ranks.get((left, right), _NEVER))
    return ranks[last] if last else None


def _last_step(text: str, rank: Callable[[str, str], int]) -> tuple[str, str] | None:
    """The two parts before the last merge of a text, when neighbours of the lowest rank are merged first, the leftmost
    of several; None if the text is never completed."""
    parts = list(text)
    ranks = [rank(left, right) for left, right in zip(parts, parts[1:], strict=False)]
    while ranks and (best := min(ranks)) < _NEVER:
        if len(ranks) == 1:
            return parts[0], parts[1]
        at = ranks.index(best)
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
        del ranks[at]
        if at:
            ranks[at - 1] = rank(parts[at - 1], parts[at])
        if at < len(ranks):
            ranks[at] = rank(parts[at], parts[at + 1])
    return None


def byte_characters() -> list[str]:
    """The printable character for each byte in GPT-2's vocabulary (`bytes_to_unicode` in its encoder.py)."""
    unchanged = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in unchanged else next(others)) for byte in range(256)]


def from_characters(text: str) -> bytes:
    """The bytes of a piece. Raises KeyError if it contains other characters than `byte_characters`."""
    return bytes(_BYTES[character] for character in text)


def unreachable(vocabulary: Iterable[str], merges: Iterable[str]) -> list[str]:
    """The pieces of two or more bytes that merging their own bytes does not produce."""
    ranks = _ranks(merges)
    return [text for text in vocabulary if len(text) > 1 and _completed(text, ranks) is None]


def merges_of(ranks: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """The merges of a tiktoken vocabulary, in which the two neighbours that form the piece of the lowest rank are
    merged: for each piece its last merge. Also the pieces of two or more bytes that are never produced."""
    steps = {text: _last_step(text, lambda left, right: ranks.get(left + right, _NEVER))
             for text in sorted(ranks, key=ranks.__getitem__) if len(text) > 1}
    return [" ".join(step) for step in steps.values() if step], [text for text, step in steps.items() if not step]


def _bytes_to_characters() -> bytes:
    """Normalization rules that map each byte except NUL to its character: a double-array trie, and the texts it
    points to.

    The layout is that of Darts-clone: a unit consists of a label, 1 bit for "has a leaf", and an offset; the child of
    the unit at `i` for byte `b` is at i ^ offset ^ b, its leaf at child ^ child's offset. The root is at 0, children
    start at 256 and leaves at 512, so all units of a level have the same offset.
    """
    units, texts = [0] * 768, b""
    units[0] = 256 << 10
    for byte, character in enumerate(byte_characters()):
        if byte:  # NUL ends a text in the trie
            units[256 + byte] = byte | 1 << 8 | (256 ^ 512) << 10
            units[512 + byte] = 1 << 31 | len(texts)
            texts += character.encode() + b"\0"
    trie = struct.pack("<768I", *units)
    return struct.pack("<I", len(trie)) + trie + texts


def _fields(data: bytes) -> Iterator[tuple[int, Any, bytes]]:
    """Number, value and raw bytes of each field of a message. Raises ValueError if the bytes are not a message."""
    at = 0
    while at < len(data):
        start = at
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value, data[start:at]
            continue
        if key & 7 == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7, len(data))
        at += size
        if at > len(data):
            raise ValueError("it is truncated or has another format")
        yield key >> 3, data[at - size:at], data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it is truncated or has another format")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _written(vocabulary: Iterable[Piece]) -> bytes:
    return b"".join(_bytes(1, _bytes(1, piece.text.encode()) + b"\x15" + struct.pack("<f", piece.score)
                           + _number(3, piece.kind)) for piece in vocabulary)


def _bytes(number: int, value: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _encoded(number << 3) + _encoded(value)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


_BYTES = {character: byte for byte, character in enumerate(byte_characters())}
