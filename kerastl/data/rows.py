"""Rows as a source contains them, and how they become examples: labels, groups, class numbers."""

import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Codes, Hashes
from kerastl.data.examples import PARTS, Examples, SkippedRows
from kerastl.data.label_sets import LabelSets, label_sets
from kerastl.data.labels import look_alikes, means_none
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.spool import Spool
from kerastl.data.summary import NOTHING_YET, DataSummary, add_losses
from kerastl.errors import DataError
from kerastl.inputs import Text
from kerastl.modality import Modality

_SPLITS = {
    "train": ("train", "training", "train_set", "training_set", "trainset", "train_data", "training_data"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "validation_set", "val_set", "dev_set",
                   "development"),
    "test": ("test", "testing", "test_set", "testing_set", "testset", "test_data", "holdout", "hold_out"),
}
SPLIT_NAMES = {name: part for part, names in _SPLITS.items() for name in names}  # in sources, in lower case -> ours

_OF_FILES = re.compile("_?(images|imgs|pictures|photos|texts|files|folder|dir|split)$")  # train_images
_NUMBERED = re.compile("^[0-9]+_")  # 01_train, which sorts

UNLABELLED: tuple[str, ...] = ()
YES_OR_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "no": 0, "yes": 1}  # of a column per label


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source."""

    origin: str
    item: Text  # the path of an image, or a text
    labels: tuple[str, ...]  # from `labels_in`, or UNLABELLED
    group: str = ""
    split: str = ""  # the split that the source specifies


def examples_of(modality: Modality, source: str, rows: Iterable[tuple[Row, bytes]], skipped: SkippedRows,
                min_per_class: int, notes: list[str], *, folder: Path | None = None, pairs: bool = False,
                options: ReadOptions = READ_AS_USUAL, summary: DataSummary = NOTHING_YET) -> Examples:
    """Rows, each with the 16 bytes of its content hash, as columns. Classes are the labels in alphabetical order.

    rows: may be a stream that adds to `skipped` and `notes` while it is read. folder: of the temporary files of columns
    that are large. pairs: whether the items are pairs of texts. summary: what was understood so far. Small classes are
    still part of the result: see `enough`.
    """
    items, origins = Spool[Text](folder, pairs), Spool[str](folder)
    known: dict[tuple[str, ...], int] = {}  # each distinct cell of labels, with its number
    known_groups, known_splits = {"": 0}, {"": 0}
    codes, hashes, groups, splits = array("i"), bytearray(), array("i"), array("b")
    for row, content in rows:
        items.append(row.item)
        origins.append(printable(row.origin))
        codes.append(known.setdefault(row.labels, len(known)))
        hashes += content
        groups.append(known_groups.setdefault(row.group, len(known_groups)))
        splits.append(known_splits.setdefault(row.split, len(known_splits)))
    code, group = np.array(codes, np.int32), np.array(groups, np.int32)
    ids = Hashes(np.frombuffer(bytes(hashes), np.uint8).reshape(-1, 16))
    label_columns = sum(column.role == "label" for column in summary.columns)
    sets = label_sets(list(known), np.bincount(code, minlength=len(known)), options, label_columns)
    examples = Examples(
        modality=modality, source=source, items=items, origins=origins, ids=ids,
        groups=_groups(list(known_groups), group, ids),
        source_split=Codes(tuple(known_splits), np.array(splits, np.int8)), classes=sets.classes,
        targets=sets.targets[code], min_per_class=min_per_class, units=_units(list(known_groups), group, ids, summary),
    )
    examples = _without_unusable(examples, code, sets, skipped)
    notes += sets.notes
    return replace(examples, skipped=skipped.listed(), notes=tuple(notes),
                   summary=_summary(examples, summary, sets, skipped, options))


def _without_unusable(examples: Examples, code: NDArray[np.int32], sets: LabelSets, skipped: SkippedRows) -> Examples:
    """Without the rows whose labels cannot be used."""
    unusable = np.flatnonzero(np.isin(code, list(sets.unusable)))
    for row in unusable.tolist():
        reason, requested = sets.unusable[int(code[row])]
        skipped.add(examples.origins[row], reason, requested=requested)
    return examples.take(np.setdiff1d(np.arange(len(examples)), unusable)) if len(unusable) else examples


def _summary(examples: Examples, summary: DataSummary, sets: LabelSets, skipped: SkippedRows, options: ReadOptions
             ) -> DataSummary:
    counts = examples.counts() if sets.classes != ("",) else {}
    skipped.settle(counts)
    losses = add_losses((), skipped.rows)
    parts = {name: examples.source_split.count(name) for name in PARTS} if any(examples.source_split) else {}
    if parts and (rest := examples.source_split.count("")):
        parts["none (used for training)"] = rest
    return replace(summary, rows=len(examples) + sum(loss.rows for loss in losses), labels=sets.labels, classes=counts,
                   look_alikes=look_alikes(tuple(counts)), losses=losses, strict=options.strict,
                   no_label_like={name: n for name, n in counts.items() if n and means_none(name)},
                   split=summary.split if parts else "", parts=parts)


def _groups(names: list[str], codes: NDArray[np.int32], ids: Hashes) -> Sequence[str]:
    """The group of each row: the one in the source, if it has groups, otherwise its content hash. Groups that share a
    content are joined under the first of their names, so that exact duplicates are never split. names: of the groups,
    "" for none; codes: of each row the number of its name."""
    if len(names) == 1:
        return ids
    joined: dict[str, str] = {}  # the name of a group -> that of the group it was joined to

    def name_of(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    numbers = ids.numbers()
    for row in np.flatnonzero(np.bincount(numbers)[numbers] > 1).tolist():  # only what occurs again joins groups
        content = ids[row]
        name, other = name_of(names[codes[row]] or content), name_of(content)
        if name != other:
            known = other != content  # the content occurred in another group before
            first, second = sorted((name, other)) if known else (name, other)
            joined[second] = first
    return _of_rows([name and name_of(name) for name in names], codes, lambda row: name_of(ids[row]))


def _units(names: list[str], codes: NDArray[np.int32], ids: Hashes, summary: DataSummary) -> Sequence[str] | None:
    """The group of each row as the source names it, or its content hash; None where the source has no groups. Whether
    it has them follows from its columns, not from its rows. names, codes: as in `_groups`."""
    if len(names) == 1:
        return ids if any(column.role == "group" for column in summary.columns) else None
    return _of_rows(names, codes, ids.__getitem__)


def _of_rows(names: list[str], codes: NDArray[np.int32], name_without: Callable[[int], str]) -> Codes:
    """The name of the group of each row; where it is "", what `name_without` returns for the row."""
    numbers: dict[str, int] = {}
    of_code = np.array([numbers.setdefault(name, len(numbers)) if name else -1 for name in names], np.int32)
    of_rows = of_code[codes]
    for row in np.flatnonzero(of_rows < 0).tolist():
        of_rows[row] = numbers.setdefault(name_without(row), len(numbers))
    return Codes(tuple(numbers), of_rows)


def printable(name: str) -> str:
    """A name that can be encoded: lone surrogates, which file names and JSON may contain, become U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", name)


def labels_in(label: Any) -> tuple[str, ...] | None:
    """The labels in a cell, as they are; None if there are none. A list, even an empty one, begins with ""."""
    if isinstance(label, list | tuple):
        return ("", *(_text(name) for name in label))  # the "" in front marks a list
    text = _text(label)
    return (text,) if text.strip() else None


def labels_of_columns(record: Mapping[str, Any], columns: Sequence[str]) -> tuple[tuple[str, ...] | None, str]:
    """The labels of a row with one column of 0 and 1 for each, as `labels_in` returns them, and why there are none."""
    labels = []
    for name in columns:
        value = YES_OR_NO.get(cell(record.get(name)).casefold())
        if value is None:
            return None, f"neither 0 nor 1: {cell(record.get(name))[:40]!r} in column {name!r}"
        labels += [name] * value
    return ("", *labels), ""


def cell(value: Any) -> str:
    """A cell as text, "" for None and NaN, which is not equal to itself. The number 0 is not empty."""
    return _text(value).strip()


def is_missing(value: Any) -> bool:
    """Whether a cell has no value: None or NaN, which is not equal to itself."""
    return value is None or value != value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if is_missing(value) else str(value)


def split_name(name: str) -> str:
    """The part of a split that a name stands for, in any case, with blanks or hyphens, as in
    `Train`, `test-set`, `train_images` and `01_train`; "" for another name."""
    form = re.sub(r"[\s-]+", "_", name.strip().lower())
    return SPLIT_NAMES.get(form, "") or SPLIT_NAMES.get(_NUMBERED.sub("", _OF_FILES.sub("", form)), "")


def split_in(where: str, origin: str, value: Any, column: str = "split") -> str:
    """The split in a cell of a split column, "" if it is empty. Raises DataError for an unknown name."""
    name = cell(value).lower()
    if name and not split_name(name):
        raise DataError(f"{where}, {origin}: split {name!r} in column {column!r}",
                        "train, validation or test, another usual name of these (such as training, val, dev, holdout), "
                        "or an empty cell",
                        "correct the split column, or set `split_column` to none or to another column")
    return split_name(name)
