"""All cells of the rows of a table, so that predictions can be written beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerastl.data.broken import Broken
from kerastl.data.delimited import Record
from kerastl.data.tables import Table, listed

NO_CELLS: Mapping[str, Any] = {}


@dataclass
class Kept:
    """The columns of the tables that are read, in the order in which they are found. Filled while rows are read."""

    names: list[str] = field(default_factory=list)

    def add(self, table: Table, notes: list[str]) -> list[str]:
        """Add the columns of a table, and return their names. Images inside a table are no cells."""
        names = [name for name in dict.fromkeys(table.names) if name not in table.images]
        twice = [name for name in names if table.names.count(name) > 1]
        notes += [f"{table.where}: of the columns with the same name, {listed(twice)}, the last is kept"] * bool(twice)
        notes += [f"{table.where}: the images in column {listed(table.images)} are not written beside the predictions"
                  ] * bool(table.images)
        self.names += [name for name in names if name not in self.names]
        return names


def records_with_cells(table: Table, columns: Sequence[str], kept: Kept | None, notes: list[str]
                       ) -> Iterator[tuple[str, Record | str, Mapping[str, Any]]]:
    """The origin of each record, the record or why it is broken, and all of its cells; no cells where `kept` is None.

    columns: that are needed: only these can make a record broken. The cells are read by a second pass through the
    table, side by side with the first: a cell of another column that cannot be read is None there.
    """
    names = [] if kept is None else kept.add(table, notes)
    if not names:
        yield from ((origin, record, NO_CELLS) for origin, record in table.records(columns))
        return
    every = table.records(names if table.images else None)
    for (origin, record), (_, cells) in zip(table.records(columns), every, strict=True):
        yield origin, record, _cells(cells)


def _cells(record: Record | str) -> Mapping[str, Any]:
    """The cells of a record. Those of a broken one count where they are not more than the header has: else it is
    unknown which column each belongs to."""
    if isinstance(record, Broken):
        return record.first if record.first is record.last else NO_CELLS
    return NO_CELLS if isinstance(record, str) else record
