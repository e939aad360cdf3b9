"""The encoding of bytes: by their mark, as UTF-16 or UTF-8 if they are valid, otherwise by charset-normalizer, with an
explanation.

What charset-normalizer is not asked: whether a file is UTF-8 (it decides from samples, and one bad byte in a large file
would be missed) and which of cp1252 and its neighbours a few accented letters are in (on these it guesses).
"""

import codecs
import io
import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import BinaryIO

BLOCK = 1 << 20  # bytes read at a time
HEAD = 4096  # bytes that are searched for UTF-16 without a byte order mark
ESCAPED = re.compile("[\udc80-\udcff]")  # how errors="surrogateescape" represents bytes that are not UTF-8
# UTF-32 first: its mark begins with that of UTF-16
_MARKS = {codecs.BOM_UTF32_LE: ("utf-32-le", "UTF-32"), codecs.BOM_UTF32_BE: ("utf-32-be", "UTF-32"),
          codecs.BOM_UTF16_LE: ("utf-16-le", "UTF-16"), codecs.BOM_UTF16_BE: ("utf-16-be", "UTF-16")}
_ISO_2022 = re.compile(rb"\x1b\$[@B].*?\x1b\([BJ]", re.DOTALL)  # into JIS X 0208 and back
_NOT_C1 = bytes({*range(256)} - {*range(0x80, 0xA0)})
_NOT_CP1252 = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
_ASCII = bytes(range(128))
_TEXT = bytes({*range(0x20, 0x7F)} | {*b"\t\n\r"})
_OTHERS = ["cp1250", "iso8859_2", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp866", "cp932",
           "euc_jp", "cp949", "gb18030", "big5"]  # what tables come in besides UTF-8 and cp1252
# The letters beyond ASCII of French, German, Spanish with Catalan, Portuguese, Italian, Dutch, Swedish with Finnish,
# Danish with Norwegian, Icelandic. charset-normalizer sometimes takes texts in these for Central European ones.
_WESTERN = tuple(map(frozenset, ("àâæçéèêëîïôœùûüÿ", "äöüßé", "áéíñóúüàçèïò", "ãáàâçéêíóôõúü", "àèéìíîòóùú",
                                 "ëéèïöüáóí", "åäöéü", "æøåéóôòü", "áðéíóúýþæö")))
_NO_LETTERS = re.compile("[^\\W\\d_][±¶¹³¼¾¿]")  # behind a letter: what Polish letters look like in cp1252 and latin-1
_WIDE = ("cp932", "euc_jp", "cp949", "gb18030", "big5")  # of two bytes a character
_ACCENT = re.compile(rb"[A-Za-z]{2}[\x80-\xff](?![\x80-\xff])|(?<![\x80-\xff])[\x80-\xff][A-Za-z]{2}")  # in a word
_EVIDENCE = 10  # non-ASCII bytes below which only cp1252 and latin-1 are considered
_CLEARLY = 0.1  # by which another encoding's coherence must exceed that of cp1252
_SAMPLE = 1 << 16  # bytes of lines with non-ASCII bytes that are examined


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file. `why` is "" for plain UTF-8, which needs no explanation."""

    codec: str
    name: str  # for messages
    why: str = ""
    start: int = 0  # length of the byte order mark in bytes
    partly: bool = False  # UTF-8 except for some bytes

    @property
    def note(self) -> str:
        """A message about the encoding, "" for plain UTF-8."""
        return f"{self.name}: {self.why}" if self.why else ""

    def unreadable(self, text: str) -> str:
        """Why a decoded text cannot be used, "" if it can: bytes in it are not in this encoding."""
        return f"not {self.name}" if self.partly and ESCAPED.search(text) else ""


def encoding_of(file: BinaryIO) -> Encoding:
    """By the byte order mark, otherwise by the NULs of UTF-16, otherwise UTF-8 if valid, otherwise by the letters.

    A file in which non-ASCII characters in UTF-8 outnumber the bytes that are not UTF-8 still counts as UTF-8.
    """
    head = file.read(HEAD)
    for mark, (codec, name) in _MARKS.items():
        if head.startswith(mark):
            return Encoding(codec, name, "detected by its byte order mark", len(mark))
    if codec := _unmarked_utf32(head) or _unmarked_utf16(head):
        return Encoding(codec, codec[:6].upper(), "detected by its NUL bytes, as it has no byte order mark")
    if _ISO_2022.search(head):
        return Encoding("iso2022_jp", "ISO-2022-JP", "detected by its escape sequences")
    file.seek(0)
    return _by_its_bytes(file, len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)


def decoded(data: bytes) -> tuple[str, Encoding]:
    """The text of a small file, without its byte order mark. If `partly`, invalid bytes are escaped as surrogates."""
    encoding = encoding_of(io.BytesIO(data))
    errors = "replace" if encoding.codec.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = data[encoding.start:].decode(encoding.codec, errors)
    return text, replace(encoding, partly=encoding.partly or bool(_escaped(text)))


def decode_lines(data: bytes) -> tuple[list[str], Encoding]:
    """The lines of bytes, such as those of standard input, decoded as files are, without their ends, and the encoding.

    Lines end as in files: by \\n, \\r\\n, or \\r if there is no other. A line for which `encoding.unreadable` returns a
    reason has bytes that are not in the encoding.
    """
    text, encoding = decoded(data)
    text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else [], encoding


def decode_paths(data: bytes) -> list[str]:
    """The lines of bytes as paths, as `os.fsdecode` makes them, because names of files may be in any encoding; those of
    UTF-16 or UTF-32, which no path is in, decoded. Ends of lines as for `decode_lines`."""
    lines, encoding = decode_lines(data)
    if encoding.codec.startswith("utf"):  # invalid bytes are surrogates, as for `os.fsdecode`
        return lines
    return data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").removesuffix("\n").split("\n")


def _unmarked_utf32(head: bytes) -> str:
    """The codec if the bytes are characters in UTF-32, which no other text is; otherwise ""."""
    for codec in ("utf-32-le", "utf-32-be"):
        try:
            text = head[:len(head) // 4 * 4].decode(codec)
        except UnicodeDecodeError:
            continue
        if text and "\0" not in text:
            return codec
    return ""


def _unmarked_utf16(head: bytes) -> str:
    """The codec if every other byte is NUL, as for ASCII characters in UTF-16; otherwise "". Where all other bytes are
    ASCII text, a few NULs are not enough: they may be in the text."""
    ascii_text = not head.translate(None, _TEXT + b"\0")
    for codec, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        nuls, others = head[high::2].count(0), head[low::2].count(0)
        header = len(head) >= 8 and not any(head[high:8:2]) and all(head[low:8:2])  # ASCII, whatever follows it
        clean = bool(nuls) and not others and not ascii_text and _is_clean(head, codec)
        least = len(head) // 2 - 1 if ascii_text else 0.15 * len(head) / 2
        if header or clean or (nuls > least and others < 0.1 * nuls and 0 in head[high:8:2]):
            try:
                codecs.getincrementaldecoder(codec)().decode(head)
            except UnicodeDecodeError:
                continue
            return codec
    return ""


def _is_clean(head: bytes, codec: str) -> bool:
    """Whether bytes are lines in UTF-16, of any script: with an end of a line, and without control characters and
    characters that do not exist."""
    text = head[:len(head) // 2 * 2].decode(codec, "replace")[:-1]
    return "\n" in text and not any(unicodedata.category(mark) in ("Cn", "Co") or (
        unicodedata.category(mark) == "Cc" and mark not in "\t\r\n\f") for mark in text)


@dataclass
class _Tally:
    """What a pass over the blocks of a file counts."""

    done: int = 0  # bytes
    good: int = 0  # non-ASCII characters in UTF-8
    bad: int = 0  # bytes that are not UTF-8
    first: str = ""  # a description of the first of them
    odd: set[int] = field(default_factory=set)  # bytes from 0x80 to 0x9f
    sample: bytearray = field(default_factory=bytearray)  # lines with bytes that are not UTF-8

    def add(self, block: bytes, text: str) -> None:
        """Count a block that begins in the middle of a character or between two, and its text."""
        if text.isascii():
            self.done += len(text)
            return
        wrong = _escaped(text)
        self.good += len(text) - len(text.encode("ascii", "ignore")) - len(wrong)
        self.bad += len(wrong)
        if wrong:
            self.odd.update(block.translate(None, _NOT_C1))
            if not self.first:
                place = self.done + len(text[: text.index(wrong[0])].encode("utf-8", "surrogateescape"))
                self.first = f"byte 0x{ord(wrong[0]) - 0xDC00:02x} at {place:,} is not UTF-8"
            for line in block.splitlines() if len(self.sample) < _SAMPLE else ():
                if not line.isascii() and len(self.sample) < _SAMPLE:
                    self.sample += line[:_SAMPLE] + b"\n"
        self.done += len(text.encode("utf-8", "surrogateescape"))


def _by_its_bytes(file: BinaryIO, start: int) -> Encoding:
    decoder, tally = codecs.getincrementaldecoder("utf-8")("surrogateescape"), _Tally()
    while block := file.read(BLOCK):
        tally.add(block, decoder.decode(block))
    tally.add(b"", decoder.decode(b"", final=True))
    if not tally.bad:
        return Encoding("utf-8", "UTF-8", "with a byte order mark" if start else "", start)
    if tally.good > tally.bad or start:
        more = f", nor are {tally.bad - 1:,} more" if tally.bad > 1 else ""
        return Encoding("utf-8", "UTF-8", f"but {tally.first}{more}", start, partly=True)
    usual = "cp1252" if tally.odd and not tally.odd & _NOT_CP1252 else "latin-1"
    better = _by_letters(bytes(tally.sample), usual)
    if not better:
        odd = "; it has control characters in this encoding, so it is probably in another one: save it as UTF-8"
        return Encoding(usual, usual, tally.first + odd * bool(tally.odd and usual == "latin-1"))
    codec, *others = better
    if codec in ("cp1250", "iso8859_2", "cp1254") and _is_western(bytes(tally.sample).decode(usual, "replace").lower()):
        return Encoding(usual, usual, tally.first)
    if codec == "cp1250" and not tally.odd:  # in which Polish and Czech have some of these bytes
        codec = "iso8859_2"
    also = f" (it could also be {' or '.join(others)})" if others else ""
    return Encoding(codec, codec, f"{tally.first}; detected by its letters{also}")


def _is_western(text: str) -> bool:
    """Whether the letters beyond ASCII are all from one western European language."""
    letters = {mark for mark in text if mark.isalpha() and not mark.isascii()} - set("ªº")
    return any(letters <= alphabet for alphabet in _WESTERN) and not _NO_LETTERS.search(text)


def _by_letters(sample: bytes, usual: str) -> list[str]:
    """The encodings that charset-normalizer finds clearly better than `usual`, the best and those as good."""
    if len(sample.translate(None, _ASCII)) < _EVIDENCE:
        return []
    if _is_japanese(sample):
        return ["cp932"]
    import charset_normalizer  # takes a moment, and most files do not need it

    accents = len(_ACCENT.findall(sample)) > 0.25 * len(sample.translate(None, _ASCII))
    others = [codec for codec in _OTHERS if not (accents and codec in _WIDE)]
    matches = list(charset_normalizer.from_bytes(sample, cp_isolation=["cp1252", *others]))
    scores = {match.encoding: match.coherence for match in matches}
    best = next((match for match in matches if match.encoding in _WIDE or (
        match.encoding != "cp1252" and match.coherence >= _CLEARLY)), None)
    least = scores["cp1252"] + _CLEARLY if "cp1252" in scores else 0.0
    if best is None or str(best) == sample.decode(usual, "replace") or best.coherence < least:
        return []
    return [match.encoding for match in matches
            if (match.coherence, match.chaos) == (best.coherence, best.chaos) and match.encoding != "cp1252"]


def _is_japanese(sample: bytes) -> bool:
    """Whether bytes are Shift JIS: hiragana, which every Japanese text has, and which texts in other encodings hardly
    become. charset-normalizer takes short ones for Korean."""
    letters = [mark for mark in sample.decode("cp932", "replace") if not mark.isascii()]
    kana = sum("\u3041" <= mark <= "\u3096" for mark in letters)
    return kana > 0.2 * len(letters) and letters.count("\ufffd") < 0.01 * len(letters)


def _escaped(text: str) -> list[str]:
    try:
        text.encode()  # the fastest test
    except UnicodeEncodeError:
        return ESCAPED.findall(text)
    return []
