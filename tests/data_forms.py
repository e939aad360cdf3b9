"""The forms in which data may come: what each looks like, a function that writes a data set in it, and what has to be
read from that. Here is what they share; the forms are in `table_forms`, `folder_forms` and `image_forms`, and what is
refused in `refused_forms`.

`test_whole_data` writes random data sets and reads them back; `docs/data_forms.py` writes a small one and shows it.
"""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from kerastl.data.options import READ_AS_USUAL, ReadOptions

Variant = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a data set. item: a text, a pair of texts, or an image. split: train, validation, test or ""."""

    item: Any
    labels: tuple[str, ...]
    group: str = ""
    split: str = ""


@dataclass(frozen=True)
class Written:
    """A data set in files. rows: as they have to be read. says: what has to be printed while reading. refusal: a
    message that may come instead of the rows."""

    source: Path
    rows: Sequence[Row]
    options: ReadOptions = READ_AS_USUAL
    says: tuple[str, ...] = ()
    refusal: str = ""


def _same(text: str, variant: Variant) -> str:
    return text


@dataclass(frozen=True)
class Form:
    """A form that data may have.

    about: in plain words. write: folder, rows and one value of each variant -> what was written. variants: in what
    instances of the form differ; the first values are those of the example in the documentation. item: text, pair or
    image. several: whether rows have several labels. splits: whether "no", "some" or "all" rows may have one. text,
    label: what has to be changed in a text or label so that this form can hold it. words: only texts in a legacy
    encoding. limits: what the form cannot hold, in plain words.
    """

    name: str
    about: str
    write: Callable[..., Written]
    variants: Variant = field(default_factory=dict)
    item: str = "text"
    several: bool = False
    groups: bool = True
    splits: str = "some"
    text: Callable[[str, Variant], str] = _same
    label: Callable[[str, Variant], str] = _same
    words: bool = False
    limits: str = ""


def encoded(text: str, codec: str) -> bytes:
    """A text in an encoding, with a byte order mark if its name says so."""
    name, _, mark = codec.partition(" ")
    return ("\ufeff" * bool(mark) + text).encode(name)


# What labels have to become


def plain(label: str) -> str:
    """The label that data and models use, as the page on data describes it: NFC, a blank for control characters and
    line breaks, no invisible characters, no blanks at its ends."""
    marks = [mark for is_break, run in groupby(unicodedata.normalize("NFC", label), _is_break)
             for mark in (" " if is_break else run) if mark not in "\u00ad\u200b\u2060\ufeff"]
    while marks and _is_outer(marks[0]):
        marks.pop(0)
    while marks and _is_outer(marks[-1]):
        marks.pop()
    return "".join(marks)


def _is_break(mark: str) -> bool:
    return unicodedata.category(mark) in ("Cc", "Zl", "Zp")


def _is_outer(mark: str) -> bool:
    return mark.isspace() or mark in "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def says_of_labels(rows: Iterable[Row]) -> tuple[str, ...]:
    """What has to be printed of labels that are not in their normal form."""
    changed = any(plain(label) != label for row in rows for label in row.labels)
    return ("labels in normal form",) * changed


def whole_labels(rows: Iterable[Row]) -> ReadOptions:
    """The options by which labels with bars are whole: none is needed unless their parts occur in other labels."""
    labels = {label for row in rows for label in row.labels}
    parts = [{plain(part) for part in label.split("|")} for label in labels]
    apart = all(not (a & b) for i, a in enumerate(parts) for b in parts[:i])
    return READ_AS_USUAL if apart else ReadOptions(multi_label="off")


# Tables: columns and cells

NAMES = ({"text": "text", "label": "label"}, {"text": "Review", "label": "Sentiment"},
         {"text": "was sagt er?", "label": 'Urteil "kurz"', "group": "Autor", "split": "Teil"})
SPELLINGS = ({"train": "train", "validation": "validation", "test": "test"},
             {"train": "Training", "validation": "Val", "test": "holdout"},
             {"train": "TRAIN", "validation": "dev", "test": "test set"},
             {"train": "training-set", "validation": " valid ", "test": "Testing"})
COLUMNS: Variant = {"names": NAMES, "spelling": SPELLINGS, "order": (1, -1), "more": (False, True)}


@dataclass(frozen=True)
class Cells:
    """The cells of a table. roles: of each column; None for one without a role. options: that name the columns."""

    names: list[str]
    roles: list[str | None]
    rows: list[list[Any]]
    options: ReadOptions


def cells_of(rows: Sequence[Row], names: Mapping[str, str] = NAMES[0], spelling: Mapping[str, str] = SPELLINGS[0],
             order: int = 1, more: bool = False, label: Callable[[tuple[str, ...]], Any] = lambda labels: labels[0],
             item: str = "text") -> Cells:
    """Rows as cells. label: makes a cell of a row's labels. item: the role of the texts or paths."""
    roles: list[str | None] = [item] if isinstance(rows[0].item, str) else ["text", "text"]
    roles += ["label", *["group"] * any(row.group for row in rows), *["split"] * any(row.split for row in rows)]
    titles = [names.get(role or "", role or "") for role in roles]
    if roles[1] == "text":
        titles[:2] = "sentence1", "sentence2"
    table = [[*([row.item] if roles[1] != "text" else row.item), label(row.labels), row.group,
              spelling.get(row.split, "")] for row in rows]
    table = [[cell for cell, role in zip(line, ["text"] * (len(line) - 3) + ["label", "group", "split"], strict=True)
              if role == "text" or role in roles] for line in table]
    if more:
        roles, titles = [None, *roles], ["number", *titles]
        table = [[str(100 + i), *line] for i, line in enumerate(table)]
    options = whole_labels(rows)
    if "group" in names:  # such names mean nothing to kerastl
        named = {role: title for role, title in zip(roles, titles, strict=True) if role}
        options = replace(options, **{f"{role}_column": title for role, title in named.items()
                                      if not (role == "text" and "sentence1" in titles)})
    return Cells(titles[::order], roles[::order], [line[::order] for line in table], options)
