"""Records of Parquet files, with the values that other tables have: texts for bytes and dates, names for classes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerastl.data.broken import Broken
from kerastl.data.layout import Batch, Layout, Opener
from kerastl.errors import DataError

_BATCH = 8_000_000  # bytes that are converted to records at a time
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")  # the first bytes of images
_UNCHANGED = frozenset({str, float, bool, type(None)})  # types of values that are as other tables have them
_EXAMINED = 20  # cells of a column of bytes that are examined


def parquet_layout(path: Path, opener: Opener) -> Layout:
    """The columns, and what they are. Raises DataError if the file is damaged."""
    with _open(path, opener) as file:
        schema = file.schema_arrow
        metadata = {key.decode(errors="replace"): value for key, value in (schema.metadata or {}).items()}
    index = _index_columns(metadata, schema.names)
    names = [name for name in schema.names if name not in index]
    classes = _class_names(metadata)
    sounds = [name for name, feature in _features(metadata).items()
              if isinstance(feature, dict) and feature.get("_type") in ("Audio", "Video")]
    images = [name for name in dict.fromkeys(names) if names.count(name) == 1 and name not in sounds
              and _has_images(path, opener, schema.field(name))]
    notes = [f"labels of column {name!r} are the names in the file's metadata: {', '.join(values[:20])}"
             f"{' ...' * (len(values) > 20)}" for name, values in classes.items() if name in names]
    notes += [f"columns not used, since they are the index of pandas: {', '.join(index)}"] * bool(index)
    return Layout(names, notes, images, classes)


def parquet_batches(path: Path, opener: Opener, layout: Layout, only: Sequence[str] | None) -> Iterator[Batch]:
    """The records of these columns, without numbers of lines. Raises DataError where the file is damaged."""
    wanted = [name for name in layout.names if only is None or name in only]
    with _open(path, opener) as file:
        for batch in _batches(file, wanted):
            yield _plain(batch, layout, strict=only is not None)


@contextmanager
def _open(path: Path, opener: Opener) -> Iterator[Any]:
    """An open Parquet file. Raises DataError as soon as it turns out to be damaged."""
    import pyarrow
    import pyarrow.parquet

    try:
        with opener() as source, pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for names of columns
        if isinstance(error, OSError) and error.errno:
            raise  # the system's own; for damaged pages Arrow raises an OSError without a number
        raise DataError(f"{path}: {error}", "a valid Parquet file", "write the file again") from error


def _batches(file: Any, names: Sequence[str]) -> Iterator[Any]:
    sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
    rows = max(1, min(4096, _BATCH * file.metadata.num_rows // max(1, sum(sizes))))
    yield from file.iter_batches(rows, columns=names)


def _index_columns(metadata: Mapping[str, bytes], names: Sequence[str]) -> list[str]:
    """The columns in which pandas stored an index without a name."""
    try:
        stored = json.loads(metadata["pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError):
        return []
    return [name for name in stored if isinstance(name, str) and name.startswith("__index_level_") and name in names]


def _features(metadata: Mapping[str, bytes]) -> dict[str, Any]:
    """What Hugging Face's `datasets` writes to the schema about each column."""
    try:
        features = json.loads(metadata["huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict | list)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _class_names(metadata: Mapping[str, bytes]) -> dict[str, list[str]]:
    """For each column of class numbers the names."""
    return {name: names for name, feature in _features(metadata).items() if (names := _names_in(feature))}


def _names_in(feature: Any) -> list[str]:
    """The names of a ClassLabel, or of a list of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names_in(feature[0])
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") == "ClassLabel" and feature.get("names"):
        names = feature["names"]
        return list(map(str, names.values() if isinstance(names, dict) else names))
    return _names_in(feature.get("feature"))


def _has_images(path: Path, opener: Opener, field: Any) -> bool:
    """Whether a column consists of images: structs of bytes and path, or bytes that begin like images."""
    import pyarrow.types as types

    if types.is_struct(field.type):
        inner = {field.type.field(i).name: field.type.field(i).type for i in range(field.type.num_fields)}
        return set(inner) <= {"bytes", "path"} and "bytes" in inner and _is_binary(inner["bytes"])
    if not _is_binary(field.type):
        return False
    with _open(path, opener) as file:
        batch = next(file.iter_batches(_EXAMINED, columns=[field.name]), None)
    cells = [cell for cell in batch.column(0).to_pylist() if cell] if batch is not None else []
    return 2 * sum(cell.startswith(_IMAGES) or cell[4:8] == b"ftyp" for cell in cells) > len(cells)  # HEIC, AVIF


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
            or types.is_binary_view(kind))


def _plain(batch: Any, layout: Layout, strict: bool) -> Batch:
    """A batch as other tables have it. strict: a record with a value that is not UTF-8, or not a class, is broken."""
    columns, reasons = dict[str, list[Any]](), dict[int, str]()
    for i, name in enumerate(batch.schema.names):
        values = list(_values(batch.column(i)))
        if name in layout.images:
            columns[name] = [value if isinstance(value, dict | None) else {"bytes": value, "path": None}
                             for value in values]
        else:
            columns[name] = _column(name, values, layout.classes.get(name, []), strict, reasons)
    if not reasons:
        return Batch(batch.num_rows, columns)
    broken = {row: Broken(why, {name: values[row] for name, values in columns.items()})
              for row, why in reasons.items()}
    return Batch(batch.num_rows, {name: [value for row, value in enumerate(values) if row not in broken]
                                  for name, values in columns.items()}, broken)


def _column(name: str, values: list[Any], classes: Sequence[str], strict: bool, reasons: dict[int, str]) -> list[Any]:
    """The values of a column as other tables have them. reasons: is filled with why a row is broken, unless another
    column has broken it."""
    if _UNCHANGED.issuperset(map(type, values)):
        return values
    for row, value in enumerate(values):
        try:
            values[row] = _value(value, classes)
        except ValueError as error:
            if strict or isinstance(value, Exception):
                reasons.setdefault(row, f"{error}: column {name!r}")
                values[row] = None
    return values


def _values(column: Any) -> Iterator[Any]:
    """The values of a column as Python has them; for one that Python cannot represent the error."""
    import pyarrow

    if (texts := _with_times_as(column.type, pyarrow.string())) != column.type:
        try:
            column = column.cast(texts)
        except pyarrow.ArrowException:
            column = column.cast(_with_times_as(column.type, pyarrow.int64())).cast(texts)
    try:
        yield from column.to_pylist()
        return
    except (ValueError, OverflowError, pyarrow.ArrowException):  # Arrow does not validate the UTF-8 of texts
        pass
    for i in range(len(column)):
        try:
            yield column[i].as_py()
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            yield error


def _with_times_as(kind: Any, other: Any) -> Any:
    """A type of columns with another type in place of dates and times, at any depth: Python's own have neither
    nanoseconds nor the years after 9999."""
    import pyarrow
    import pyarrow.types as types

    def inner(field: Any) -> Any:
        return field.with_type(_with_times_as(field.type, other))

    if types.is_temporal(kind):
        return other
    if types.is_dictionary(kind):
        values = _with_times_as(kind.value_type, other)
        return kind if values == kind.value_type else values
    if types.is_struct(kind):
        return pyarrow.struct([inner(kind.field(i)) for i in range(kind.num_fields)])
    if types.is_map(kind):
        return pyarrow.map_(inner(kind.key_field), inner(kind.item_field))
    if types.is_list(kind) or types.is_large_list(kind):
        return (pyarrow.list_ if types.is_list(kind) else pyarrow.large_list)(inner(kind.value_field))
    return pyarrow.list_(inner(kind.value_field), kind.list_size) if types.is_fixed_size_list(kind) else kind


def _value(value: Any, names: Sequence[str]) -> Any:
    """A value as other tables have it. Raises ValueError, with the reason, if it has none."""
    if isinstance(value, UnicodeDecodeError):
        raise ValueError("not UTF-8")
    if isinstance(value, Exception):
        raise ValueError(f"a value that cannot be read ({value})")
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
    if isinstance(value, list):
        return [_value(element, names) for element in value]
    if names and isinstance(value, int) and not isinstance(value, bool):
        if value == -1:  # how `datasets` writes that there is no label
            return None
        if not 0 <= value < len(names):
            raise ValueError(f"class number out of range ({value}, of {len(names)} names)")
        return names[value]
    return value
