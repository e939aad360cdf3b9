"""Whether a source contains images or texts, detected from names and the first rows."""

from itertools import islice
from pathlib import Path

from kerastl.data.column_guesses import PAIRS, TEXTS
from kerastl.data.folders import NOTES, no_source
from kerastl.data.shards import is_table, open_source
from kerastl.data.tables import Table
from kerastl.data.tfds import feature_names
from kerastl.data.treebanks import refuse_treebank
from kerastl.data.walk import walk
from kerastl.errors import DataError
from kerastl.files import local_path, source_path
from kerastl.modality import IMAGE, TEXT, Modality

IMAGES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".svg", ".heic", ".heif", ".avif",
          ".jxl", ".jfif", ".jp2", ".ico", ".ppm", ".pgm", ".pnm")
_TEXT_NAMES = {*TEXTS, *(name for pair in PAIRS for name in pair)}
_FILES = 500  # of a folder that are examined
_ROWS = 20  # of a table that are examined


def modality_of(source: str, *, data_dir: str | None = None) -> Modality:
    """The modality of a source. A source that could be of any, such as an empty folder, counts as one of images.

    Raises DataError if there is no such source.
    """
    if source.startswith("tfds:"):
        return modality_of_features(feature_names(source, data_dir))
    path = source_path(source)
    if is_table(path):
        return modality_of_table(open_source(path))
    if path.is_dir():
        return modality_of_folder(path) or IMAGE
    raise no_source(source)


def modality_of_features(names: list[str]) -> Modality:
    """Text if a feature of a TFDS data set has a name that is typical of texts, or if none is an image."""
    return IMAGE if "image" in names and not _TEXT_NAMES.intersection(names) else TEXT


def modality_of_folder(path: Path) -> Modality | None:
    """By the endings of the first files in a folder; None if none is that of an image or .txt. A .txt file beside an
    image of the same name is its caption, not a text. Raises DataError for a treebank."""
    refuse_treebank(path)
    images, texts = contents_of_folder(path)
    return TEXT if texts > images else IMAGE if images else None


def contents_of_folder(path: Path) -> tuple[int, int]:
    """The numbers of images and of texts among the first files in a folder, without captions."""
    files = [(file.parent, file.stem, file.suffix.lower()) for file in islice(walk(path), _FILES)]
    images = {(parent, stem) for parent, stem, ending in files if ending in IMAGES}
    count = sum(ending in IMAGES for _, _, ending in files)
    texts = [(parent, stem) for parent, stem, ending in files if ending == ".txt"]
    if images:  # what describes data is not data
        texts = [(parent, stem) for parent, stem in texts if stem.lower() not in NOTES]
    return count, sum(place not in images for place in texts)


def modality_of_table(table: Table) -> Modality:
    """Image if a column named path contains names of image files; else text if a column has a name typical of texts;
    else image if any column contains images or names of image files, or is named path."""
    first = list(table.sample(_ROWS))
    files = {name for name in table.names
             if 2 * sum(looks_like_image(record.get(name)) for record in first) > len(first)}
    if "path" not in files and _TEXT_NAMES.intersection(name.lower() for name in table.names):
        return TEXT
    return IMAGE if files or table.images or "path" in table.names else TEXT


def looks_like_image(value: object) -> bool:
    """Whether a cell or an argument is the name of an image file."""
    return isinstance(value, str) and value.lower().endswith(IMAGES) and "\n" not in value


def check_modality(source: str, detected: Modality | None, expected: Modality) -> None:
    """Raises DataError if a source is of another modality than expected."""
    if detected not in (None, expected):
        both = ""
        if not source.startswith("tfds:") and (path := local_path(source)).is_dir() and all(
                counts := contents_of_folder(path)):
            both = f" (of the first files, {counts[0]} are images and {counts[1]} texts)"
        raise DataError(f"{source} contains {detected.nouns}, not {expected.nouns}{both}",
                        f"a source of {expected.nouns}",
                        f"use a recipe or a model for {detected.nouns}, or a source of {expected.nouns}")
