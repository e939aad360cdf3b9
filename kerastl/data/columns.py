"""The columns of a table and their roles: as requested, otherwise by name, otherwise by content. A column has one role.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kerastl.data.column_guesses import RESERVED, SPLITS, form_of, guess, values_of
from kerastl.data.options import NONE, ReadOptions
from kerastl.data.rows import labels_in, split_name
from kerastl.data.summary import ColumnRole
from kerastl.data.tables import Table, closest, listed
from kerastl.errors import DataError

RANDOM_SPLIT = "random_split"  # in tables of what to label next: `test` for the rows that were drawn at random
_EXAMINED = 50  # unused columns that are examined


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are used."""

    items: tuple[str, ...]  # of texts, two if they form a pair; of the paths of images
    labels: tuple[str, ...]  # empty if labels are not needed; more than one: columns of 0 and 1
    group: str | None
    split: str | None
    roles: tuple[ColumnRole, ...]
    unused: tuple[str, ...]
    note: str  # the roles, and how they were chosen
    remarks: tuple[str, ...] = ()  # what may be meant otherwise

    def read(self, names: Sequence[str]) -> list[str]:
        """The columns that are read, in the order of the table."""
        return [name for name in names if name in (*self.items, *self.labels, self.group, self.split)]


def choose(table: Table, options: ReadOptions, labelled: bool = True, *, item: str = "text",
           is_path: Callable[[object], bool] = lambda value: False) -> Columns:
    """The columns and their roles. item: text, or path for images. is_path: whether a cell names an image file.

    Raises DataError if a name is wrong or requested for two roles, or if no column looks like texts, paths or labels.
    """
    where, names = table.where, table.names
    if not names:
        raise DataError(f"{where} has no columns", "a header with rows below it", "check the file")
    requested = _requested(table, options, labelled, item)
    if labelled and len(names) == 1 and options.label_column is None:
        raise DataError(f"{where} has one column, {names[0][:80]!r}", f"a column of {item}s and one of labels",
                        "remove the rows above the header, if there are any, and the sheets in front of the table's"
                        if table.form.kind == "excel" else "add the missing column; separate cells by commas, tabs, "
                        "semicolons or bars; remove the lines above the header, if there are any")
    items, labels, how = guess(table, requested[item], requested["label"], options, labelled=labelled, item=item,
                               is_path=is_path, used=[name for role in requested.values() for name in role])
    if not items or (labelled and not labels):
        raise _nothing_found(table, requested, how, item if not items else "label")
    reserved = {role: requested[role] or _reserved(role, [name for name in names if name not in how], options)
                for role in RESERVED}
    how |= {name: "by name" for role in reserved.values() for name in role if name not in how}
    chosen = {item: items, "label": labels if labelled else (), **reserved}
    _check_names(table, chosen)
    if labels and how[labels[0]] == "by content" and _headless(table, items[0], labels[0]):
        raise DataError(f"the first line of {where} looks like a row, not a header: {listed(names)}",
                        "the column names in the first line", "insert a first line such as text,label")
    roles = tuple(ColumnRole(name, role, how[name]) for role, columns in chosen.items() for name in columns)
    unused = tuple(name for name in names if name not in {column.name for column in roles})
    return Columns(items, chosen["label"], next(iter(chosen["group"]), None), next(iter(chosen["split"]), None), roles,
                   unused, _note(chosen, how, unused), _remarks(table, chosen, how, unused, options))


def _nothing_found(table: Table, requested: dict[str, tuple[str, ...]], how: dict[str, str], role: str) -> DataError:
    """The error where no column looks like one of the role: text, path or label."""
    names = table.names
    kept = [name for name in names if form_of(name) in RESERVED and name not in how]
    hint = f"name the column in `{role}_column`"
    if kept:
        hint += f"; {' and '.join(map(repr, kept))} must be named to be more than a group or a split"
    if role == "text":
        hint += ", or `path_column` if the table names image files"
    if table.form.dialect:
        hint += "; if its first line is a row, insert one with the names of the columns"
    taken = ", ".join(f"{name!r} is requested as {role}" for role, columns in requested.items() for name in columns)
    return DataError(f"no column of {table.where} looks like {role}s: its columns are {listed(names)}"
                     + (f" ({taken})" if taken else ""), f"a column of {role}s, for example {role!r}", hint)


def _requested(table: Table, options: ReadOptions, labelled: bool, item: str) -> dict[str, tuple[str, ...]]:
    """The columns that each role was requested for."""
    most = {item: 2 if item == "text" else 1, "label": None if labelled else 0, "group": 1, "split": 1}
    chosen: dict[str, tuple[str, ...]] = {}
    for role, count in most.items():
        value = getattr(options, f"{role}_column")
        if value == NONE and (role == item or (role == "label" and labelled)):
            raise DataError(f"`{role}_column` is none", f"a column of {role}s",
                            f"name a column, or omit `{role}_column`")
        chosen[role] = () if value in (None, NONE) or count == 0 else _named(table, f"{role}_column", value, count)
    for role, columns in chosen.items():
        for other, others in chosen.items():
            if role < other and (both := [name for name in columns if name in others]):
                first, second = sorted((role, other), key=[item, "label", "group", "split"].index)
                raise DataError(f"`{first}_column` and `{second}_column` are both {both[0]!r}",
                                "two different columns, because a column has one role", "name another column")
    if len(chosen["label"]) > 1 and options.multi_label == "off":
        raise DataError(f"`label_column` names {len(chosen['label'])} columns and `multi_label` is off",
                        "one column of labels", "name one column, or omit `multi_label`")
    return chosen


def _named(table: Table, argument: str, value: str, most: int | None) -> tuple[str, ...]:
    """The columns in `a`, or in `a,b`, of which there may be `most`."""
    if value in table.names or most == 1:
        return (_existing(table, value, argument),)
    parts = [part.strip() for part in value.split(",")]
    if (most is not None and len(parts) > most) or len(set(parts)) < len(parts):
        several = "one column, or two different ones as in a,b" if most else "one column, or different ones as in a,b,c"
        raise DataError(f"`{argument}` is {value}", several,
                        "name one or two columns" if most else "name each column once")
    return tuple(_existing(table, part, argument) for part in parts)


def _existing(table: Table, name: str, argument: str) -> str:
    if name not in table.names:
        close = closest(name, table.names)
        raise DataError(f"`{argument}` is {name!r}, but {table.where} has no such column",
                        f"one of {listed(table.names)}",
                        f"did you mean {close!r}?" if close else "name one of these columns")
    return name


def _check_names(table: Table, chosen: dict[str, tuple[str, ...]]) -> None:
    duplicates = [name for columns in chosen.values() for name in columns if table.names.count(name) > 1]
    if duplicates:
        raise DataError(f"{table.where} has {table.names.count(duplicates[0])} columns named {duplicates[0]!r}",
                        "distinct names", "rename the other columns")


def _reserved(role: str, free: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """The column with the name of a role; the same name, rather than one in another case."""
    if getattr(options, f"{role}_column") == NONE:
        return ()
    return tuple(name for name in free if name == role) or tuple(name for name in free if form_of(name) == role)


def _headless(table: Table, text: str, label: str) -> bool:
    """Whether the column names are in fact a row: several words, and a label that occurs in the table."""
    return len(text.split()) > 1 and any(label in (labels_in(record.get(label)) or ()) for record in table.sample())


def _note(chosen: dict[str, tuple[str, ...]], how: dict[str, str], unused: Sequence[str]) -> str:
    parts = [f"{role} from {' and '.join(f'column {name!r}' for name in columns)} ({how[columns[0]]})"
             for role, columns in chosen.items() if columns]
    return ", ".join(parts) + (f"; not used: {listed(unused)}" if unused else "")


def _remarks(table: Table, chosen: dict[str, tuple[str, ...]], how: dict[str, str], unused: Sequence[str],
             options: ReadOptions) -> tuple[str, ...]:
    """Columns that may be a split, although they are not called so, and a first line that may be a row."""
    remarks = []
    item, label = chosen.get("text", ()), chosen["label"]
    if table.form.dialect and item and label and how[item[0]] == how[label[0]] == "by content" and any(
            label[0] in (labels_in(record.get(label[0])) or ()) for record in table.sample()):
        remarks.append(f"WARNING: the first line is taken as the header, although {label[0]!r} in it is also a label: "
                       "insert a header such as text,label if it is a row")
    if item and table.images:
        remarks.append(f"WARNING: the table contains texts and images; the images in column {table.images[0]!r} are "
                       f"not used: `path_column={table.images[0]}` reads them instead of the texts")
    if chosen["split"] or options.split_column == NONE:
        return tuple(remarks)
    for name, cells in values_of(table, unused[:_EXAMINED]).items():
        if name == RANDOM_SPLIT:
            remarks.append("WARNING: most of these rows were chosen, not drawn at random, so figures measured on them "
                           f"are biased; `split_column={RANDOM_SPLIT}` evaluates on the random ones")
            continue
        values = sorted(set(cells))
        parts = [value for value in values if split_name(value)]
        if len(values) > 1 and len(parts) == len(values):
            remarks.append(f"column {name!r} looks like a split and is not used as one: `split_column={name}` uses it")
        elif parts and form_of(name) in SPLITS:
            remarks.append(f"column {name!r} may be a split, but has other values too, and is not used as one: "
                           f"{listed([repr(value) for value in values])}")
    return tuple(remarks)
