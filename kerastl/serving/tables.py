"""Writing predictions to a table file, all or nothing: CSV, JSON lines or Parquet."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.data.rows import printable
from kerastl.display import begins_a_formula, csv_cell, visible_json
from kerastl.files import atomic_file, open_file

COLUMNS = ("input", "label", "score", "error", "unknown_score")
ENDINGS = (".csv", ".jsonl", ".parquet")
ROW_GROUP = 10_000  # rows of a Parquet file that are in memory until they are written
_NUMBER = re.compile(r"\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*")

Kind = type[bool] | type[int] | type[float] | type[str]
# Input, label, score (None where there is an error), error, unknown_score (None there, and of models that have none)
Row = tuple[str, str, float | None, str, float | None]
Add = Callable[[Sequence[Any]], object]


@dataclass(frozen=True)
class Column:
    """A column of a table of predictions. kind: the type of its values, which Parquet stores; values of other types
    are written as JSON there. own: whether its cells come from a table of inputs, where a number stays as it is."""

    name: str
    kind: Kind = str
    own: bool = False


PLAIN = tuple(Column(name, float if name.endswith("score") else str) for name in COLUMNS)


@contextmanager
def table_writer(path: Path, columns: Sequence[Column], raw: bool = False) -> Iterator[Add]:
    """A function that adds a row to a table, in the format that the ending of `path` says. The table takes the place of
    an older file when the block ends; if the block fails, nothing is written. raw: whether the cells of a CSV file are
    written as they are, also those that a spreadsheet would take for a formula."""
    with atomic_file(path) as partial:
        if path.suffix == ".csv":
            with _csv(partial, columns, raw) as add:
                yield add
        else:
            with (_parquet if path.suffix == ".parquet" else _json_lines)(partial, columns) as add:
                yield add


def would_be_formula(value: Any, own: bool = False) -> bool:
    """Whether a cell of a CSV file gets an apostrophe in front, unless it is written raw. own: see `Column`."""
    return isinstance(value, str) and begins_a_formula(value.lstrip("'")) and not (own and _is_number(value))


@contextmanager
def _csv(path: Path, columns: Sequence[Column], raw: bool) -> Iterator[Add]:
    def cell(value: Any, column: Column) -> Any:
        value = _as_text(value) if isinstance(value, list | dict) else value
        return value if raw or (column.own and _is_number(value)) else csv_cell(value)

    with open_file(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([column.name if raw else csv_cell(column.name) for column in columns])
        yield lambda row: writer.writerow(map(cell, row, columns))


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


@contextmanager
def _json_lines(path: Path, columns: Sequence[Column]) -> Iterator[Add]:
    """An object a line. JSON has no infinity and no NaN: they are null."""
    with open_file(path, "w", newline="\n") as file:

        def add(row: Sequence[Any]) -> None:
            values = {column.name: _finite(value) for column, value in zip(columns, row, strict=True)}
            file.write(visible_json(json.dumps(values, ensure_ascii=False)) + "\n")

        yield add


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return {name: _finite(inner) for name, inner in value.items()} if isinstance(value, dict) else value


@contextmanager
def _parquet(path: Path, columns: Sequence[Column]) -> Iterator[Add]:
    import pyarrow as pa
    import pyarrow.parquet

    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(column.name, types[column.kind]) for column in columns])
    pending: list[Sequence[Any]] = []

    def write() -> None:
        values = zip(columns, zip(*pending, strict=True), strict=True)
        file.write_table(pa.table([[_of_kind(value, column.kind) for value in cells] for column, cells in values],
                                  schema=schema))
        pending.clear()

    def add(row: Sequence[Any]) -> None:
        pending.append(row)
        if len(pending) == ROW_GROUP:
            write()

    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        yield add
        if pending:
            write()


def _of_kind(value: Any, kind: Kind) -> Any:
    return value if value is None or kind is bool else _as_text(value) if kind is str else kind(value)


def _as_text(value: Any) -> str:
    """A value as text: a text as it is, any other as JSON."""
    return value if isinstance(value, str) else printable(json.dumps(value, ensure_ascii=False))
