"""Near-duplicate texts: equal after normalisation, or with at least 0.8 of their shingles in common.

Candidates come from MinHash (Broder 1997) at a lower similarity; each is verified by the exact Jaccard similarity of
its shingles: groups of 5 characters in texts of fewer than 50 words, groups of 5 words in longer ones. A changed word
changes 5 groups of words, which leaves 0.8 of those of 49 words or more in common.
"""

import sys
import unicodedata
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.near_duplicates.candidates import crowded, sharing_a_band
from kerastl.data.near_duplicates.contents import Rows, first_equal
from kerastl.data.spool import digest
from kerastl.inputs import Text

THRESHOLD = 0.8  # Jaccard similarity
LOOSE = 0.6  # two near-duplicates of a third text have at least this, since 1 - Jaccard is a distance
SHINGLE = 5
LONG = 50  # words from which shingles are of words
OVERLAP = 63  # words below which shingles of characters are also computed: a near-duplicate of 50 words has fewer
SHORT = 40  # characters below which only equal texts are near-duplicates
BANDS, IN_BAND = 25, 5  # MinHash: a pair of similarity 0.8 is missed with probability 5e-5, one of 0.5 is met with 0.55
ESTIMATED = 0.65  # estimated similarity from which a pair is verified: 4 standard errors below the threshold
MOST = 500  # texts with the same band that a text is compared with
CACHED = 4096  # texts whose shingles are kept
_MIX = np.uint64(0x9E3779B97F4A7C15)
_APOSTROPHES = "'\u2019\u02bc`"
Shingles = NDArray[np.uint64]


def normalised(text: str) -> str:
    """A text without the differences that do not count: NFKC, case, punctuation and blanks. A text of nothing but
    punctuation stays as it is."""
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_punctuation())
    return " ".join(folded.split()) or text


@cache
def _punctuation() -> dict[int, str]:
    marks = {code: " " for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("P")}
    return marks | {ord(mark): "" for mark in _APOSTROPHES}


def parts_of(text: Text) -> tuple[str, ...]:
    """The normalised text, or both of a pair."""
    return (normalised(text),) if isinstance(text, str) else tuple(map(normalised, text))


def shingles(text: str, words: bool) -> Shingles:
    """The hashes of a normalised text's shingles, distinct and ascending, [m] uint64. words: of words, not characters.
    A text that is shorter than a shingle is one."""
    units = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in text.split()], np.uint64) if words \
        else np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(units) < SHINGLE:
        units = np.pad(units, (0, SHINGLE - len(units)))
    total = np.zeros(len(units) - SHINGLE + 1, np.uint64)
    for place in range(SHINGLE):
        total = _mixed(total * _MIX + units[place:len(units) - SHINGLE + 1 + place])
    return np.unique(total)


def _mixed(values: Shingles) -> Shingles:
    """Splitmix64's finaliser (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def jaccard(a: Shingles, b: Shingles) -> float:
    """The share of shingles that two sets have in common. a, b: distinct and ascending."""
    place = np.searchsorted(b, a)
    place[place == len(b)] = 0
    common = int((b[place] == a).sum())
    return common / (len(a) + len(b) - common)


@dataclass(frozen=True)
class _Signatures:
    """MinHash signatures of some texts, [m, BANDS * IN_BAND] uint32, and the place of each text in them, [n]."""

    rows: Rows
    place: NDArray[np.int32]
    values: NDArray[np.uint32]


@dataclass
class TextContents:
    """Texts, or pairs of texts, as they are stored. digests: of their normalised forms, [n, 16] uint8. words,
    characters: of the normalised forms, [n]."""

    texts: Sequence[Text]
    digests: NDArray[np.uint8]
    words: NDArray[np.int64]
    characters: NDArray[np.int64]
    threshold: float = THRESHOLD
    loose: float = LOOSE
    notes: list[str] = field(default_factory=list)
    _signatures: dict[bool, _Signatures] = field(default_factory=dict)
    _known: "OrderedDict[tuple[int, bool], list[Shingles | str]]" = field(default_factory=OrderedDict)

    def equal(self) -> NDArray[np.intp]:
        """See `Contents`."""
        return first_equal(self.digests)

    def candidates(self) -> Iterator[tuple[Rows, Rows]]:
        """See `Contents`: pairs with an equal band of their MinHash signatures."""
        usable = (self.characters >= SHORT) & (self.equal() == np.arange(len(self.words)))
        of_kind = {False: usable & (self.words < OVERLAP), True: usable & (self.words >= LONG)}
        for words, chosen in of_kind.items():
            rows = np.flatnonzero(chosen)
            place = np.full(len(chosen), -1, np.int32)
            place[rows] = np.arange(len(rows))
            self._signatures[words] = _Signatures(rows, place, self._minhash(rows, words))
        for words, signatures in self._signatures.items():
            bands = _bands(signatures.values)
            if (n := crowded(bands, MOST)):
                self.notes.append(f"{n:,} texts have so much wording in common that each was compared with the {MOST} "
                                  "most similar ones only")
            for left, right, _ in sharing_a_band(bands, MOST):
                a, b = signatures.rows[left], signatures.rows[right]
                if not words:  # longer texts are compared by their words
                    kept = np.minimum(self.words[a], self.words[b]) < LONG
                    a, b = a[kept], b[kept]
                kept = self._estimate(a, b) >= ESTIMATED
                yield np.minimum(a[kept], b[kept]), np.maximum(a[kept], b[kept])

    def _estimate(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """The share of equal MinHash values, whose standard error is at most 0.045."""
        words = np.minimum(self.words[left], self.words[right]) >= LONG
        result = np.zeros(len(left))
        for kind, signatures in self._signatures.items():
            chosen = np.flatnonzero(words == kind)
            for start in range(0, len(chosen), 1 << 14):
                part = chosen[start:start + (1 << 14)]
                a, b = signatures.place[left[part]], signatures.place[right[part]]
                same = (signatures.values[a] == signatures.values[b]).mean(axis=1)
                result[part] = np.where((a >= 0) & (b >= 0), same, 0.0)
        return result

    def similarity(self, left: Rows, right: Rows, at_least: float = 0.0, enough: float = 1.0) -> NDArray[np.float64]:
        """See `Contents`: the exact Jaccard similarity; of a pair of texts the lower one of its two parts."""
        return np.array([self._of_pair(a, b) for a, b in zip(left.tolist(), right.tolist(), strict=True)])

    def every_pair(self, members: Rows, at_least: float) -> NDArray[np.float64]:
        """See `Contents`: estimated from MinHash values."""
        left, right = np.triu_indices(len(members), 1)
        return self._estimate(members[left], members[right])

    def alike(self, members: Rows, least: float) -> bool:
        """See `Contents`: texts have no quick way."""
        return False

    def _of_pair(self, left: int, right: int) -> float:
        words = bool(min(self.words[left], self.words[right]) >= LONG)
        parts = zip(self._shingles(left, words), self._shingles(right, words), strict=True)
        return min(float(a == b) if isinstance(a, str) or isinstance(b, str) else jaccard(a, b) for a, b in parts)

    def _shingles(self, row: int, words: bool) -> "list[Shingles | str]":
        """The shingles of each part; a short part as it is."""
        key = row, words
        if key not in self._known:
            self._known[key] = [shingles(part, words) if len(part) >= SHORT else part
                                for part in parts_of(self.texts[row])]
            if len(self._known) > CACHED:
                self._known.popitem(last=False)
        return self._known[key]

    def _minhash(self, rows: Rows, words: bool) -> NDArray[np.uint32]:
        size = BANDS * IN_BAND
        generator = np.random.default_rng(1)
        a = generator.integers(1, 2**63, (size, 1), np.uint64) * np.uint64(2) + np.uint64(1)
        b = generator.integers(0, 2**63, (size, 1), np.uint64)
        values = np.empty((len(rows), size), np.uint32)
        for place, row in enumerate(rows.tolist()):
            every = np.concatenate([shingles(part, words) + np.uint64(number)
                                    for number, part in enumerate(parts_of(self.texts[row]))])
            least = np.full(size, np.iinfo(np.uint64).max, np.uint64)
            for start in range(0, len(every), 4096):
                least = np.minimum(least, (a * every[None, start:start + 4096] + b).min(axis=1))
            values[place] = least >> np.uint64(32)
        return values


def read_contents(texts: Sequence[Text], *, mirrored: bool = False, folder: Path | None = None) -> TextContents:
    """Normalise and measure texts: 0.6 KB each is kept in memory. texts: read again where they are compared. mirrored,
    folder: have no meaning for texts."""
    n = len(texts)
    digests, words, characters = np.zeros((n, 16), np.uint8), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for row in range(n):
        parts = parts_of(texts[row])
        digests[row] = np.frombuffer(digest((parts[0], parts[1]) if len(parts) == 2 else parts[0]), np.uint8)
        words[row] = sum(len(part.split()) for part in parts)
        characters[row] = max(map(len, parts))
    return TextContents(texts, digests, words, characters)


def _bands(signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """[m, BANDS * IN_BAND] -> a hash of each band, [m, BANDS]."""
    values = signatures.reshape(-1, BANDS, IN_BAND).astype(np.uint64)
    total = np.zeros(values.shape[:2], np.uint64)
    for place in range(IN_BAND):
        total = _mixed(total * _MIX + values[:, :, place])
    return total
