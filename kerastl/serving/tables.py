"""Writing predictions to a table file as they come: CSV or Parquet, all or nothing."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kerastl.display import csv_cell
from kerastl.files import atomic_file, open_file

COLUMNS = ("input", "label", "score", "error", "unknown_score")
ENDINGS = (".csv", ".parquet")
ROW_GROUP = 10_000  # rows of a Parquet file that are in memory until they are written

# Input, label, score (None where there is an error), error, unknown_score (None there, and of models that have none)
Row = tuple[str, str, float | None, str, float | None]
Add = Callable[[Row], object]


@contextmanager
def table_writer(path: Path, raw: bool = False) -> Iterator[Add]:
    """A function that adds a row to a table, CSV or Parquet as the ending of `path` says. The table takes the place of
    an older file when the block ends; if the block fails, nothing is written. raw: whether the cells of a CSV file are
    written as they are, also those that a spreadsheet would take for a formula."""
    with atomic_file(path) as partial, _csv(partial, raw) if path.suffix == ".csv" else _parquet(partial) as add:
        yield add


@contextmanager
def _csv(path: Path, raw: bool) -> Iterator[Add]:
    with open_file(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield writer.writerow if raw else lambda row: writer.writerow([csv_cell(cell) for cell in row])


@contextmanager
def _parquet(path: Path) -> Iterator[Add]:
    import pyarrow as pa
    import pyarrow.parquet

    types = (pa.string(), pa.string(), pa.float64(), pa.string(), pa.float64())
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    pending: list[Row] = []

    def write() -> None:
        file.write_table(pa.table([list(column) for column in zip(*pending, strict=True)], schema=schema))
        pending.clear()

    def add(row: Row) -> None:
        pending.append(row)
        if len(pending) == ROW_GROUP:
            write()

    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        yield add
        if pending:
            write()
