"""Reading a source of any modality, for callers that handle all of them. Each function calls the one of the same name
in the modality's reader, `data.images` or `data.texts`."""

from pathlib import Path
from typing import Any

from kerastl.data.examples import Examples
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.modality import modality_named


def read_labelled(modality: str, source: str, *, options: ReadOptions = READ_AS_USUAL, min_per_class: int = 0,
                  limit: int | None = None, data_dir: str | None = None, cache_dir: str | Path | None = None
                  ) -> Examples:
    """The labelled rows of a source; by default all, however few there are of a class. modality: `image` or `text`.

    options: the columns of a table, and how labels are understood. Raises DataError if the source cannot be read.
    """
    examples: Examples = _reader(modality, "read_labelled")(
        source, options=options, min_per_class=min_per_class, limit=limit, data_dir=data_dir, cache_dir=cache_dir)
    return examples


def read_unlabelled(modality: str, source: str, *, options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None,
                    cache_dir: str | Path | None = None) -> Examples:
    """The rows of a source, labelled or not. Raises DataError if the source cannot be read or is empty."""
    examples: Examples = _reader(modality, "read_unlabelled")(
        source, options=options, data_dir=data_dir, cache_dir=cache_dir)
    return examples


def _reader(modality: str, function: str) -> Any:
    record = modality_named(modality)
    return record.load(record.reader, function)
