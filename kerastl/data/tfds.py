"""TFDS data sets. Images: the encoded bytes are unpacked once into the cache, then read like any folder. Texts: read
straight, as a table."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.delimited import Record
from kerastl.data.rows import SIDES, Row
from kerastl.data.tables import Table
from kerastl.errors import DataError, OptionError
from kerastl.files import cache_folder, write_atomically


def tfds_rows(source: str, data_dir: str | None, cache_dir: Path | None) -> list[Row]:
    """The rows of `tfds:NAME[:split]`. Splits named train, validation and test are the user's split.

    Raises DataError when the data set is neither prepared nor downloadable, or has no image and label.
    """
    builder, splits = _opened(source, data_dir)
    names = set(builder.info.features)
    if {"image", "label"} - names:
        raise DataError(f"TFDS data set {builder.name!r} has features {', '.join(sorted(names))}",
                        "features image and label", "choose an image classification data set")
    root = cache_folder(cache_dir or Path("."), "tfds") / builder.info.full_name.replace("/", "-")
    rows = []
    for part in splits:
        index = root / f"{part.replace('/', '-')}.json"
        if not index.exists():
            _unpack(builder, part, index)
        for number, (file, label) in enumerate(json.loads(index.read_text())):
            rows.append(Row(f"{part}/{number}", str(root / file), (label,), side=_side(part, splits)))
    return rows


def tfds_table(source: str, data_dir: str | None) -> Table:
    """The texts, labels and numbers of `tfds:NAME[:split]`, labels by their names, and a column `split` where the
    splits are the user's. A label of -1, as in a split without labels, is none.

    Raises DataError when the data set is neither prepared nor downloadable.
    """
    builder, splits = _opened(source, data_dir)
    features = builder.info.features
    names = [name for name in features if _readable(features[name])]

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        wanted = [name for name in names if only is None or name in only]
        for part in splits:
            for number, example in enumerate(_examples(builder, part, wanted)):
                record = _record({name: (features[name], example[name]) for name in wanted})
                if isinstance(record, dict):
                    record["split"] = _side(part, splits)
                yield f"{part}/{number}", record

    return Table(source, tuple(names), records)


def feature_names(source: str, data_dir: str | None) -> list[str]:
    """The features' names of `tfds:NAME`, without reading or downloading it. Raises DataError when there is no such."""
    return list(_builder(_parse(source)[0], data_dir).info.features)


def _parse(source: str) -> tuple[str, str | None]:
    """`tfds:NAME[:split]` to its name and split. Raises OptionError when the name is missing."""
    _, _, rest = source.partition(":")
    name, _, part = rest.partition(":")
    if not name:
        raise OptionError(f"--data {source}", "tfds:NAME or tfds:NAME:split", "name the data set, say tfds:tf_flowers")
    return name, part or None


def _opened(source: str, data_dir: str | None) -> tuple[Any, list[str]]:
    """The builder, prepared, and the splits that are read."""
    name, wanted = _parse(source)
    builder = _builder(name, data_dir, prepare=True)
    there = list(builder.info.splits)
    return builder, [wanted] if wanted else [part for part in there if part in SIDES] or there


def _side(part: str, splits: list[str]) -> str:
    return SIDES.get(part, "") if len(splits) > 1 else ""


def _builder(name: str, data_dir: str | None, prepare: bool = False) -> Any:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if prepare and not builder.info.splits:
            builder.download_and_prepare()
    except (OSError, ValueError, AssertionError, ImportError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"TFDS data set {name!r} cannot be had: {reason[:200]}",
                        "a data set prepared under --data-dir, or one that TFDS can download",
                        "give --data-dir, or use a folder of your own") from error
    return builder


def _examples(builder: Any, part: str, names: Sequence[str], **how: Any) -> Iterator[dict[str, Any]]:
    """A split's examples in their order, of each only these features. Raises DataError for a split there is not."""
    import tensorflow_datasets as tfds

    decoders = tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders=how)
    try:
        examples = builder.as_dataset(split=part, decoders=decoders, shuffle_files=False,
                                      read_config=tfds.ReadConfig(try_autocache=False))
    except ValueError as error:
        raise DataError(f"split {part!r} of {builder.name}: {error}", f"one of {', '.join(builder.info.splits)}",
                        "use tfds:NAME:split with one of them") from error
    return iter(examples.as_numpy_iterator())


def _unpack(builder: Any, part: str, index: Path) -> None:
    """Write a split's images as files, and last the index that says they are all there."""
    import tensorflow_datasets as tfds

    folder = index.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    label_name = builder.info.features["label"].int2str
    entries = []
    for number, example in enumerate(_examples(builder, part, ["image", "label"], image=tfds.decode.SkipDecoding())):
        path = folder / f"{number:08d}"
        path.write_bytes(example["image"])
        entries.append((str(path.relative_to(index.parent)), label_name(int(example["label"]))))
    write_atomically(index, json.dumps(entries))


def _readable(feature: Any) -> bool:
    """Whether a feature is a text, a number or a label, or a list of such."""
    import tensorflow_datasets as tfds

    inner = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
    return isinstance(inner, tfds.features.Tensor) and inner.shape == ()


def _record(values: dict[str, tuple[Any, Any]]) -> Record | str:
    try:
        return {name: _value(feature, value) for name, (feature, value) in values.items()}
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason}"


def _value(feature: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim:
        return [_value(feature.feature, one) for one in value]
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else None
    return value.item() if hasattr(value, "item") else value
