"""Which columns of a table hold texts and labels: those asked for, else by their names, else by what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerastl.data.delimited import Record
from kerastl.data.rows import cell, labels_in
from kerastl.data.tables import Table, closest
from kerastl.errors import DataError

# The first that is there is taken, whatever its case.
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
         ("sentence_a", "sentence_b"), ("text_a", "text_b"), ("question", "sentence"), ("question", "passage"),
         ("query", "passage"))
TEXTS = ("text", "texts", "sentence", "review", "review_text", "review_body", "content", "comment", "comment_text",
         "body", "message", "tweet", "document", "utterance", "question", "query", "post", "snippet", "description",
         "abstract", "summary", "headline", "title", "email", "sms", "input", "phrase", "string")
LABELS = ("label", "labels", "class", "classes", "category", "categories", "target", "targets", "sentiment", "topic",
          "topics", "intent", "emotion", "emotions", "polarity", "gold_label", "tag", "tags", "genre", "genres",
          "stars", "rating", "y")
RESERVED = ("split", "group")  # what these hold is never text or label


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read."""

    texts: tuple[str, ...]  # one, or two that make a pair
    label: str | None  # None when labels were not asked for
    note: str  # how they were found

    def read(self, names: Sequence[str]) -> list[str]:
        """All that are read, of those there are."""
        return [name for name in names if name in (*self.texts, self.label, *RESERVED)]


def choose(table: Table, text_column: str | None, label_column: str | None, labelled: bool = True) -> Columns:
    """The columns of texts and labels. text_column: a name, or two with a comma between them.

    Raises DataError when a name is wrong, or nothing looks like texts or like labels.
    """
    where, names = table.where, table.names
    if not names:
        raise DataError(f"{where} has no columns", "a header, and rows below it", "check the file")
    texts = _asked(table, text_column) if text_column is not None else ()
    label = _named(table, label_column, "--label-column") if labelled and label_column is not None else None
    if labelled and len(names) == 1:
        raise DataError(f"{where} has one column, {names[0]!r}", "a column of texts and one of labels",
                        "add the column that is missing; cells are separated by commas, tabs, semicolons or bars")
    if label in texts:
        raise DataError(f"--text-column and --label-column are both {label!r}", "two columns", "name another")
    how = {name: "as asked" for name in (*texts, label) if name}
    for found, by in ((_by_name(names, texts, label), "by name"), (_by_content(table, texts, label), "by content")):
        texts, label = texts or found[0], label or (found[1] if labelled else None)
        how |= {name: by for name in (*texts, label) if name and name not in how}
        if texts and (label or not labelled):
            break
    if not texts or (labelled and not label):
        what, flag = ("texts", "--text-column") if not texts else ("labels", "--label-column")
        raise DataError(f"no column of {where} looks like {what}: it has columns {', '.join(names)}",
                        f"a column of {what}, say {what[:-1]!r}", f"name it with {flag}")
    twice = [name for name in (*texts, label) if names.count(str(name)) > 1]
    if twice:
        raise DataError(f"{where} has {names.count(str(twice[0]))} columns {twice[0]!r}", "one", "rename the others")
    if label and how[label] == "by content" and _headless(table, texts[0], label):
        raise DataError(f"the first line of {where} looks like a row, not like a header: {', '.join(names)}",
                        "the columns' names in the first line", "add a line such as text,label")
    return Columns(texts, label, _note(names, texts, label, how))


def _asked(table: Table, text_column: str) -> tuple[str, ...]:
    if text_column in table.names:
        return (text_column,)
    parts = [part.strip() for part in text_column.split(",")]
    if len(parts) > 2 or len(set(parts)) < len(parts):
        raise DataError(f"--text-column {text_column}", "one column, or two different ones: a,b", "name one or two")
    return tuple(_named(table, part, "--text-column") for part in parts)


def _named(table: Table, name: str, flag: str) -> str:
    if name not in table.names:
        close = closest(name, table.names)
        raise DataError(f"{table.where} has no column {name!r} ({flag})", f"one of {', '.join(table.names)}",
                        f"did you mean {close!r}?" if close else "name one of them")
    return name


def _by_name(names: Sequence[str], texts: tuple[str, ...], label: str | None) -> tuple[tuple[str, ...], str | None]:
    known = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)
             if name not in texts and name != label}
    pair = next(((known[a], known[b]) for a, b in PAIRS if a in known and b in known), None)
    one = next((known[name] for name in TEXTS if name in known), None)
    return pair or ((one,) if one else ()), next((known[name] for name in LABELS if name in known), None)


def _by_content(table: Table, texts: tuple[str, ...], label: str | None) -> tuple[tuple[str, ...], str | None]:
    """The column with the longest distinct strings, and of the others the one with the fewest distinct values."""
    sample = [_clipped(record) for record in table.sample()]
    values = {name: [text for record in sample if (text := cell(record.get(name)))] for name in table.names
              if name not in (*texts, label, *RESERVED)}
    if not texts:
        _, named = _by_name(table.names, texts, label)
        likely = {name: (_wordy(some), sum(map(len, set(some))) / len(set(some))) for name, some in values.items()
                  if name != named and some and not all(map(_is_number, some))}
        texts = (max(likely, key=lambda name: likely[name]),) if likely else ()
    kinds = {name: len(set(some)) for name, some in values.items() if name not in texts}
    few = {name: n for name, n in kinds.items() if 1 < n <= max(2, len(values[name]) // 2)}
    return texts, min(few, key=lambda name: few[name]) if few else None


def _clipped(record: Record) -> Record:
    """Enough of a record to tell its columns apart."""
    return {name: value[:1000] if isinstance(value, str) else value for name, value in record.items()}


def _wordy(values: Sequence[str]) -> bool:
    """Whether most values are words, not hashes and addresses: they have letters, and spaces or what is not ASCII."""
    words = sum((not value.isascii() or len(value.split()) > 1) and any(map(str.isalpha, value)) for value in values)
    return words >= len(values) / 2


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _headless(table: Table, text: str, label: str) -> bool:
    """Whether the columns' names are a row: several words, and one of the labels."""
    return len(text.split()) > 1 and any(label in (labels_in(record.get(label)) or ()) for record in table.sample())


def _note(names: Sequence[str], texts: tuple[str, ...], label: str | None, how: dict[str, str]) -> str:
    said = f"text from {' and '.join(f'column {name!r}' for name in texts)} ({how[texts[0]]})"
    if label:
        said += f", label from column {label!r} ({how[label]})"
    unused = [name for name in names if name not in (*texts, label, *RESERVED)]
    return said + (f"; not read: {', '.join(unused[:20])}" if unused else "")
