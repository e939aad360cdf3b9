"""Rows as a source has them, and how they become examples: labels, groups, class numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.examples import Examples, LeftOut, enough

SIDES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
         "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One row as the source has it."""

    origin: str
    path: Path
    labels: tuple[str, ...]
    group: str = ""
    side: str = ""


def examples_of(source: str, rows: list[tuple[Row, str]], left_out: tuple[LeftOut, ...], min_per_class: int
                ) -> Examples:
    """Rows, each with its content's hash, as columns; classes are the labels in alphabetical order.

    Raises DataError when fewer than two classes have `min_per_class` rows.
    """
    several = are_sets(row for row, _ in rows)
    names = [tuple(name for name in row.labels if name) or (() if several else row.labels) for row, _ in rows]
    classes = tuple(sorted({name for some in names for name in some}))
    number = {name: i for i, name in enumerate(classes)}
    if several:
        targets = np.zeros((len(rows), len(classes)), dtype=np.int64)
        for row, some in enumerate(names):
            targets[row, [number[name] for name in some]] = 1
    else:
        targets = np.array([number[some[0]] for some in names], dtype=np.int64)
    return enough(Examples(
        kind="image", source=source, items=tuple(str(row.path) for row, _ in rows),
        origins=tuple(row.origin for row, _ in rows), ids=tuple(h for _, h in rows),
        groups=_groups(rows), given=tuple(row.side for row, _ in rows),
        classes=classes, targets=targets, left_out=left_out, min_per_class=min_per_class,
    ))


def _groups(rows: list[tuple[Row, str]]) -> tuple[str, ...]:
    """Each row's group: the user's, else its content's hash. Groups that share a content are one, called by the first
    of their names, so that exact duplicates share a side whatever the groups."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for row, content in rows:
        group, other = top(row.group or content), top(content)
        if group != other:
            known = other != content  # the content came with another group before
            low, high = sorted((group, other)) if known else (group, other)
            above[high] = low
    return tuple(top(row.group or content) for row, content in rows)


def are_sets(rows: Iterable[Row]) -> bool:
    """Whether a row may have several labels: when any row's came as a list of some."""
    return any(row.labels[0] == "" and row.labels != ("",) for row in rows)


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
