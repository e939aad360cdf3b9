"""Parquet and Excel tables, read here or, as `inputs.isolation` says, in a process of their own. `worker` reads there,
`frames` is what it sends, and `reading` receives it.
"""

import os
from collections.abc import Iterator, Sequence

from kerastl.data.delimited import Place, Record, Records
from kerastl.data.excel import excel_batches, excel_layout
from kerastl.data.layout import Batch, BatchesOf, Layout, LayoutOf
from kerastl.data.parquet import parquet_batches, parquet_layout
from kerastl.data.source import Source
from kerastl.inputs.isolation import team_for

READERS: dict[str, tuple[LayoutOf, BatchesOf]] = {  # by kind of source
    "parquet": (parquet_layout, parquet_batches), "excel": (excel_layout, excel_batches)}
TASK = f"{__name__}.worker"
LARGE = {"parquet": 2**24, "excel": 2**21}  # bytes of a file from which `auto` reads it in a process of its own


def layout_and_records(source: Source) -> tuple[Layout, Records]:
    """The layout of a table, and a function that returns each record, or why it is broken, with its place. Raises
    DataError if the file is damaged, or if reading it ends the process that does it."""
    layout_of, batches_of = READERS[source.kind]
    with source.opener() as file:
        large = os.fstat(file.fileno()).st_size >= LARGE[source.kind]

    def batches(layout: Layout, only: Sequence[str] | None) -> Iterator[Batch]:
        team = team_for(TASK, "read", "tables", large)
        if team is None:
            return batches_of(source.path, source.opener, layout, only)
        from kerastl.data.apart.reading import batches_apart

        return batches_apart(team, source, layout, only)

    def records(only: Sequence[str] | None) -> Iterator[tuple[Place, Record | str]]:
        first = 1
        for batch in batches(layout, only):
            yield from batch.records(first)
            first += batch.rows

    team = team_for(TASK, "read", "tables", large)
    if team is None:
        layout = layout_of(source.path, source.opener)
    else:
        from kerastl.data.apart.reading import layout_apart

        layout = layout_apart(team, source)
    return layout, records
