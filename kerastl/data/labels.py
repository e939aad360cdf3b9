"""Labels as text: one normal form, which labels look alike, which of them mean that there is none, and several in one
cell.
"""

import ast
import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import combinations

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # control characters and everything that ends a line
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")  # zero-width characters without a meaning inside a word
_JOINING = "\u200c\u200d\u200e\u200f\u202a-\u202e\u2066-\u2069"  # with a meaning inside a word, none at its ends
_ENDS = re.compile(rf"^[\s{_JOINING}]+|[\s{_JOINING}]+$")
_BETWEEN = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")  # what separates the words of a name
LIST = "list"  # as what separates the labels in a cell: it is a list, written as text
MARKS = {LIST: "in a list", "|": "joined by a bar", ";": "joined by a semicolon", ",": "joined by a comma"}
_NO_COMMA = re.compile(r"""['"]\s+['"]""")  # between the strings of an array of NumPy, which Python would join
_BOOLEANS = {"true": "1", "false": "0"}
_NO_LABEL = {"-1", "nan", "none", "null", "nil", "n/a", "na", "<na>", "#n/a", "?", "undefined", "unlabeled",
             "unlabelled", "not labeled", "not labelled", "unsup", "unsupervised"}
_AMOUNTS = 20  # different numbers, from which they are hardly names of classes
_MOST = 300  # classes whose names are compared with each other
_CLOSE, _FEWEST = 0.9, 5  # similarity, and length, from which two names may be a spelling mistake


def normal_form(label: str) -> str:
    """The label that data and models use: Unicode NFC, control characters and line breaks as blanks, without outer
    blanks and zero-width characters. So each name is one line for every client."""
    text = re.sub("[\ud800-\udfff]", "\ufffd", label)
    return _ENDS.sub("", _INVISIBLE.sub("", _BREAKS.sub(" ", unicodedata.normalize("NFC", text))))


def look(label: str) -> str:
    """What labels that look alike share: `Spam` and `spam`, `1`, `1.0` and `True`, full-width and usual characters,
    `a_b`, `a-b` and `a b`."""
    text = unicodedata.normalize("NFKC", normal_form(label)).casefold()
    text = "".join(mark for mark in text if unicodedata.category(mark) != "Cf" and mark != "\ufe0f").strip()
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    try:
        return f"{float(text):.12g}" if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text) else \
            _BETWEEN.sub(" ", text)
    except OverflowError:
        return text


def look_alikes(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The classes that look alike, two or more each."""
    return tuple(tuple(names) for names in _by_form(look, classes).values() if len(names) > 1)


def similar(classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of classes that may be one with a spelling mistake, the closest first: long names that differ in a few
    letters, not only in digits. Empty for very many classes."""
    pairs = []
    for a, b in combinations(classes if len(classes) <= _MOST else (), 2):
        if min(len(a), len(b)) >= _FEWEST and look(a) != look(b) and re.sub(r"\d", "", a) != re.sub(r"\d", "", b):
            match = difflib.SequenceMatcher(None, a.casefold(), b.casefold())
            if match.real_quick_ratio() >= _CLOSE and match.ratio() >= _CLOSE:
                pairs.append((match.ratio(), (a, b)))
    return tuple(pair for _, pair in sorted(pairs, key=lambda entry: -entry[0]))


def amounts(classes: Collection[str]) -> bool:
    """Whether classes are most probably amounts, such as prices: many numbers, nearly all with decimals."""
    decimals = sum(bool(re.fullmatch(r"[+-]?\d*\.\d*[1-9]\d*(e[+-]?\d+)?", name.strip())) for name in classes)
    return len(classes) >= _AMOUNTS and decimals >= 0.8 * len(classes)


def means_none(label: str) -> bool:
    """Whether a label usually means that there is none, such as -1, nan, NULL or ?."""
    return look(label) in _NO_LABEL


def no_labels(value: str | None) -> frozenset[str]:
    """The labels that `no_label` names, in normal form: the whole value, and its parts between commas."""
    if value is None:
        return frozenset()
    return frozenset(normal_form(part) for part in (value, *value.split(",")))


def raw_parts(label: str, mark: str = "|") -> tuple[str, ...]:
    """The labels in `a|b`, or in the list `["a", "b"]`, as they are. mark: what separates them, LIST or a character."""
    listed = list_in(label) if mark == LIST else [part.strip() for part in label.split(mark)]
    return (label,) if listed is None else tuple(listed)


def parts_of(label: str, mark: str = "|") -> tuple[str, ...]:
    """The same, in normal form, without empty ones."""
    return tuple(filter(None, map(normal_form, raw_parts(label, mark))))


def list_in(label: str) -> list[str] | None:
    """The labels of a list that is written in a cell, by JSON or Python; None if the cell is not one."""
    text = label.strip()
    if not (text.startswith("[") and text.endswith("]")) or _NO_COMMA.search(text):
        return None
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return [str(value) for value in values] if all(isinstance(value, str | int | float) for value in values) else None


def certainly_several(labels: Collection[str], mark: str = "|") -> bool:
    """Whether `a|b` certainly means several labels: the parts recombine. Each label with a bar shares a part with
    another one, and a part occurs at several places, unlike in `Hardware | Software` and `Home | Garden`. If each cell
    is a list (LIST), they are several too. labels: the distinct ones."""
    if mark == LIST:
        return bool(labels) and all(list_in(label) is not None for label in labels)
    cells = [parts_of(label, mark) for label in sorted(labels)]
    joined = [parts for label, parts in zip(sorted(labels), cells, strict=True) if mark in label]
    if len(joined) < 2:
        return False
    cells_of, places_of = dict[str, int](), dict[str, set[int]]()
    for parts in cells:
        for place, name in enumerate(parts):
            places_of.setdefault(name, set()).add(place)
        for name in set(parts):
            cells_of[name] = cells_of.get(name, 0) + 1
    shared = all(any(cells_of[name] > 1 for name in parts) for parts in joined)
    return shared and any(len(places) > 1 for places in places_of.values())


def matched(classes: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """The class of a model that each class of new data is: the same name, the same normal form, or, where it is the
    only one on both sides, one that looks alike. A class without one is missing."""
    classes = tuple(classes)
    pairs = {name: name for name in classes if name in known}
    for form in (normal_form, look):
        taken = set(pairs.values())
        theirs, ours = (_by_form(form, names) for names in (
            [name for name in classes if name not in pairs], [name for name in known if name not in taken]))
        pairs |= {names[0]: ours[key][0] for key, names in theirs.items()
                  if len(names) == 1 and len(ours.get(key, ())) == 1}
    return pairs


def _by_form(form: Callable[[str], str], names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(form(name), []).append(name)
    return groups
