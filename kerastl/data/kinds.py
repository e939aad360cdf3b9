"""Whether a source holds images or texts, told from its names and its first rows."""

from itertools import islice
from pathlib import Path

from kerastl.data.columns import PAIRS, TEXTS
from kerastl.data.folders import no_source, walk
from kerastl.data.tables import TABLES, Table, open_table
from kerastl.data.tfds import feature_names
from kerastl.errors import DataError

IMAGES = (".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".svg", ".heic", ".avif")
_WORDED = {*TEXTS, *(name for pair in PAIRS for name in pair)}
_LOOKED_AT = 500  # files of a folder
_ROWS = 20  # of a table


def kind_of(source: str, *, data_dir: str | None = None) -> str:
    """"image" or "text". A source that could be either, such as an empty folder, is one of images.

    Raises DataError when there is no such source.
    """
    if source.startswith("tfds:"):
        return kind_of_features(feature_names(source, data_dir))
    path = Path(source)
    if path.is_dir():
        return kind_of_folder(path) or "image"
    if path.is_file() and path.suffix.lower() in TABLES:
        return kind_of_table(open_table(path))
    raise no_source(source)


def kind_of_features(names: list[str]) -> str:
    """Texts where a feature of a TFDS data set is called after such, or none is an image."""
    return "image" if "image" in names and not _WORDED.intersection(names) else "text"


def kind_of_folder(path: Path) -> str:
    """By the endings of the first files below it; "" when none is an image's or .txt."""
    endings = [file.suffix.lower() for file in islice(walk(path), _LOOKED_AT)]
    texts, images = endings.count(".txt"), sum(ending in IMAGES for ending in endings)
    return "text" if texts > images else "image" if images else ""


def kind_of_table(table: Table) -> str:
    """Images when a column called path holds names of image files; else texts when a column is called after such;
    else images when any column holds names of image files, or is called path."""
    first = list(table.sample(_ROWS))
    files = {name for name in table.names
             if 2 * sum(looks_like_image(record.get(name)) for record in first) > len(first)}
    if "path" not in files and _WORDED.intersection(name.lower() for name in table.names):
        return "text"
    return "image" if files or "path" in table.names else "text"


def looks_like_image(value: object) -> bool:
    """Whether a cell or an argument is the name of an image file."""
    return isinstance(value, str) and value.lower().endswith(IMAGES) and "\n" not in value


def check_kind(source: str, found: str, wanted: str) -> None:
    """Raises DataError when a source holds texts where images are wanted, or the other way round."""
    if found not in ("", wanted):
        names = {"image": "images", "text": "texts"}
        raise DataError(f"{source} holds {names[found]}, not {names[wanted]}", f"a source of {names[wanted]}",
                        f"use a recipe or a model for {names[found]}, or give a source of {names[wanted]}")
