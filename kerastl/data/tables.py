"""Tables: the records of a CSV, JSONL or Parquet file, one at a time."""

import csv
import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from kerastl.errors import DataError

TABLES = (".csv", ".jsonl", ".parquet")


def table(path: Path, wanted: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """The records of a table, one at a time. Raises DataError when a wanted column is missing or a line is broken."""
    names, records = _READERS[path.suffix.lower()](path)
    missing = [name for name in wanted if name not in names]
    if missing:
        lower = {name.lower(): name for name in names if name not in wanted}
        close = difflib.get_close_matches(missing[0], lower, n=1, cutoff=0.5)
        raise DataError(f"{path} has columns {', '.join(names) or 'none'}", f"columns {', '.join(wanted)}",
                        f"rename {lower[close[0]]!r} to {missing[0]!r}" if close else f"name a column {missing[0]!r}")
    yield from records


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """A table's file as text. Raises DataError as soon as it is not."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason})", "a table in UTF-8", "save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: {error}", "a table in CSV", "mend it") from error


def _csv(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _text(path) as file:
            yield from csv.DictReader(file)

    with _text(path) as file:
        return next(csv.reader(file), []), records()


def _jsonl(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}", "one JSON object a line", "mend it") from error
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:40]}", "a JSON object", "mend the line")
                yield record

    return list(dict.fromkeys(name for record in records() for name in record)), records()


@contextmanager
def _arrow(path: Path) -> Iterator[Any]:
    """A Parquet file, open. Raises DataError as soon as it turns out not to be one."""
    import pyarrow
    import pyarrow.parquet

    try:
        yield pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's: damaged pages are an OSError of Arrow's own, without a number
        raise DataError(f"{path}: {error}", "a Parquet file", "write it again") from error


def _parquet(path: Path) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    def records() -> Iterator[Mapping[str, Any]]:
        with _arrow(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()

    with _arrow(path) as file:
        return list(file.schema_arrow.names), records()


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
