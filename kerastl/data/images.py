"""Sources of images: a folder of class folders, a table of paths and labels, or a prepared TFDS data set.

Files are read once, for their hash; nothing is decoded. Rows without a readable file are skipped, with the reason.
"""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kerastl.data.conflicts import conflicts
from kerastl.data.corrections import Corrections
from kerastl.data.detection import IMAGES, check_modality, modality_of_folder
from kerastl.data.examples import Examples, SkippedRows, enough, say
from kerastl.data.folders import folder_rows, no_source
from kerastl.data.found_rows import FoundRows
from kerastl.data.image_inputs import CAPTIONS, image_rows
from kerastl.data.image_tables import labelled_rows, open_images
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.paths import Paths, from_windows
from kerastl.data.relabel import corrections_in, relabelled
from kerastl.data.roles import label_in_words
from kerastl.data.rows import UNLABELLED, Row, examples_of
from kerastl.data.shards import is_table
from kerastl.data.summary import DataSummary, check_losses
from kerastl.data.tfds import tfds_rows
from kerastl.data.unpacked import folder_of
from kerastl.errors import DataError, OptionError
from kerastl.files import local_path, open_file, prefetched, source_path
from kerastl.modality import IMAGE

AT_A_TIME = 4096  # files that wait to be read: each takes memory


def read_images(source: str | Path, *, options: ReadOptions = READ_AS_USUAL, min_per_class: int = 10,
                limit: int | None = None, data_dir: str | None = None, cache_dir: str | Path | None = None) -> Examples:
    """The labelled images of a source, hashed but not decoded. What was understood of it is printed.

    source: `DIR` containing `<class>/**/<image>` (or `train/ validation/ test/` of such); a `.csv`, `.tsv`, `.jsonl`
    or `.parquet` table with columns `path,label` and optionally `group,split`; or `tfds:NAME[:split]`.
    options: the columns of a table, and how labels are understood. min_per_class: classes with fewer images are
    skipped. limit: read at most this many images, distributed evenly over the classes. data_dir: the folder of TFDS
    data sets. cache_dir: where TFDS images are unpacked.
    Raises DataError if there is no such source, or fewer than two classes of `min_per_class` images, CheckFailed if
    `options.strict` and many rows are skipped.
    """
    return say(_read(str(source), options, min_per_class, limit, data_dir, cache_dir))


def read_labelled(source: str, *, options: ReadOptions = READ_AS_USUAL, min_per_class: int = 0,
                  limit: int | None = None, data_dir: str | None = None, cache_dir: str | Path | None = None
                  ) -> Examples:
    """As `read_images`, by default with all classes, however small, and without printing. Raises OptionError for a
    column of texts."""
    return _read(source, options, min_per_class, limit, data_dir, cache_dir)


def read_unlabelled(source: str, *, options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None,
                    cache_dir: str | Path | None = None) -> Examples:
    """As `read_images`, for images that need no labels: also any folder of images, or a table of paths.

    Raises DataError if there is no such source, or nothing in it.
    """
    _no_texts(options)
    if source.startswith("tfds:"):
        return read_labelled(source, options=options, data_dir=data_dir, cache_dir=cache_dir)
    folder = None if cache_dir is None else Path(cache_dir)
    notes, skipped, rows = list[str](), SkippedRows(), FoundRows(folder=folder)
    for row in image_rows(source, options, notes, cache_dir):
        if row.error:
            skipped.add(row.origin, row.error)
        else:
            rows.append(Row(row.origin, str(row.item), UNLABELLED))
    path = local_path(source, cache_dir)
    layout = "folder of images" if path.is_dir() and not is_table(path) else "table"
    return _hashed(source, Source(rows, DataSummary(layout=layout), tuple(notes)), skipped, 0, READ_AS_USUAL, folder)


def _no_texts(options: ReadOptions) -> None:
    if options.text_column is not None:
        raise OptionError(f"`text_column` is {options.text_column}, but the source contains images",
                          "a source of texts", "omit `text_column`")


@dataclass(frozen=True)
class Source:
    """The rows of a source, none of which was read yet, and what was understood of it."""

    rows: FoundRows
    summary: DataSummary
    notes: tuple[str, ...] = ()


def _read(source: str, options: ReadOptions, min_per_class: int, limit: int | None, data_dir: str | None,
          cache_dir: str | Path | None) -> Examples:
    _no_texts(options)
    skipped, corrections = SkippedRows(), corrections_in(options.relabel)
    examples = _hashed(source, _rows(source, options, data_dir, cache_dir, skipped), skipped, min_per_class, options,
                       None if cache_dir is None else Path(cache_dir), corrections)
    examples = examples if limit is None else examples.limited(limit)
    check_losses(source, examples.summary)
    return examples


def _hashed(source: str, made: Source, skipped: SkippedRows, min_per_class: int, options: ReadOptions,
            folder: Path | None, corrections: Corrections | None = None) -> Examples:
    notes = list(made.notes)
    examples = examples_of(IMAGE, source, _readable(source, made.rows, skipped, notes), skipped, min_per_class, notes,
                           folder=folder, options=options, summary=made.summary)
    examples = relabelled(examples, corrections)
    if n := conflicts(examples):
        occur = "image occurs" if n == 1 else "images occur"
        examples = replace(examples, notes=(*examples.notes, f"{n:,} {occur} with different labels: see kerastl check"))
    return enough(examples)


def _readable(source: str, rows: FoundRows, skipped: SkippedRows, notes: list[str]) -> Iterator[tuple[Row, bytes]]:
    """The rows whose file can be read, each with the hash of its content. Raises DataError where there are none."""
    readable, windows, paths = 0, 0, Paths()
    for row, content in zip(rows, _hashes(rows.paths), strict=True):
        if isinstance(content, OSError) and (meant := from_windows(str(row.item))):
            row, windows = replace(row, item=meant), windows + 1
            content = next(_hashes([meant]))
        if isinstance(content, OSError):
            missing = content.errno in (errno.ENOENT, errno.ENOTDIR)
            if missing and os.path.islink(str(row.item)):
                cause = f"it is a link to {os.readlink(str(row.item))}, which does not exist"
            else:
                cause = paths.cause(str(row.item)) if missing and not os.path.lexists(str(row.item)) else ""
            reason = str(content.strerror or content) + (f": {cause}" if cause else "")
            skipped.add(row.origin, reason, label_in_words(row.labels))
        else:
            readable += 1
            yield row, content
    if windows:
        notes.append(f"paths with backslashes in {windows:,} row{'' if windows == 1 else 's'} are read as Windows "
                     "paths")
    if not readable:
        first = next(iter(skipped.listed()), None)
        raise DataError(f"no labelled images in {source}" + (f" ({first.origin}: {first.reason})" if first else ""),
                        "DIR/<class>/<image>, or a table with the columns path and label",
                        "check the path; paths in a table are relative to the table's folder")


def _rows(source: str, options: ReadOptions, data_dir: str | None, cache_dir: str | Path | None, skipped: SkippedRows
          ) -> Source:
    folder = None if cache_dir is None else Path(cache_dir)
    if source.startswith("tfds:"):
        return Source(FoundRows(tfds_rows(source, data_dir, cache_dir), folder), DataSummary(
            layout="TFDS data set", split="split from TFDS"))
    path = source_path(source, cache_dir)
    if is_table(path):
        table, columns = open_images(path, options, cache_dir, labelled=True)
        summary = DataSummary(layout=str(table.form), columns=columns.roles, unused=columns.unused,
                              split=f"split from column {columns.split!r}" if columns.split else "")
        rows = FoundRows(labelled_rows(table, columns, skipped), folder)
        cache = folder_of(cache_dir)
        inside = sum(cache.absolute() in Path(path).parents for path in rows.paths) if table.images else 0
        notes = [f"{inside:,} image{'' if inside == 1 else 's'} inside the table, unpacked to {cache}"]
        return Source(rows, summary, (*table.notes, columns.note, *columns.remarks, *notes[:inside]))
    if path.is_dir():
        check_modality(source, modality_of_folder(path), IMAGE)
        found = folder_rows(path, skipped, IMAGES, options, folder)
        rows, notes = _without_captions(found.rows)
        return Source(rows, DataSummary(layout=found.layout, split=found.split), (*found.notes, *notes))
    raise no_source(source)


def _without_captions(rows: FoundRows) -> tuple[FoundRows, list[str]]:
    """Without files that describe images, and a note on them."""
    caption = [ending if (ending := os.path.splitext(path)[1].lower()) in CAPTIONS else "" for path in rows.paths]
    endings = Counter(filter(None, caption))
    if not endings:
        return rows, []
    counts = ", ".join(f"{n:,} {ending} file{'' if n == 1 else 's'}" for ending, n in sorted(endings.items()))
    return (rows.take(np.flatnonzero([not ending for ending in caption])),
            [f"ignored beside the images, as captions or descriptions: {counts}"])


def _hashes(paths: Sequence[str]) -> Iterator[bytes | OSError]:
    """The hash of the content of each file, or why it cannot be read."""

    def content_hash(path: str) -> bytes | OSError:
        try:
            if os.path.exists(path) and not os.path.isfile(path):
                return OSError(errno.EINVAL, "not a regular file")  # opening a named pipe would block
            with open_file(path) as file:
                return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        except OSError as error:  # returned: it becomes the reason why the row is skipped
            return error
        except ValueError:  # such as a NUL in the name
            return OSError(errno.EINVAL, "not a valid file name")

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), AT_A_TIME):
            yield from pool.map(content_hash, prefetched(paths[start:start + AT_A_TIME]))
