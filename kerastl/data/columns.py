"""The columns of a table and their roles: as requested, otherwise by name, otherwise by content. A column has one role.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kerastl.data.delimited import Record
from kerastl.data.options import NONE, ReadOptions
from kerastl.data.rows import YES_OR_NO, cell, labels_in, split_name
from kerastl.data.summary import ColumnRole
from kerastl.data.tables import Table, closest
from kerastl.errors import DataError

# The first name that occurs is used; case does not matter.
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
         ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("question", "sentence"), ("question", "passage"),
         ("query", "passage"))
TEXTS = ("text", "texts", "sentence", "review", "review_text", "review_body", "content", "comment", "comment_text",
         "body", "message", "tweet", "document", "utterance", "question", "query", "post", "snippet", "description",
         "abstract", "summary", "headline", "title", "email", "sms", "input", "phrase", "string")
PATHS = ("path", "image_path", "img_path", "file_path", "filepath", "file_name", "filename", "file", "image_file",
         "image_name", "image", "images", "img", "picture", "photo")
LABELS = ("label", "labels", "class", "classes", "category", "categories", "target", "targets", "sentiment", "topic",
          "topics", "intent", "emotion", "emotions", "polarity", "gold_label", "tag", "tags", "genre", "genres",
          "stars", "rating", "y")
SPLITS = ("split", "splits", "set", "subset", "dataset", "partition", "part", "usage", "phase", "fold", "data_split")
RESERVED = ("group", "split")  # in any case: never texts or labels, unless requested
_LISTED = 20  # columns that a message lists
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
    items, labels = requested[item], requested["label"]
    if labelled and len(names) == 1 and options.label_column is None:
        raise DataError(f"{where} has one column, {names[0][:80]!r}", f"a column of {item}s and one of labels",
                        "remove the rows above the header, if there are any, and the sheets in front of the table's"
                        if table.form.kind == "excel" else "add the missing column; separate cells by commas, tabs, "
                        "semicolons or bars; remove the lines above the header, if there are any")
    how = {name: "as requested" for role in requested.values() for name in role}
    free = [name for name in names if _form(name) not in RESERVED and name not in how]
    if not items and item == "path" and table.images:
        items = table.images[:1]
        how |= dict.fromkeys(items, "by content: images")
    by_name = _texts_by_name if item == "text" else _paths_by_name
    by_content = _texts_by_content if item == "text" else lambda table, free: _paths_by_content(table, free, is_path)
    if not items:
        items = by_name(free)
        how |= dict.fromkeys(items, "by name")
    if labelled and not labels:
        labels = _labels_by_name([name for name in free if name not in items])
        how |= dict.fromkeys(labels, "by name")
    if not items:
        items = by_content(table, [name for name in free if name not in labels])
        how |= dict.fromkeys(items, "by content")
    if labelled and items and not labels:
        labels = _labels_by_content(table, [name for name in free if name not in items], options)
        how |= dict.fromkeys(labels, "by content")
    if not items or (labelled and not labels):
        content, argument = (f"{item}s", f"{item}_column") if not items else ("labels", "label_column")
        kept = [name for name in names if _form(name) in RESERVED and name not in how]
        also = f"; {' and '.join(map(repr, kept))} must be named to be more than a group or a split" if kept else ""
        taken = ", ".join(f"{name!r} is requested as {role}" for role, columns in requested.items() for name in columns)
        also += ", or `path_column` if the table names image files" if argument == "text_column" else ""
        header = "; if its first line is a row, insert one with the names of the columns" * bool(table.form.dialect)
        raise DataError(f"no column of {where} looks like {content}: its columns are {listed(names)}"
                        + (f" ({taken})" if taken else ""), f"a column of {content}, for example {content[:-1]!r}",
                        f"name the column in `{argument}`{also}{header}")
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


def listed(names: Sequence[str]) -> str:
    """The first of many names, long ones clipped."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(name if len(name) <= 80 else f"{name[:80]}..." for name in names[:_LISTED]) + more


def _form(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _reserved(role: str, free: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """The column with the name of a role; the same name, rather than one in another case."""
    if getattr(options, f"{role}_column") == NONE:
        return ()
    return tuple(name for name in free if name == role) or tuple(name for name in free if _form(name) == role)


def _known(free: Sequence[str]) -> dict[str, str]:
    """The columns by their names in the form of the lists above."""
    return {_form(name): name for name in reversed(free)}


def _texts_by_name(free: Sequence[str]) -> tuple[str, ...]:
    known = _known(free)
    pair = next(((known[a], known[b]) for a, b in PAIRS if a in known and b in known), None)
    return pair or tuple(known[name] for name in TEXTS if name in known)[:1]


def _paths_by_name(free: Sequence[str]) -> tuple[str, ...]:
    known = _known(free)
    return tuple(known[name] for name in PATHS if name in known)[:1]


def _labels_by_name(free: Sequence[str]) -> tuple[str, ...]:
    known = _known(free)
    return tuple(known[name] for name in LABELS if name in known)[:1]


def _values(table: Table, free: Sequence[str]) -> dict[str, list[str]]:
    """The cells that are not empty, of each column in the first rows."""
    sample = [_clipped(record) for record in table.sample()]
    return {name: [text for record in sample if (text := cell(record.get(name)))] for name in free}


def _texts_by_content(table: Table, free: Sequence[str]) -> tuple[str, ...]:
    """The column with the longest distinct strings."""
    scores = {name: (_has_words(cells), sum(map(len, set(cells))) / len(set(cells)))
              for name, cells in _values(table, free).items() if cells and not all(map(_is_number, cells))}
    return (max(scores, key=lambda name: scores[name]),) if scores else ()


def _paths_by_content(table: Table, free: Sequence[str], is_path: Callable[[object], bool]) -> tuple[str, ...]:
    """The first column most of whose cells name image files."""
    values = _values(table, free)
    return tuple(name for name in free if 2 * sum(map(is_path, values[name])) > max(1, len(values[name])))[:1]


def _labels_by_content(table: Table, free: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """The column with the fewest distinct values. Raises DataError where several consist of 0 and 1: whether these are
    several labels is not guessed."""
    values = _values(table, free)
    binary = tuple(name for name in free if {YES_OR_NO.get(text.casefold()) for text in values[name]} == {0, 1})
    if len(binary) > 1:
        if options.multi_label == "on":
            return binary
        raise DataError(f"the columns {', '.join(binary)} of {table.where} each contain 0 and 1", "a column of labels, "
                        "or one column for each label", f"set `label_column` to {','.join(binary)} if rows may have "
                        "several labels, or to the one column that is to be predicted")
    few = {name: n for name, cells in values.items() if 1 < (n := len(set(cells))) <= max(2, len(cells) // 2)}
    return (min(few, key=lambda name: few[name]),) if few else ()


def _clipped(record: Record) -> Record:
    """A record with its long cells clipped."""
    return {name: value[:1000] if isinstance(value, str) else value for name, value in record.items()}


def _has_words(values: Sequence[str]) -> bool:
    """Whether most values are words, not hashes or addresses: they have letters, and spaces or non-ASCII characters."""
    words = sum((not value.isascii() or len(value.split()) > 1) and any(map(str.isalpha, value)) for value in values)
    return words >= len(values) / 2


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


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
    for name, cells in _values(table, unused[:_EXAMINED]).items():
        values = sorted(set(cells))
        parts = [value for value in values if split_name(value)]
        if len(values) > 1 and len(parts) == len(values):
            remarks.append(f"column {name!r} looks like a split and is not used as one: `split_column={name}` uses it")
        elif parts and _form(name) in SPLITS:
            remarks.append(f"column {name!r} may be a split, but has other values too, and is not used as one: "
                           f"{listed([repr(value) for value in values])}")
    return tuple(remarks)
