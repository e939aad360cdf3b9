"""Which columns of a table look like texts, paths or labels: by name, otherwise by content."""

from collections.abc import Callable, Sequence

from kerastl.data.delimited import Record
from kerastl.data.options import ReadOptions
from kerastl.data.rows import YES_OR_NO, cell
from kerastl.data.tables import Table
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


def guess(table: Table, items: tuple[str, ...], labels: tuple[str, ...], options: ReadOptions, *, used: Sequence[str],
          labelled: bool, item: str, is_path: Callable[[object], bool]
          ) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """The columns of texts or paths, those of labels if `labelled`, and how each was found; empty where none was.

    items, labels: the requested ones. used: all that are requested for any role. item: text or path. is_path: whether a
    cell names an image file. Raises DataError where several columns of 0 and 1 may be labels.
    """
    how = dict.fromkeys(used, "as requested")
    free = [name for name in table.names if form_of(name) not in RESERVED and name not in used]

    def found(names: tuple[str, ...], reason: str) -> tuple[str, ...]:
        how.update(dict.fromkeys(names, reason))
        return names

    if not items and item == "path":
        items = found(table.images[:1], "by content: images")
    items = items or found(_by_name(free, TEXTS, PAIRS) if item == "text" else _by_name(free, PATHS), "by name")
    if labelled and not labels:
        labels = found(_by_name([name for name in free if name not in items], LABELS), "by name")
    rest = [name for name in free if name not in labels]
    items = items or found(_texts_by_content(table, rest) if item == "text" else
                           _paths_by_content(table, rest, is_path), "by content")
    if labelled and items and not labels:
        labels = found(_labels_by_content(table, [name for name in free if name not in items], options), "by content")
    return items, labels, how


def form_of(name: str) -> str:
    """A name in the form of the lists above."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _by_name(free: Sequence[str], names: Sequence[str], pairs: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """The columns of the first pair that is there, otherwise the column of the first name; empty if there is none."""
    known = {form_of(name): name for name in reversed(free)}
    choices = [*pairs, *((name,) for name in names)]
    return next((tuple(known[name] for name in choice) for choice in choices if known.keys() >= set(choice)), ())


def values_of(table: Table, free: Sequence[str]) -> dict[str, list[str]]:
    """The cells that are not empty, of each column in the first rows."""
    sample = [_clipped(record) for record in table.sample()]
    return {name: [text for record in sample if (text := cell(record.get(name)))] for name in free}


def _texts_by_content(table: Table, free: Sequence[str]) -> tuple[str, ...]:
    """The column with the longest distinct strings."""
    scores = {name: (_has_words(cells), sum(map(len, set(cells))) / len(set(cells)))
              for name, cells in values_of(table, free).items() if cells and not all(map(_is_number, cells))}
    return (max(scores, key=lambda name: scores[name]),) if scores else ()


def _paths_by_content(table: Table, free: Sequence[str], is_path: Callable[[object], bool]) -> tuple[str, ...]:
    """The first column most of whose cells name image files."""
    values = values_of(table, free)
    return tuple(name for name in free if 2 * sum(map(is_path, values[name])) > max(1, len(values[name])))[:1]


def _labels_by_content(table: Table, free: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    """The column with the fewest distinct values. Raises DataError where several consist of 0 and 1: whether these are
    several labels is not guessed."""
    values = values_of(table, free)
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
