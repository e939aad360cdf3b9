"""Rows as a source contains them, and how they become examples: labels, groups, class numbers."""

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples, SkippedRows
from kerastl.data.spool import Hashes, Spool
from kerastl.errors import DataError
from kerastl.inputs import Text
from kerastl.modality import Modality
from kerastl.tasks import task_of_labels

SPLIT_NAMES = {  # names of splits in sources, in lower case -> ours
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test"}

UNLABELLED: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source."""

    origin: str
    item: Text  # the path of an image, or a text
    labels: tuple[str, ...]  # from `labels_in`, or UNLABELLED
    group: str = ""
    split: str = ""  # the split that the source specifies


def examples_of(modality: Modality, source: str, rows: Iterable[tuple[Row, bytes]], skipped: SkippedRows,
                min_per_class: int, notes: Sequence[str] = (), items: Spool[Text] | None = None,
                origins: Spool[str] | None = None) -> Examples:
    """Rows, each with the 16 bytes of its content hash, as columns. Classes are the labels in alphabetical order.

    rows: may be a stream that adds to `skipped` and `notes` while it is read. items, origins: empty columns to fill
    instead of tuples, for columns that should not be held in memory. Small classes are still part of the result: see
    `enough`.
    """
    known: dict[tuple[str, ...], int] = {}  # each distinct set of labels, with its number
    codes, hashes, groups, splits = array("i"), bytearray(), list[str](), list[str]()
    item_list, origin_list = list[Text](), list[str]()
    add_item = item_list.append if items is None else items.append
    add_origin = origin_list.append if origins is None else origins.append
    for row, content in rows:
        add_item(row.item)
        add_origin(printable(row.origin))
        codes.append(known.setdefault(tuple(map(printable, row.labels)), len(known)))
        hashes += content
        if row.group or groups:
            groups += [""] * (len(codes) - 1 - len(groups)) + [row.group]
        if row.split or splits:
            splits += [""] * (len(codes) - 1 - len(splits)) + [row.split]
    code = np.array(codes, dtype=np.int32)
    compact = Hashes(np.frombuffer(hashes, np.uint8).reshape(-1, 16))
    ids = tuple(compact) if items is None else compact
    classes, targets = _targets(list(known), code)
    examples = Examples(
        modality=modality, source=source, items=tuple(item_list) if items is None else items,
        origins=tuple(origin_list) if origins is None else origins,
        ids=ids, groups=_groups(groups, ids), source_split=tuple(splits) or ("",) * len(ids), classes=classes,
        targets=targets, min_per_class=min_per_class,
    )
    empty_lists = np.flatnonzero(code == known.get(("",), -1))
    if len(empty_lists) and examples.task.exclusive:  # with one label per row, an empty list is a missing label
        for row_number in empty_lists:
            skipped.add(examples.origins[row_number], "no label")
        examples = examples.take(np.setdiff1d(np.arange(len(examples)), empty_lists))
    return replace(examples, skipped=skipped.listed(), notes=tuple(notes))


def _targets(known: list[tuple[str, ...]], code: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes and targets. known: the distinct sets of labels; code: the number of each row's set, [rows]."""
    names = [tuple(name for name in labels if name) if labels else ("",) for labels in known]
    classes = tuple(sorted({name for labels in names for name in labels}))
    number = {name: i for i, name in enumerate(classes)}
    task = task_of_labels([len(labels) for labels in known])
    return classes, task.targets_of([[number[name] for name in labels] for labels in names], len(classes))[code]


def _groups(groups: list[str], ids: tuple[str, ...] | Hashes) -> tuple[str, ...] | Hashes:
    """The group of each row: the one in the source, if it has groups, otherwise its content hash. Groups that share a
    content are joined under the first of their names, so that exact duplicates are never split."""
    if not groups:
        return ids
    joined: dict[str, str] = {}  # the name of a group -> that of the group it was joined to

    def name_of(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for group, content in zip(groups, ids, strict=True):
        name, other = name_of(group or content), name_of(content)
        if name != other:
            known = other != content  # the content occurred in another group before
            first, second = sorted((name, other)) if known else (name, other)
            joined[second] = first
    return tuple(name_of(group or content) for group, content in zip(groups, ids, strict=True))


def printable(name: str) -> str:
    """A name that can be encoded: lone surrogates, which file names and JSON may contain, become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", name)


def labels_in(label: Any) -> tuple[str, ...] | None:
    """The labels in a cell; None if there are none. A list, even an empty one, or `a|b` means several labels."""
    if isinstance(label, list | tuple):
        return ("", *(str(name) for name in label))  # the "" in front marks a list
    text = cell(label)
    if not text:
        return None
    return ("", *(part.strip() for part in text.split("|") if part.strip())) if "|" in text else (text,)


def cell(value: Any) -> str:
    """A cell as text, "" for None and NaN, which is not equal to itself. The number 0 is not empty."""
    return "" if value is None or value != value else str(value).strip()


def split_in(where: str, origin: str, value: Any) -> str:
    """The split in a cell of a split column, "" if it is empty. Raises DataError for an unknown name."""
    name = cell(value).lower()
    if name and name not in SPLIT_NAMES:
        raise DataError(f"{where}, {origin}: split {name!r}", f"one of {', '.join(SPLIT_NAMES)}, or an empty cell",
                        "correct the split column")
    return SPLIT_NAMES.get(name, "")
