"""Sources of texts: a table, a folder of class folders of .txt files, or a TFDS data set.

Texts are read as a stream, hashed, and stored in an unnamed file, so that memory use stays small for any number of
texts. Unusable rows are skipped, with the reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from kerastl.data.columns import Columns, choose
from kerastl.data.conflicts import conflicts
from kerastl.data.detection import check_modality, modality_of_features, modality_of_folder, modality_of_table
from kerastl.data.examples import Examples, SkippedRows, enough, say
from kerastl.data.folders import FolderRows, folder_rows, no_source
from kerastl.data.found_rows import FoundRows
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.relabel import corrections_in, relabelled
from kerastl.data.rows import UNLABELLED, Row, examples_of
from kerastl.data.shards import is_table, open_source
from kerastl.data.spool import digest
from kerastl.data.summary import DataSummary, check_losses
from kerastl.data.tables import Table
from kerastl.data.text_rows import folder_texts, table_texts
from kerastl.data.tfds import feature_names, tfds_table
from kerastl.data.walk import Walk, walk
from kerastl.errors import DataError, OptionError
from kerastl.files import source_path
from kerastl.modality import TEXT


def read_texts(source: str | Path, *, text_column: str | None = None, label_column: str | None = None,
               options: ReadOptions = READ_AS_USUAL, min_per_class: int = 10, limit: int | None = None,
               data_dir: str | None = None, cache_dir: str | Path | None = None) -> Examples:
    """The labelled texts, or pairs of texts, of a source. What was understood of it is printed.

    source: a `.csv`, `.tsv`, `.jsonl` or `.parquet` table with columns of texts and labels, and optionally
    `group,split`; `DIR` containing `<class>/**/<text>.txt` (or `train/ validation/ test/` of such); or
    `tfds:NAME[:split]`. text_column: `a`, or `a,b` for pairs; default: detected by name or content, like
    `label_column`. options: the other columns of a table, and how labels are understood. min_per_class: classes with
    fewer texts are skipped. limit: read at most this many texts, distributed evenly over the classes. data_dir: the
    folder of TFDS data sets. cache_dir: where the texts are stored while this process runs.
    Raises DataError if there is no such source, or fewer than two classes of `min_per_class` texts, CheckFailed if
    `options.strict` and many rows are skipped.
    """
    chosen = options.with_columns(text_column=text_column, label_column=label_column)
    return say(read_labelled(str(source), options=chosen, min_per_class=min_per_class, limit=limit, data_dir=data_dir,
                             cache_dir=cache_dir))


def read_labelled(source: str, *, options: ReadOptions = READ_AS_USUAL, min_per_class: int = 0,
                  limit: int | None = None, data_dir: str | None = None, cache_dir: str | Path | None = None
                  ) -> Examples:
    """As `read_texts`, by default with all classes, however small, and without printing."""
    examples = enough(_read(source, options, True, min_per_class, data_dir, cache_dir))
    examples = examples if limit is None else examples.limited(limit)
    check_losses(source, examples.summary)
    return examples


def read_unlabelled(source: str, *, options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None,
                    cache_dir: str | Path | None = None) -> Examples:
    """As `read_texts`, for texts that need no labels: also any folder of .txt files, or a table without labels.

    Raises DataError if there is no such source, or nothing in it.
    """
    return _read(source, ReadOptions(text_column=options.text_column), False, 0, data_dir, cache_dir)


def _read(source: str, options: ReadOptions, labelled: bool, min_per_class: int, data_dir: str | None,
          cache_dir: str | Path | None) -> Examples:
    if options.path_column not in (None, NONE):
        raise OptionError(f"`path_column` is {options.path_column}, but the source contains texts",
                          "a source of images", "omit `path_column`")
    skipped, notes, corrections = SkippedRows(), list[str](), corrections_in(options.relabel)
    path, pairs, folder = source_path(source, cache_dir), False, None if cache_dir is None else Path(cache_dir)
    if source.startswith("tfds:") or is_table(path):
        if source.startswith("tfds:"):
            check_modality(source, modality_of_features(feature_names(source, data_dir)), TEXT)
        table = tfds_table(source, data_dir) if source.startswith("tfds:") else open_source(path, folder)
        chosen = _chosen(table, options, labelled)
        if source.startswith("tfds:") and options.split_column is None:
            chosen = replace(chosen, split="split")  # which `tfds_table` adds to its columns
        notes += [*table.notes, chosen.note, *chosen.remarks]
        rows, pairs = table_texts(table, chosen, skipped), len(chosen.items) == 2
        summary = DataSummary(layout=str(table.form), columns=chosen.roles, unused=chosen.unused,
                              split=f"split from column {chosen.split!r}" if chosen.split else "")
        if source.startswith("tfds:"):
            summary = replace(summary, layout="TFDS data set", split="split from TFDS")
    elif path.is_dir():
        check_modality(source, modality_of_folder(path), TEXT)
        found = folder_rows(path, skipped, (".txt",), options, folder) if labelled else _any_files(path, folder)
        notes += found.notes
        rows, summary = folder_texts(found.rows, skipped, notes), DataSummary(layout=found.layout, split=found.split)
    else:
        raise no_source(source)
    examples = examples_of(TEXT, source, _hashed(rows, notes), skipped, min_per_class, notes, folder=folder,
                           pairs=pairs, options=options, summary=summary)
    if not len(examples):
        first = next(iter(examples.skipped), None)
        if first is None and examples.summary.columns:
            raise DataError(f"no usable texts in {source}: it has no rows below its header",
                            "rows with a text and a label", "check the file")
        raise DataError(f"no usable texts in {source}" + (f" ({first.origin}: {first.reason})" if first else ""),
                        "rows with a text and a label", "check the file")
    return _with_notes(relabelled(examples, corrections))


def _any_files(root: Path, folder: Path | None) -> FolderRows:
    """A row without a label for each file in a folder."""
    met = Walk()
    rows = FoundRows((Row(str(path.relative_to(root)), str(path), UNLABELLED) for path in walk(root, met)), folder)
    return FolderRows(rows, "folder of files", notes=tuple(met.notes(root)))


def _chosen(table: Table, options: ReadOptions, labelled: bool) -> Columns:
    if options.text_column is None and table.names:
        check_modality(table.where, modality_of_table(table), TEXT)
    return choose(table, options, labelled)


def _hashed(rows: Iterable[Row], notes: list[str]) -> Iterator[tuple[Row, bytes]]:
    nul = 0
    for row in rows:
        nul += "\0" in row.item if isinstance(row.item, str) else any("\0" in part for part in row.item)
        yield row, digest(row.item)
    if nul:
        notes.append(f"NUL bytes in {nul:,} text{'' if nul == 1 else 's'}: each is replaced by a space")


def _with_notes(examples: Examples) -> Examples:
    """Add the notes on the rows as a whole."""
    notes = list(examples.notes)
    if texts := conflicts(examples):
        notes.append(f"{texts:,} text{' occurs' if texts == 1 else 's occur'} with different labels: see kerastl check")
    return replace(examples, notes=tuple(notes))
