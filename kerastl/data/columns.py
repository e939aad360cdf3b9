"""The columns of a table that contain texts and labels: as requested, otherwise by name, otherwise by content."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerastl.data.delimited import Record
from kerastl.data.rows import cell, labels_in
from kerastl.data.tables import Table, closest
from kerastl.errors import DataError

# The first name that occurs is used; case does not matter.
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
         ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("question", "sentence"), ("question", "passage"),
         ("query", "passage"))
TEXTS = ("text", "texts", "sentence", "review", "review_text", "review_body", "content", "comment", "comment_text",
         "body", "message", "tweet", "document", "utterance", "question", "query", "post", "snippet", "description",
         "abstract", "summary", "headline", "title", "email", "sms", "input", "phrase", "string")
LABELS = ("label", "labels", "class", "classes", "category", "categories", "target", "targets", "sentiment", "topic",
          "topics", "intent", "emotion", "emotions", "polarity", "gold_label", "tag", "tags", "genre", "genres",
          "stars", "rating", "y")
RESERVED = ("split", "group")  # never texts or labels


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are used."""

    texts: tuple[str, ...]  # one, or two that form a pair
    label: str | None  # None if labels are not needed
    note: str  # how the columns were chosen

    def read(self, names: Sequence[str]) -> list[str]:
        """The columns that are read, in the order of the table."""
        return [name for name in names if name in (*self.texts, self.label, *RESERVED)]


def choose(table: Table, text_column: str | None, label_column: str | None, labelled: bool = True) -> Columns:
    """The columns of texts and labels. text_column: a name, or two names separated by a comma.

    Raises DataError if a name is wrong, or if no column looks like texts or like labels.
    """
    where, names = table.where, table.names
    if not names:
        raise DataError(f"{where} has no columns", "a header with rows below it", "check the file")
    texts = _requested(table, text_column) if text_column is not None else ()
    label = _named(table, label_column, "label_column") if labelled and label_column is not None else None
    if labelled and len(names) == 1:
        raise DataError(f"{where} has one column, {names[0]!r}", "a column of texts and one of labels",
                        "add the missing column; separate cells by commas, tabs, semicolons or bars")
    if label in texts:
        raise DataError(f"`text_column` and `label_column` are both {label!r}", "two different columns",
                        "name another column")
    how = {name: "as requested" for name in (*texts, label) if name}
    for guess, method in ((_by_name(names, texts, label), "by name"), (_by_content(table, texts, label), "by content")):
        texts, label = texts or guess[0], label or (guess[1] if labelled else None)
        how |= {name: method for name in (*texts, label) if name and name not in how}
        if texts and (label or not labelled):
            break
    if not texts or (labelled and not label):
        content, argument = ("texts", "text_column") if not texts else ("labels", "label_column")
        raise DataError(f"no column of {where} looks like {content}: its columns are {', '.join(names)}",
                        f"a column of {content}, for example {content[:-1]!r}", f"name the column in `{argument}`")
    duplicates = [name for name in (*texts, label) if names.count(str(name)) > 1]
    if duplicates:
        raise DataError(f"{where} has {names.count(str(duplicates[0]))} columns named {duplicates[0]!r}",
                        "distinct names", "rename the other columns")
    if label and how[label] == "by content" and _headless(table, texts[0], label):
        raise DataError(f"the first line of {where} looks like a row, not a header: {', '.join(names)}",
                        "the column names in the first line", "insert a first line such as text,label")
    return Columns(texts, label, _note(names, texts, label, how))


def _requested(table: Table, text_column: str) -> tuple[str, ...]:
    if text_column in table.names:
        return (text_column,)
    parts = [part.strip() for part in text_column.split(",")]
    if len(parts) > 2 or len(set(parts)) < len(parts):
        raise DataError(f"`text_column` is {text_column}", "one column, or two different ones as in a,b",
                        "name one or two columns")
    return tuple(_named(table, part, "text_column") for part in parts)


def _named(table: Table, name: str, argument: str) -> str:
    if name not in table.names:
        close = closest(name, table.names)
        raise DataError(f"`{argument}` is {name!r}, but {table.where} has no such column",
                        f"one of {', '.join(table.names)}",
                        f"did you mean {close!r}?" if close else "name one of these columns")
    return name


def _by_name(names: Sequence[str], texts: tuple[str, ...], label: str | None) -> tuple[tuple[str, ...], str | None]:
    known = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)
             if name not in texts and name != label}
    pair = next(((known[a], known[b]) for a, b in PAIRS if a in known and b in known), None)
    single = next((known[name] for name in TEXTS if name in known), None)
    return pair or ((single,) if single else ()), next((known[name] for name in LABELS if name in known), None)


def _by_content(table: Table, texts: tuple[str, ...], label: str | None) -> tuple[tuple[str, ...], str | None]:
    """The column with the longest distinct strings, and among the others that with the fewest distinct values."""
    sample = [_clipped(record) for record in table.sample()]
    values = {name: [text for record in sample if (text := cell(record.get(name)))] for name in table.names
              if name not in (*texts, label, *RESERVED)}
    if not texts:
        _, named = _by_name(table.names, texts, label)
        scores = {name: (_has_words(cells), sum(map(len, set(cells))) / len(set(cells)))
                  for name, cells in values.items()
                  if name != named and cells and not all(map(_is_number, cells))}
        texts = (max(scores, key=lambda name: scores[name]),) if scores else ()
    distinct = {name: len(set(cells)) for name, cells in values.items() if name not in texts}
    few = {name: n for name, n in distinct.items() if 1 < n <= max(2, len(values[name]) // 2)}
    return texts, min(few, key=lambda name: few[name]) if few else None


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


def _note(names: Sequence[str], texts: tuple[str, ...], label: str | None, how: dict[str, str]) -> str:
    note = f"text from {' and '.join(f'column {name!r}' for name in texts)} ({how[texts[0]]})"
    if label:
        note += f", label from column {label!r} ({how[label]})"
    unused = [name for name in names if name not in (*texts, label, *RESERVED)]
    return note + (f"; not used: {', '.join(unused[:20])}" if unused else "")
