"""Tables that kerastl wrote for people to edit: cells that a spreadsheet would take for a formula begin with an
apostrophe there. A column says in which cells, so that the apostrophe is removed again when the table is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kerastl.data.delimited import Record
from kerastl.data.tables import Table
from kerastl.display import begins_a_formula, with_formula, without_formula

MARK = "apostrophe_added"  # the column: names of other columns, separated by commas
NOTE = f"apostrophes in front of cells are removed where the column {MARK!r} says that they were added"


def with_apostrophes(cells: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The cells of a row, made safe in these columns; `MARK` says in which of them an apostrophe may be in front."""
    added = [name for name in names if begins_a_formula(str(cells[name]).lstrip("'"))]
    return {name: without_formula(str(cell)) if name in names else cell for name, cell in cells.items()
            } | {MARK: ",".join(added)}


def restored(table: Table) -> Table:
    """The table with the cells as they were; one without `MARK` as it is."""
    if MARK not in table.names:
        return table
    read: Callable[[Sequence[str] | None], Iterator[tuple[str, Record | str]]] = table.records

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        for origin, record in read(None if only is None else [*only, MARK]):
            if isinstance(record, str):
                yield origin, record
                continue
            marked = str(record.get(MARK) or "").split(",")
            yield origin, {name: with_formula(cell) if name in marked and isinstance(cell, str) else cell
                           for name, cell in record.items() if name != MARK}

    names = tuple(name for name in table.names if name != MARK)
    return replace(table, names=names, records=records, notes=(*table.notes, NOTE))
