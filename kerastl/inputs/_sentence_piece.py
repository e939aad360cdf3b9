"""SentencePiece models as bytes: read, changed and written here, so that the graph's operation is all that is needed.

The format is a protocol buffer (sentencepiece_model.proto of google/sentencepiece): field 1, repeated, is a piece,
whose place is its id; 2 says how the model was trained; 3 how text is normalised before.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
_UNIGRAM, _BPE = 1, 2
_BYTE_FALLBACK = 35  # the field of how it was trained
_NEVER = 1 << 30  # the rank of a pair that is not merged


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary. CONTROL: never found in a text. USER_DEFINED: always kept whole. BYTE: a byte of
    a character that no piece has."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


def pieces(model: bytes) -> list[Piece]:
    """The pieces by id. Raises ValueError when it is not such a model."""
    found = []
    for number, value, _ in _fields(model):
        if number == 1:
            parts = {name: part for name, part, _ in _fields(value)}
            score = struct.unpack("<f", parts.get(2, bytes(4)))[0]
            found.append(Piece(parts.get(1, b"").decode(), score, parts.get(3, NORMAL)))
    if not found:
        raise ValueError("no pieces in it")
    return found


def with_pieces(model: bytes, changed: Iterable[Piece]) -> bytes:
    """The model with other pieces, and so other ids; how it splits and normalises stays as it is."""
    return _written(changed) + b"".join(raw for number, _, raw in _fields(model) if number != 1)


def has_all_bytes(model: bytes) -> bool:
    """Whether any character is written by its bytes where no piece has it, so that nothing is unknown."""
    trained = b"".join(value for number, value, _ in _fields(model) if number == 2)
    asked = any(number == _BYTE_FALLBACK and value for number, value, _ in _fields(trained))
    return asked and {piece.text for piece in pieces(model) if piece.kind == BYTE} == {*byte_pieces()}


def byte_pieces() -> list[str]:
    """How SentencePiece writes each byte."""
    return [f"<0x{byte:02X}>" for byte in range(256)]


def unigram(vocabulary: Iterable[Piece], charsmap: bytes, *, byte_fallback: bool = False) -> bytes:
    """A unigram model that takes spaces for U+2581 and drops needless ones, as the models of XLM-R do.

    charsmap: the precompiled rules of normalisation; empty for none.
    """
    normalizer = _bytes(2, charsmap) + _number(3, True) + _number(4, True) + _number(5, True)
    trained = _number(3, _UNIGRAM) + (_number(_BYTE_FALLBACK, True) if byte_fallback else b"")
    return _written(vocabulary) + _bytes(2, trained) + _bytes(3, normalizer)


def byte_pairs(vocabulary: Sequence[str], merges: Sequence[str], special: Iterable[int], unknown: int) -> bytes:
    """GPT-2's byte-level BPE as a model that gives the same ids, word for word, for words in UTF-8.

    SentencePiece merges two neighbours when they make a piece, the best score first; GPT-2 merges listed pairs, the
    first listed first. They agree when a piece's score says when GPT-2, given that piece's own text, would complete it,
    and a piece that it would never complete is none: what happens between two places that no merge has yet crossed is
    what would happen to that stretch alone. `special` ids and "" are no pieces of text either. The rules of
    normalisation are those that turn each byte into its character.
    """
    ranks = _ranks(merges)
    made, single, apart = {"".join(pair) for pair in ranks}, set(byte_characters()), {*special}
    found = []
    for i, text in enumerate(vocabulary):
        at = _completed(text, ranks) if text in made and i not in apart else None
        if i == unknown:
            found.append(Piece(text, kind=UNKNOWN))
        elif at is not None or (text in single and i not in apart):
            found.append(Piece(text, -float(at or 0)))
        else:
            found.append(Piece(text or f"no piece {i}", kind=CONTROL))
    normalizer = _bytes(2, _bytes_to_characters()) + _number(3, False) + _number(4, False) + _number(5, False)
    return _written(found) + _bytes(2, _number(3, _BPE)) + _bytes(3, normalizer)


def _ranks(merges: Iterable[str]) -> dict[tuple[str, ...], int]:
    """Each merge's two parts, and its place among the merges: the first, of one that stands there again."""
    ranks: dict[tuple[str, ...], int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(tuple(merge.split(" ")), rank)
    return ranks


def _completed(text: str, ranks: dict[tuple[str, ...], int]) -> int | None:
    """The rank of the merge that makes the text whole when it stands alone; None when none does."""
    last = _last_step(text, lambda left, right: ranks.get((left, right), _NEVER))
    return ranks[last] if last else None


def _last_step(text: str, rank: Callable[[str, str], int]) -> tuple[str, str] | None:
    """The two parts that are left before a text is whole, the neighbours of lowest rank merged first, the left ones of
    several; None when it does not become whole."""
    parts = list(text)
    found = [rank(left, right) for left, right in zip(parts, parts[1:], strict=False)]
    while found and (best := min(found)) < _NEVER:
        if len(found) == 1:
            return parts[0], parts[1]
        at = found.index(best)
        parts[at:at + 2] = [parts[at] + parts[at + 1]]
        del found[at]
        if at:
            found[at - 1] = rank(parts[at - 1], parts[at])
        if at < len(found):
            found[at] = rank(parts[at], parts[at + 1])
    return None


def byte_characters() -> list[str]:
    """The printable character by which GPT-2's vocabulary writes each byte (`bytes_to_unicode` of its encoder.py)."""
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in kept else next(others)) for byte in range(256)]


def from_characters(text: str) -> bytes:
    """The bytes that a piece stands for. Raises KeyError when it is not written in these characters."""
    return bytes(_BYTES[character] for character in text)


def unmade(vocabulary: Iterable[str], merges: Iterable[str]) -> list[str]:
    """The pieces of two bytes or more that merging their own bytes does not give."""
    ranks = _ranks(merges)
    return [text for text in vocabulary if len(text) > 1 and _completed(text, ranks) is None]


def merges_of(ranks: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """A vocabulary of tiktoken's, which merges the two neighbours that make the piece of lowest rank, as merges: for
    each piece the last step of its making. Then the pieces of two bytes or more that are not made."""
    steps = {text: _last_step(text, lambda left, right: ranks.get(left + right, _NEVER))
             for text in sorted(ranks, key=ranks.__getitem__) if len(text) > 1}
    return [" ".join(step) for step in steps.values() if step], [text for text, step in steps.items() if not step]


def _bytes_to_characters() -> bytes:
    """Rules of normalisation from each byte but NUL to its character: a double array trie, then the texts it points to.

    The layout is Darts-clone's: a unit is label, 1 bit for "a leaf follows", offset; the child of the unit at `i` for
    byte `b` is at i ^ offset ^ b, its leaf at the child ^ the child's offset. Root at 0, children from 256, leaves from
    512, so all units of a level have one offset.
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
    """Number, value and raw bytes of each field of a message; ValueError when the bytes are none."""
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
            raise ValueError("it ends in the middle, or is of another format")
        yield key >> 3, data[at - size:at], data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends in the middle, or is of another format")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _written(vocabulary: Iterable[Piece]) -> bytes:
    return b"".join(_bytes(1, _bytes(1, one.text.encode()) + b"\x15" + struct.pack("<f", one.score)
                           + _number(3, one.kind)) for one in vocabulary)


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
