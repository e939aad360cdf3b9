"""Text to the token ids that a TFLite file takes, in plain Python: a reference for other languages.

python tokenize_text.py TEXT [SECOND TEXT OF A PAIR]

Reads tokenizer/, a folder beside this file or beside its folder. Needs only Python, and the package sentencepiece where
the vocabulary is one of SentencePiece. It is written to be short, not fast; the graph inside the SavedModel is fast.
"""

import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDER = next((folder / "tokenizer" for folder in (HERE, HERE.parent) if (folder / "tokenizer").is_dir()), HERE)
MAX_WORD = 100  # characters; WordPiece treats longer words as unknown
SPACES = " \t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B81F),
              (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F))
# The contractions that are split off, then words as patterns of character kinds: L letter, N number, _ space, r line
# end, s other whitespace, O anything else.
PATTERNS = {
    # 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    "gpt2": (re.compile("'(?:[stmd]|re|ve|ll)"), re.compile("_?L+|_?N+|_?O+|[_rs]+(?![LNO])|[_rs]+")),
    # (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
    # |\s+(?!\S)|\s+
    "cl100k": (re.compile("'(?:[stmd]|re|ve|ll)", re.IGNORECASE),
               re.compile("[_sO]?L+|N{1,3}|_?O+r*|[_rs]*r+|[_rs]+(?![LNO])|[_rs]+")),
}


def tokens(folder: Path, text: str, second: str | None = None, length: int | None = None, beyond: int = 0
           ) -> list[int]:
    """The ids of a text, or of a pair of texts, with special tokens; truncated and padded to `length` if it is given.
    beyond: as in `input` of run.json, where it is there: then the next ids follow, at most so many, and `length` is
    that of `max_length` there; the row is padded to their sum."""
    about = json.loads((folder / "about.json").read_text())
    parts = [_ids(folder, about, _clean(part)) for part in ([text] if second is None else [text, second])]
    pair = second is not None
    between = about["between"] if pair else []
    end = about["pair_end"] if pair and about["pair_end"] is not None else about["end"]
    special = len(about["start"]) + len(between) + len(end)
    room = length - special if length else sum(map(len, parts))
    whole = parts
    if not pair:
        parts = [parts[0][:room]]
    elif sum(map(len, parts)) > room:  # the longer text is truncated first, then both equally
        short = min(min(map(len, parts)), room // 2)
        first_is_longer = len(parts[0]) > len(parts[1])
        sizes = (room - short, short) if first_is_longer else (short, room - short)
        parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    ids = [*about["start"], *parts[0], *between, *(parts[1] if pair else ()), *end]
    if beyond:
        ids += [i for part, kept in zip(whole, parts, strict=True) for i in part[len(kept):]][:beyond]
    return ids + [about["pad"]] * ((length or 0) + beyond - len(ids))


def _clean(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", " ", text)


def _ids(folder: Path, about: dict[str, Any], text: str) -> list[int]:
    if about["kind"] == "sentencepiece":
        import sentencepiece

        text = text.lower() if about["lowercase"] else text
        return sentencepiece.SentencePieceProcessor(model_file=str(folder / "model.spm")).encode(text)
    lines = (folder / "vocab.txt").read_bytes().decode().split("\n")[:-1]
    pieces = [re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), line) for line in lines]
    special = {about["pad"], *about["start"], *about["end"], *about["between"]}
    number = {piece: i for i, piece in enumerate(pieces) if piece and i not in special}
    if about["kind"] == "wordpiece":
        return [i for word in _bert_words(text, about) for i in _word_pieces(word, number, about["unknown"])]
    merges = (folder / "merges.txt").read_bytes().decode().split("\n")[:-1] if (folder / "merges.txt").exists() else []
    rank = {tuple(merge.split(" ")): i for i, merge in enumerate(merges)}
    whole = {pieces[i]: i for i in about["whole"]}
    words = ["".join(_BYTES[byte] for byte in word.encode()) for word in _byte_words(text, about)]
    return [i for word in words for i in ([whole[word]] if word in whole else
                                          _byte_pairs(word, rank, number, about["unknown"]))]


def _bert_words(text: str, about: dict[str, Any]) -> list[str]:
    """Normalise a text, then split it at whitespace, punctuation and ideographs."""
    text = "".join(" " if c in SPACES else c for c in text if c in SPACES or (
        unicodedata.category(c) not in ("Cf", "Co") and c != "\ufffd"))
    if about["ideographs"]:
        text = "".join(f" {c} " if any(low <= ord(c) <= high for low, high in IDEOGRAPHS) else c for c in text)
    if about["strip_accents"]:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    if about["lowercase"]:
        text = "".join(map(str.lower, text))  # character by character: a final sigma is not treated specially
    punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    return "".join(f" {c} " if c in punctuation or unicodedata.category(c)[0] == "P" else c for c in text).split(" ")


def _word_pieces(word: str, number: dict[str, int], unknown: int) -> list[int]:
    """Take the longest piece from the start, repeatedly. A word that cannot be split into pieces is unknown."""
    ids, start = [], 0
    while start < len(word):
        ends = range(len(word), start, -1) if len(word) <= MAX_WORD else ()
        piece = next((p for end in ends if (p := ("##" if start else "") + word[start:end]) in number), None)
        if piece is None:
            return [unknown]
        ids.append(number[piece])
        start += len(piece) - (2 if start else 0)
    return ids


def _byte_words(text: str, about: dict[str, Any]) -> list[str]:
    """Split a text into words by the pattern that `about` names."""
    if about["leading_space"] and text and not text.startswith(" "):
        text = " " + text
    contractions, words_of_kinds = PATTERNS[about["pattern"]]
    kinds = "".join("_" if c == " " else "r" if c in "\r\n" else "s" if c in SPACES else
                    {"L": "L", "N": "N"}.get(unicodedata.category(c)[0], "O") for c in text)
    words, at = [], 0
    while at < len(text):
        match = contractions.match(text, at) or words_of_kinds.match(kinds, at)
        assert match  # every character is of one of the kinds
        words.append(text[at:match.end()])
        at = match.end()
    return words


def _byte_pairs(word: str, rank: dict[tuple[str, ...], int], number: dict[str, int], unknown: int) -> list[int]:
    """Bytes, written as GPT-2's characters, merged pair by pair in the order of the merges."""
    parts = [*word]
    while len(parts) > 1:
        pair = min(zip(parts, parts[1:], strict=False), key=lambda two: rank.get(two, len(rank)))
        if pair not in rank:
            break
        merged, i = [], 0
        while i < len(parts):
            both = tuple(parts[i:i + 2]) == pair
            merged.append("".join(parts[i:i + 2]) if both else parts[i])
            i += 1 + both
        parts = merged
    return [number.get(part, unknown) for part in parts]


def _byte_characters() -> list[str]:
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


_BYTES = _byte_characters()

if __name__ == "__main__":
    print(*tokens(FOLDER, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
