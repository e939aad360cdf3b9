"""Rows as a source has them, and how they become examples: labels, groups, class numbers."""

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, SkippedRows
from kerastl.data.spool import Hashes, Spool, Text
from kerastl.errors import DataError
from kerastl.modality import Modality

SIDES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
         "dev": "validation", "test": "test"}

UNLABELLED: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the source has it."""

    origin: str
    item: Text  # an image's path, or a text
    labels: tuple[str, ...]  # as `labels_in` gives them, or UNLABELLED
    group: str = ""
    side: str = ""


def examples_of(modality: Modality, source: str, rows: Iterable[tuple[Row, bytes]], skipped: SkippedRows,
                min_per_class: int, notes: Sequence[str] = (), items: Spool[Text] | None = None,
                origins: Spool[str] | None = None) -> Examples:
    """Rows, each with the 16 bytes of its content's hash, as columns; classes are the labels in alphabetical order.

    `rows` may come in a stream that adds to `skipped` and `notes`. items, origins: empty columns for what had better
    not be held in memory. Small classes are still in what is returned: see `enough`.
    """
    known: dict[tuple[str, ...], int] = {}
    codes, hashes, groups, given = array("i"), bytearray(), list[str](), list[str]()
    held_items, held_origins = list[Text](), list[str]()
    keep_item = held_items.append if items is None else items.append
    keep_origin = held_origins.append if origins is None else origins.append
    for row, content in rows:
        keep_item(row.item)
        keep_origin(printable(row.origin))
        codes.append(known.setdefault(tuple(map(printable, row.labels)), len(known)))
        hashes += content
        if row.group or groups:
            groups += [""] * (len(codes) - 1 - len(groups)) + [row.group]
        if row.side or given:
            given += [""] * (len(codes) - 1 - len(given)) + [row.side]
    code = np.array(codes, dtype=np.int32)
    compact = Hashes(np.frombuffer(hashes, np.uint8).reshape(-1, 16))
    ids = tuple(compact) if items is None else compact
    classes, targets = _targets(list(known), code)
    made = Examples(
        modality=modality, source=source, items=tuple(held_items) if items is None else items,
        origins=tuple(held_origins) if origins is None else origins,
        ids=ids, groups=_groups(groups, ids), given=tuple(given) or ("",) * len(ids), classes=classes, targets=targets,
        min_per_class=min_per_class,
    )
    nothing = np.flatnonzero(code == known.get(("",), -1))
    if len(nothing) and not made.multi_label:  # then an empty list is no label, not the empty set
        for place in nothing:
            skipped.add(made.origins[place], "no label")
        made = made.take(np.setdiff1d(np.arange(len(made)), nothing))
    return replace(made, skipped=skipped.listed(), notes=tuple(notes))


def _targets(known: list[tuple[str, ...]], code: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes and targets. known: the different labels there are; code: which of them each row has, [rows]."""
    names = [tuple(name for name in labels if name) if labels else ("",) for labels in known]
    classes = tuple(sorted({name for some in names for name in some}))
    number = {name: i for i, name in enumerate(classes)}
    if any(len(labels) > 1 for labels in known):
        hot = np.zeros((len(known), len(classes)), dtype=np.int64)
        for row, some in enumerate(names):
            hot[row, [number[name] for name in some]] = 1
        return classes, hot[code]
    return classes, np.array([number[some[0]] if some else 0 for some in names], dtype=np.int64)[code]


def _groups(groups: list[str], ids: tuple[str, ...] | Hashes) -> tuple[str, ...] | Hashes:
    """Each row's group: the user's, if there are any, else its content's hash. Groups that share a content are one,
    called by the first of their names, so that exact duplicates share a side whatever the groups."""
    if not groups:
        return ids
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for given, content in zip(groups, ids, strict=True):
        group, other = top(given or content), top(content)
        if group != other:
            known = other != content  # the content came with another group before
            low, high = sorted((group, other)) if known else (group, other)
            above[high] = low
    return tuple(top(given or content) for given, content in zip(groups, ids, strict=True))


def printable(name: str) -> str:
    """A name that can be written down: what of a file's name, or of JSON, is no character becomes U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", name)


def labels_in(label: Any) -> tuple[str, ...] | None:
    """The labels of a cell; None when there is none. A list, even an empty one, or `a|b` means several."""
    if isinstance(label, list | tuple):
        return ("", *(str(one) for one in label))  # the leading "" marks a list
    text = cell(label)
    if not text:
        return None
    return ("", *(part.strip() for part in text.split("|") if part.strip())) if "|" in text else (text,)


def cell(value: Any) -> str:
    """A cell as text, "" where there is nothing: None or NaN, which is not equal to itself. 0 is something."""
    return "" if value is None or value != value else str(value).strip()


def side_in(where: str, origin: str, value: Any) -> str:
    """The side that a split column's cell names, "" where it is empty. Raises DataError for an unknown one."""
    side = cell(value).lower()
    if side and side not in SIDES:
        raise DataError(f"{where}, {origin}: split {side!r}", f"one of {', '.join(SIDES)}, or empty",
                        "mend the split column")
    return SIDES.get(side, "")
