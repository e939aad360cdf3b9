"""The labels of a source's rows as classes and targets: one or several per row, in normal form, and what was decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.labels import LIST, MARKS, certainly_several, list_in, no_labels, normal_form, parts_of, raw_parts
from kerastl.data.options import ReadOptions
from kerastl.tasks import task_of_labels, tasks

_SHOWN = 5  # labels that a note lists


@dataclass(frozen=True)
class LabelSets:
    """The distinct cells of labels, as classes.

    targets: of each distinct cell. labels: one or several per row, and how that was known. unusable: numbers of cells
    whose rows cannot be used, with the reason and whether an argument asked for it.
    """

    classes: tuple[str, ...]
    targets: NDArray[np.int64]
    labels: str
    notes: tuple[str, ...]
    unusable: dict[int, tuple[str, bool]]


def label_sets(cells: Sequence[tuple[str, ...]], rows: NDArray[np.intp], options: ReadOptions, columns: int = 1
               ) -> LabelSets:
    """cells: the distinct ones, from `rows.labels_in`; rows: how often each occurs. columns: how many columns of labels
    the source has; more than one are columns of 0 and 1."""
    notes: list[str] = []
    names, why = _understood(cells, rows, options, notes)
    unusable: dict[int, tuple[str, bool]] = {}
    ignored = no_labels(options.no_label)
    if ignored and not any(name in ignored for labels in names for name in labels):
        notes.append(f"no row has the label {options.no_label!r} of `no_label`")
    for number, labels in enumerate(names):
        rest = tuple(dict.fromkeys(name for name in labels if name not in ignored))
        if labels and not rest:
            unusable[number] = "no label (`no_label`)", True
        names[number] = rest
    other = any(len(labels) != 1 for labels in names)
    several = any(cells) and options.multi_label != "off" and (
        options.multi_label == "on" or (other and (bool(why) or columns > 1))
        or not task_of_labels(list(map(len, names))).exclusive)
    for number, labels in enumerate(names):
        if number not in unusable and cells[number] and not several and len(labels) != 1:
            unusable[number] = "several labels (`multi_label`)" if labels else "no label", False
    usable = [labels if number not in unusable else () for number, labels in enumerate(names)]
    if not any(cells):  # nothing is labelled
        usable = [("",)] * len(cells)
    classes = tuple(sorted({name for labels in usable for name in labels}))
    place = {name: i for i, name in enumerate(classes)}
    task = next(task for task in tasks().values() if not task.exclusive) if several else task_of_labels([1])
    numbers = [[place[name] for name in labels] or ([] if several else [0]) for labels in usable]
    words = _in_words(several, why, cells, columns, options.multi_label, notes)
    return LabelSets(classes, task.targets_of(numbers, len(classes)), words, tuple(notes), unusable)


def _understood(cells: Sequence[tuple[str, ...]], rows: NDArray[np.intp], options: ReadOptions, notes: list[str]
                ) -> tuple[list[tuple[str, ...]], str]:
    """The labels of each cell in normal form, and why rows have several; "" if they have one."""
    scalars = {labels[0]: number for number, labels in enumerate(cells) if len(labels) == 1 and labels[0]}
    mark = _mark(list(scalars), options)
    if not mark:
        _remark_on_marks(list(scalars), options, notes)
    joined = [name for name in scalars if mark and _is_joined(name, mark)]
    raw_names = [raw_parts(labels[0], mark) if len(labels) == 1 and mark else labels for labels in cells]
    names = [tuple(filter(None, map(normal_form, labels))) for labels in raw_names]
    changed = {raw: form for labels in raw_names for raw in labels if (form := normal_form(raw)) != raw}
    if changed:
        pairs = ", ".join(f"{ascii(raw)} as {ascii(form)}" for raw, form in list(changed.items())[:_SHOWN])
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        notes.append("labels in normal form (Unicode NFC, without outer blanks, invisible characters and line "
                     f"breaks): {pairs}{more}")
    if joined:
        count = int(sum(rows[scalars[name]] for name in joined))
        how = "" if options.multi_label == "on" else "; `multi_label=off` keeps such a label whole"
        return names, f"{MARKS[mark]} in {count:,} row{'' if count == 1 else 's'}{how}"
    return names, ""


def _mark(labels: Sequence[str], options: ReadOptions) -> str:
    """What separates several labels in a cell, one of MARKS; "" if a cell is one label. Semicolons and commas do so
    only on request: they are frequent in names."""
    if options.multi_label == "off":
        return ""
    if options.multi_label == "auto":
        return next((mark for mark in (LIST, "|") if certainly_several(labels, mark)), "")
    return next((mark for mark in MARKS if any(_is_joined(label, mark) for label in labels)), "")


def _is_joined(label: str, mark: str) -> bool:
    if mark in (LIST, "|"):
        return list_in(label) is not None if mark == LIST else mark in label
    return len(parts_of(label, mark)) > 1


def _remark_on_marks(labels: Sequence[str], options: ReadOptions, notes: list[str]) -> None:
    """Say which labels look like several, and are read as one."""
    if barred := [name for name in labels if "|" in name]:
        notes.append(f"{_listed(barred)}: the bar is part of the label; `multi_label=on` separates labels at bars")
    elif options.multi_label == "auto":
        for mark in (LIST, ";", ","):
            joined = [name for name in labels if _is_joined(name, mark)]
            if joined and (mark == LIST or certainly_several(labels, mark)):
                notes.append(f"{_listed(joined)}: read as one label each; `multi_label=on` reads them as several, "
                             f"{MARKS[mark]}")
                return


def _in_words(several: bool, why: str, cells: Sequence[tuple[str, ...]], columns: int, multi_label: str,
              notes: list[str]) -> str:
    if not any(cells):
        return "no labels"
    lists = any(labels and labels[0] == "" for labels in cells)
    if not several:
        if (lists or why) and multi_label != "off":
            each = "each row has a 1 in one column" if columns > 1 else "each list contains one label"
            notes.append(f"{each}, so that rows have one label; `multi_label=on` expects several")
        return "one label per row"
    how = why or (f"from {columns} columns of 0 and 1" if columns > 1 else "in a list" if lists else "as requested")
    notes.append(f"several labels per row, {how}")
    return f"several labels per row, {how}"


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
