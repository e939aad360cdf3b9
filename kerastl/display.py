"""Names and texts from data, made safe to show and to write.

A file name or a label may contain anything: escape sequences that a terminal obeys, marks that reverse the direction of
what follows, line ends that break a table, or the beginning of a spreadsheet's formula.
"""

import re
from typing import Any

# Control characters; line and paragraph separators; marks that change the direction of text; characters without width
# (except the joiners of emoji and scripts); surrogates, which cannot be encoded.
_UNSAFE = ("\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
           "\ud800-\udfff")
_SHOWN = re.compile(f"[{_UNSAFE}]")
_CELL = re.compile(f"[\t\n{_UNSAFE}]")
# A file may hold line ends and tabs, which CSV quotes, and the marks that Arabic and Hebrew are written with.
_WRITTEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u206f]")
MIRROR = "/mirror-of/"  # in the paths of files that were fetched from an object store: see files/addresses.py
_MIRRORED = re.compile(rf"[^\s'\"(=]*{MIRROR}(s3|gs|memory)/")
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # also in full width


def visible(text: str) -> str:
    """Text for the terminal or a page, over several lines: characters that are obeyed or not seen are escaped, as in
    `\\x1b`. Line ends and tabs stay. A path of a file that was fetched is shown as the URL that it stands for."""
    return _SHOWN.sub(_escaped, _MIRRORED.sub(r"\1://", text) if MIRROR in text else text)


def visible_cell(text: str) -> str:
    """As `visible`, in one line: line ends and tabs are escaped too."""
    return _CELL.sub(_escaped, text)


def writable(text: str) -> str:
    """Text for a file that people look at: as `visible`, but only what a terminal obeys and what reverses text."""
    return _WRITTEN.sub(_escaped, text)


def excerpt_of(text: str, most: int) -> str:
    """The beginning of a text of the data, to be looked at, in at most so many characters: line ends as `\\n`, and no
    white space around it, such as the `\\r` that a file from Windows leaves behind."""
    text = text.replace("\r\n", "\n").strip()
    return text if len(text) <= most else f"{text[:most]} …"


def visible_json(document: str) -> str:
    """A JSON document whose strings have the same values, with the same characters escaped as JSON does."""
    return _SHOWN.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def begins_a_formula(text: str) -> bool:
    """Whether a spreadsheet would take a cell for a formula."""
    return _FORMULA.match(text) is not None


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file that people open: a text as `writable`, and `without_formula`; a number as it is."""
    return without_formula(writable(value)) if isinstance(value, str) else value


def without_formula(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: where it would, with an apostrophe in front. A text that has such
    apostrophes already gets one more, so that `with_formula` gives every text back.
    See https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{text}" if begins_a_formula(text.lstrip("'")) else text


def with_formula(cell: str) -> str:
    """The text that `without_formula` was given."""
    return cell[1:] if cell.startswith("'") and begins_a_formula(cell.lstrip("'")) else cell


def _escaped(match: "re.Match[str]") -> str:
    number = ord(match[0])
    names = {9: "\\t", 10: "\\n", 13: "\\r"}
    return names.get(number) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
