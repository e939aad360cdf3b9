"""Reading a source of either kind, for the verbs that take both."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kerastl.data.examples import Examples
from kerastl.data.sources import read_any, read_images
from kerastl.data.sources import read_unlabelled as read_paths
from kerastl.data.texts import read_any_texts, read_texts, read_unlabelled_texts


def read_labelled(kind: str, source: str, *, text_column: str | None = None, label_column: str | None = None,
                  min_per_class: int = 0, limit: int | None = None, data_dir: str | None = None,
                  cache_dir: Path | None = None) -> Examples:
    """The labelled rows of a source; by default all, however few there are of a class. kind: `image` or `text`.

    Raises DataError when it is no such source.
    """
    if kind == "text":
        return read_texts(source, text_column=text_column, label_column=label_column,
                          min_per_class=min_per_class, limit=limit, data_dir=data_dir, cache_dir=cache_dir)
    return read_images(source, min_per_class=min_per_class, limit=limit, data_dir=data_dir, cache_dir=cache_dir)


def read_unlabelled(kind: str, source: str, *, text_column: str | None = None, data_dir: str | None = None,
                    cache_dir: Path | None = None) -> Examples:
    """The rows of a source, labelled or not. Raises DataError when it is no such source, or nothing is in it."""
    if kind == "text":
        return read_any_texts(source, text_column=text_column, data_dir=data_dir, cache_dir=cache_dir)
    return read_any(source, data_dir=data_dir, cache_dir=cache_dir)


def read_inputs(kind: str, inputs: Iterable[str], *, text_column: str | None = None) -> Sequence[Any]:
    """The inputs to predict on: for images the paths of files, for texts the texts or pairs of texts.

    inputs: files, folders, tables, or texts. Raises DataError for one that cannot be read.
    """
    return read_unlabelled_texts(inputs, text_column=text_column) if kind == "text" else read_paths(inputs)
