"""Labelled rows and rows without labels as one set of examples, so that both are compared and computed alike."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.compact import Codes, Hashes
from kerastl.data.examples import Examples
from kerastl.data.spool import Spool
from kerastl.data.summary import NOTHING_YET
from kerastl.errors import DataError


def joined(labelled: Examples, unlabelled: Examples, cache_dir: Path | None = None) -> Examples:
    """The labelled rows, then the others, in order. The classes and the task are those of the labelled rows; the
    targets of the others mean nothing. What was skipped, and the notes, stay with the two. cache_dir: where texts are
    stored while this process runs.

    Raises DataError where only one of the two holds pairs of texts.
    """
    parts = labelled, unlabelled
    pairs = [isinstance(part.items[0], tuple) for part in parts]
    if pairs[0] != pairs[1]:
        kinds = ["pairs of texts" if pair else "single texts" for pair in pairs]
        raise DataError(f"{labelled.source} holds {kinds[0]}, and {unlabelled.source} {kinds[1]}",
                        "the same of both", "name the columns of the texts")
    targets = np.zeros((len(unlabelled), *labelled.targets.shape[1:]), labelled.targets.dtype)
    ids = _column([part.ids for part in parts], None)
    own_groups = any(part.groups is not part.ids for part in parts)
    return replace(
        labelled, items=_column([part.items for part in parts], cache_dir),
        origins=_column([part.origins for part in parts], cache_dir), ids=ids,
        groups=_column([part.groups for part in parts], None) if own_groups else ids,
        source_split=_column([part.source_split for part in parts], None), min_per_class=0,
        targets=np.concatenate([labelled.targets, targets]), split=None, soft_targets=None, near_duplicates=None,
        near_duplicate_search=None, skipped=(), notes=(), summary=NOTHING_YET, corrections=None,
        units=None)


def _column(parts: Sequence[Any], folder: Path | None) -> Any:
    """One column of two; a long one of texts stays in a file."""
    if all(isinstance(part, Hashes) for part in parts):
        return Hashes(np.concatenate([part.raw for part in parts]))
    if any(isinstance(part, Codes) for part in parts):
        return Codes.of(chain(*parts))
    if not any(isinstance(part, Spool) for part in parts):
        return tuple(chain(*parts))
    column: Spool[Any] = Spool(folder, getattr(parts[0], "pairs", False))
    for text in chain(*parts):
        column.append(text)
    return column
