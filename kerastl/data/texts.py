"""Sources of texts: a table, a folder of class folders of .txt files, or a TFDS data set.

Texts are read in a stream, hashed, and kept in a file without a name, so that memory stays small however many there
are. What cannot be used is left out, with the reason.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.columns import Columns, choose
from kerastl.data.examples import Examples, SkippedRows, enough
from kerastl.data.folders import no_source, walk
from kerastl.data.kinds import check_kind, kind_of_features, kind_of_folder, kind_of_table, looks_like_image
from kerastl.data.rows import Row, examples_of
from kerastl.data.spool import Hashes, Spool, Text, digest
from kerastl.data.tables import TABLES, Table, open_table
from kerastl.data.text_rows import folder_texts, table_texts, text_file, text_in
from kerastl.data.tfds import feature_names, tfds_table
from kerastl.errors import DataError
from kerastl.modality import TEXT


def read_texts(source: str, *, text_column: str | None = None, label_column: str | None = None,
               min_per_class: int = 10, limit: int | None = None, data_dir: str | None = None,
               cache_dir: Path | None = None) -> Examples:
    """The labelled texts, or pairs of them, of a source.

    source: a `.csv`, `.tsv`, `.jsonl` or `.parquet` with a column of texts and one of labels, and optionally
    `group,split`; `DIR` holding `<class>/**/<text>.txt` (or `train/ validation/ test/` of such); `tfds:NAME[:split]`.
    text_column: `a`, or `a,b` for pairs; default: found by name, else by content, as is `label_column`.
    data_dir: where TFDS data sets lie. cache_dir: where the texts are kept for as long as this process lives.
    Raises DataError when there is no such source, or fewer than two classes of `min_per_class` rows.
    """
    made = enough(_read(source, (text_column, label_column), True, min_per_class, data_dir, cache_dir))
    return made.limited(limit) if limit else made


def read_any_texts(source: str, *, text_column: str | None = None, data_dir: str | None = None,
                   cache_dir: Path | None = None) -> Examples:
    """As `read_texts`, for texts whose labels do not matter: a folder of .txt files will do, or a table without labels.

    Raises DataError when there is no such source, or nothing in it.
    """
    return _read(source, (text_column, None), False, 0, data_dir, cache_dir)


def read_unlabelled_texts(inputs: Iterable[str], *, text_column: str | None = None) -> list[Text]:
    """Texts to predict on: a .txt file is one, a folder gives all its .txt files, a table its column or two of texts,
    and what is no path is itself a text. Empty texts are kept.

    Raises DataError for what looks like a path and is not there, an image or a file of another kind, a table of which
    a row is broken, and a file that is not text.
    """
    found: list[Text] = []
    for name in inputs:
        path = Path(name)
        if not os.path.exists(name):
            if _like_a_path(name):
                raise DataError(f"no such file or folder: {name}", "a text, or a path that is there",
                                "check the path; if it is a text, give it on standard input: -")
            found.append(name)
        elif path.is_dir():
            check_kind(name, kind_of_folder(path), "text")
            files = [str(file) for file in walk(path) if file.suffix.lower() == ".txt"]
            if not files:
                raise DataError(f"no .txt files in {name}", "a folder of .txt files", "check the path")
            found += map(_must, files)
        elif path.suffix.lower() == ".txt":
            found.append(_must(name))
        elif path.suffix.lower() in TABLES:
            found += _column(open_table(path), text_column)
        elif looks_like_image(name):
            raise DataError(f"{name} is an image, and this is a text model", "texts, .txt files, folders of them or "
                            "tables", "use a model for images")
        else:
            raise DataError(f"{name} is a file of another kind", f"a .txt file, a folder of them, a table "
                            f"({', '.join(TABLES)}), or a text", "save it as .txt")
    return found


def _like_a_path(text: str) -> bool:
    """One word with a slash in it that is no address, or with the ending of a file that is read."""
    one_word = bool(text) and not any(map(str.isspace, text))
    return one_word and ((os.sep in text and "://" not in text) or text.lower().endswith((".txt", *TABLES)))


def _must(path: str) -> str:
    text, _, why = text_file(path)
    if why:
        raise DataError(f"{path}: {why}", "a file of text", "save it as UTF-8")
    return text


def _column(table: Table, text_column: str | None) -> list[Text]:
    columns = _chosen(table, (text_column, None), False)
    found: list[Text] = []
    for origin, record in table.records(columns.read(table.names)):
        if isinstance(record, str):
            raise DataError(f"{table.where}, {origin}: {record}", "a table whose every row can be read, for each is to "
                            "have an answer", "mend the row, or take it out")
        text, why = text_in(record, columns)
        if why:
            raise DataError(f"{table.where}, {origin}: {why}", "texts", "mend the row, or name another column")
        found.append(text)
    return found


def _read(source: str, asked: tuple[str | None, str | None], labelled: bool, min_per_class: int, data_dir: str | None,
          cache_dir: Path | None) -> Examples:
    skipped, notes = SkippedRows(), list[str]()
    path, pairs = Path(source), False
    if source.startswith("tfds:") or (path.is_file() and path.suffix.lower() in TABLES):
        if source.startswith("tfds:"):
            check_kind(source, kind_of_features(feature_names(source, data_dir)), "text")
        table = tfds_table(source, data_dir) if source.startswith("tfds:") else open_table(path, cache_dir)
        columns = _chosen(table, asked, labelled)
        notes += [*table.notes, columns.note]
        rows, pairs = table_texts(table, columns, skipped), len(columns.texts) == 2
    elif path.is_dir():
        if asked != (None, None):
            raise DataError(f"{source} is a folder", "a table, for --text-column and --label-column",
                            "leave them out: a folder's classes are its folders")
        check_kind(source, kind_of_folder(path), "text")
        rows = folder_texts(path, labelled, skipped, notes)
    else:
        raise no_source(source)
    made = examples_of(TEXT, source, _hashed(rows, notes), skipped, min_per_class, notes,
                       Spool[Text](cache_dir, pairs), Spool[str](cache_dir))
    if not len(made):
        first = next(iter(made.skipped), None)
        raise DataError(f"no texts in {source} that can be used" + (f" ({first.origin}: {first.reason})" if first else
                                                                    ""), "rows of a text and a label", "check the file")
    return _told(made, skipped)


def _chosen(table: Table, asked: tuple[str | None, str | None], labelled: bool) -> Columns:
    if asked[0] is None and table.names:
        check_kind(table.where, kind_of_table(table), "text")
    return choose(table, *asked, labelled)


def _hashed(rows: Iterable[Row], notes: list[str]) -> Iterator[tuple[Row, bytes]]:
    nul = 0
    for row in rows:
        nul += "\0" in row.item if isinstance(row.item, str) else any("\0" in part for part in row.item)
        yield row, digest(row.item)
    if nul:
        notes.append(f"NUL bytes in {nul:,} text{'' if nul == 1 else 's'}: each is read as a space")


def _told(made: Examples, skipped: SkippedRows) -> Examples:
    """With what there is to say of the rows as a whole."""
    notes = list(made.notes)
    if skipped.counts:
        reasons = ", ".join(f"{kind} ({n:,})" for kind, n in skipped.counts.most_common())
        notes.append(f"left out {skipped.counts.total():,} of {len(made) + skipped.counts.total():,}: {reasons}")
    if texts := _conflicts(made):
        notes.append(f"{texts:,} text{' comes' if texts == 1 else 's come'} with different labels: see kerastl check")
    return replace(made, notes=tuple(notes))


def _conflicts(made: Examples) -> int:
    """How many texts there are whose rows do not all have the same label."""
    assert isinstance(made.ids, Hashes)
    first, second = np.ascontiguousarray(made.ids.raw).view(np.uint64).T
    order = np.argsort(first, kind="stable")
    same = _as_before(first[order]) & _as_before(second[order])
    other = same & ~_as_before(made.targets[order])
    return len(np.unique(np.cumsum(~same)[other]))


def _as_before(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row but the first is equal to the one before it. [rows, ...] -> [rows - 1]."""
    equal = column[1:] == column[:-1]
    return np.asarray(equal if equal.ndim == 1 else equal.all(axis=1))
