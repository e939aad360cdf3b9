"""Images without labels: those of files, folders and tables, one by one and in order."""

import os
from collections.abc import Iterator
from pathlib import Path

from kerastl.data.cells import Kept
from kerastl.data.detection import IMAGES, check_modality, modality_of_folder
from kerastl.data.image_tables import open_images, unlabelled_paths
from kerastl.data.input_row import InputRow
from kerastl.data.options import ReadOptions
from kerastl.data.rows import printable
from kerastl.data.shards import is_table
from kerastl.data.treebanks import refuse_treebank
from kerastl.data.walk import walk
from kerastl.files import prefetched, shown, source_path
from kerastl.modality import IMAGE

CAPTIONS = (".txt", ".caption", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".md", ".yaml", ".yml", ".html")


def image_rows(source: str, options: ReadOptions, notes: list[str], cache_dir: str | Path | None = None,
               counts: list[int | None] | None = None, kept: Kept | None = None) -> Iterator[InputRow]:
    """A row for each image of a source: a file, the files in a folder without captions, or the rows of a table.

    The item of a row is a path, at which there may be nothing. notes: is filled, while rows are read, with what was
    understood. cache_dir: where images inside a table are unpacked. counts: is filled with how many more rows than one
    there are, None for a table. kept: is filled with the columns of a table, whose rows then have their cells. Raises
    DataError if the source contains texts or cannot be opened.
    """
    path, counts = source_path(source, cache_dir), [] if counts is None else counts
    if is_table(path):
        counts.append(None)
        table, columns = open_images(path, options, cache_dir, labelled=False)
        notes += [f"{source}: {note}" for note in (*table.notes, columns.note)]
        inside = columns.items[0] in table.images
        for origin, name, why, cells in unlabelled_paths(table, columns, kept, notes):
            called = f"{source}, {origin}" if inside or why else shown(name)
            yield InputRow(printable(called), None if why else Path(name), printable(why), origin, cells)
    elif path.is_dir():
        check_modality(source, modality_of_folder(path), IMAGE)
        files = _without_captions(path, notes)
        counts.append(len(files) - 1)
        for file in prefetched(files):
            yield InputRow(printable(shown(file)), file, origin=os.path.relpath(file, path))
    else:
        refuse_treebank(path)
        yield InputRow(printable(source), path, origin=path.name)


def _without_captions(folder: Path, notes: list[str]) -> list[Path]:
    """The files in a folder, without captions of images, which are counted in a note."""
    files = list(walk(folder))
    images = {file.with_suffix("") for file in files if file.suffix.lower() in IMAGES}
    captions = {file for file in files if file.suffix.lower() in CAPTIONS and file.with_suffix("") in images}
    if captions:
        notes.append(f"{folder}: {len(captions):,} file{'' if len(captions) == 1 else 's'} beside an image of the same "
                     "name ignored, as captions")
    return [file for file in files if file not in captions]
