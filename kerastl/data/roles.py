"""What the columns of a record say of its row: labels, group and split."""

from kerastl.data.broken import Broken, value_in
from kerastl.data.columns import Columns
from kerastl.data.delimited import Record
from kerastl.data.labels import normal_form
from kerastl.data.rows import UNLABELLED, cell, labels_in, labels_of_columns, split_in

_NESTED = (dict, list, tuple)  # values that are not a name


def labels_of(record: Record, columns: Columns) -> tuple[tuple[str, ...] | None, str]:
    """The labels of a row, as `rows.labels_in` returns them, and why there are none."""
    if not columns.labels:
        return UNLABELLED, ""
    if len(columns.labels) > 1:
        return labels_of_columns(record, columns.labels)
    value = record.get(columns.labels[0])
    if isinstance(value, dict):
        return None, f"not a label: a dict in column {columns.labels[0]!r}"
    if isinstance(value, list | tuple) and (odd := next((part for part in value if isinstance(part, _NESTED)), None)
                                            ) is not None:
        return None, f"not a label: a {type(odd).__name__} in a list in column {columns.labels[0]!r}"
    try:
        return labels_in(value.decode() if isinstance(value, bytes) else value), "no label"
    except UnicodeDecodeError as error:
        return None, f"the label is not UTF-8: {error.reason}"


def label_in_words(labels: tuple[str, ...] | None) -> str:
    """The class by which a skipped row is counted; "" if it is unknown."""
    return "|".join(filter(None, map(normal_form, labels))) if labels else ""


def label_of_broken(broken: str, columns: Columns) -> str:
    """The class by which a record that cannot be read is counted, as far as its cells tell; "" if it is unknown."""
    if len(columns.labels) != 1 or not isinstance(broken, Broken):
        return ""
    name = columns.labels[0]
    labels, _ = labels_of({name: value_in(broken, name, columns.items)}, columns)
    return label_in_words(labels)


def group_in(record: Record, columns: Columns) -> str:
    """The group of a row, "" if it has none."""
    return cell(record.get(columns.group)) if columns.group else ""


def split_of_row(where: str, origin: str, record: Record, columns: Columns) -> str:
    """The part of the source's split that a row belongs to, "" if there is none. Raises DataError for an unknown
    name."""
    return split_in(where, origin, record.get(columns.split), columns.split) if columns.split else ""
