"""Rows of files that were found but not read yet, as columns that use little memory."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.rows import Row
from kerastl.data.spool import Spool


class FoundRows:
    """Rows whose items are paths: 32 bytes of memory for each, and one text for each distinct label and group.

    rows: the first ones. folder: of the temporary file of the paths; default: that of temporary files.
    """

    def __init__(self, rows: Iterable[Row] = (), folder: Path | None = None) -> None:
        self.paths, self._origins = Spool[str](folder), Spool[str](folder)
        self._labels, self._groups = array("i"), array("i")  # the number of each row's value
        self._known_labels: dict[tuple[tuple[str, ...], str], int] = {}  # labels and split
        self._known_groups: dict[str, int] = {}
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Add a row, which must have a path."""
        self.paths.append(str(row.item))
        self._origins.append(row.origin)
        self._labels.append(self._known_labels.setdefault((row.labels, row.split), len(self._known_labels)))
        self._groups.append(self._known_groups.setdefault(row.group, len(self._known_groups)))

    def take(self, rows: NDArray[np.intp]) -> "FoundRows":
        """These rows only."""
        taken: FoundRows = object.__new__(FoundRows)
        taken.paths, taken._origins = self.paths.take(rows), self._origins.take(rows)
        taken._labels, taken._groups = (array("i", np.frombuffer(numbers, np.int32)[rows].tobytes())
                                        for numbers in (self._labels, self._groups))
        taken._known_labels, taken._known_groups = self._known_labels, self._known_groups
        return taken

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Row]:
        labels, groups = list(self._known_labels), list(self._known_groups)
        for path, origin, label, group in zip(self.paths, self._origins, self._labels, self._groups, strict=True):
            yield Row(origin, path, labels[label][0], groups[group], labels[label][1])
