"""TFDS data sets. The encoded bytes of images are unpacked once into the cache, then read like those of a folder. Texts
are read directly, as a table."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.delimited import Record
from kerastl.data.rows import SPLIT_NAMES, Row
from kerastl.data.tables import Form, Table
from kerastl.errors import DataError, OptionError
from kerastl.files import cache_folder, read_text, write_atomically, write_file


def tfds_rows(source: str, data_dir: str | None, cache_dir: str | Path | None) -> list[Row]:
    """The rows of `tfds:NAME[:split]`. Splits named train, validation and test are used as the source's split.

    Raises DataError if the data set is neither prepared nor downloadable, or has no image and label.
    """
    builder, splits = _opened(source, data_dir)
    names = set(builder.info.features)
    if {"image", "label"} - names:
        raise DataError(f"TFDS data set {builder.name!r} has features {', '.join(sorted(names))}",
                        "the features image and label", "choose an image classification data set")
    folder, name = Path(cache_dir or "."), builder.info.full_name.replace("/", "-")
    rows = []
    for split in splits:
        root = folder / "tfds" / name
        if not (root / _index_of(split)).exists():
            root = cache_folder(folder, "tfds") / name
        index = root / _index_of(split)
        if not index.exists():
            _unpack(builder, split, index)
        for number, (file, label) in enumerate(json.loads(read_text(index))):
            rows.append(Row(f"{split}/{number}", str(root / file), (label,), split=_split_name(split, splits)))
    return rows


def _index_of(split: str) -> str:
    return f"{split.replace('/', '-')}.json"


def tfds_table(source: str, data_dir: str | None) -> Table:
    """The texts, labels and numbers of `tfds:NAME[:split]`, with names of labels, and a column `split` if the data set
    is read in several splits. A label of -1, as in a split without labels, is a missing one.

    Raises DataError if the data set is neither prepared nor downloadable.
    """
    builder, splits = _opened(source, data_dir)
    features = builder.info.features
    names = [name for name in features if _readable(features[name])]

    def records(only: Sequence[str] | None) -> Iterator[tuple[str, Record | str]]:
        needed = [name for name in names if only is None or name in only]
        for split in splits:
            for number, example in enumerate(_examples(builder, split, needed)):
                record = _record({name: (features[name], example[name]) for name in needed})
                if isinstance(record, dict):
                    record["split"] = _split_name(split, splits)
                yield f"{split}/{number}", record

    return Table(source, tuple(names), records, form=Form("tfds"))


def feature_names(source: str, data_dir: str | None) -> list[str]:
    """The names of the features of `tfds:NAME`, without reading the data. Raises DataError for an unknown data set."""
    return list(_builder(_parse(source)[0], data_dir).info.features)


def _parse(source: str) -> tuple[str, str | None]:
    """The name and the split in `tfds:NAME[:split]`. Raises OptionError if the name is missing."""
    _, _, rest = source.partition(":")
    name, _, split = rest.partition(":")
    if not name:
        raise OptionError(f"`data` is {source}", "tfds:NAME or tfds:NAME:split",
                          "name a data set, as in tfds:tf_flowers")
    return name, split or None


def _opened(source: str, data_dir: str | None) -> tuple[Any, list[str]]:
    """The prepared builder, and the splits to read."""
    name, split = _parse(source)
    builder = _builder(name, data_dir, prepare=True)
    splits = list(builder.info.splits)
    return builder, [split] if split else [name for name in splits if name in SPLIT_NAMES] or splits


def _split_name(split: str, splits: list[str]) -> str:
    return SPLIT_NAMES.get(split, "") if len(splits) > 1 else ""


def _builder(name: str, data_dir: str | None, prepare: bool = False) -> Any:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if prepare and not builder.info.splits:
            builder.download_and_prepare()
    except (OSError, ValueError, AssertionError, ImportError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"the TFDS data set {name!r} cannot be loaded: {reason[:200]}",
                        "a data set prepared in `data_dir`, or one that TFDS can download",
                        "set `data_dir`, or use a folder of your own") from error
    return builder


def _examples(builder: Any, split: str, names: Sequence[str], **decoders: Any) -> Iterator[dict[str, Any]]:
    """The examples of a split in order, with only the named features. Raises DataError for an unknown split."""
    import tensorflow_datasets as tfds

    partial = tfds.decode.PartialDecoding(dict.fromkeys(names, True), decoders=decoders)
    try:
        examples = builder.as_dataset(split=split, decoders=partial, shuffle_files=False,
                                      read_config=tfds.ReadConfig(try_autocache=False))
    except ValueError as error:
        raise DataError(f"the split {split!r} of {builder.name} cannot be read: {error}",
                        f"one of {', '.join(builder.info.splits)}", "use tfds:NAME:split with one of these") from error
    return iter(examples.as_numpy_iterator())


def _unpack(builder: Any, split: str, index: Path) -> None:
    """Write the images of a split as files, and finally the index, which shows that they are complete."""
    import tensorflow_datasets as tfds

    folder = index.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    label_name = builder.info.features["label"].int2str
    entries = []
    for number, example in enumerate(_examples(builder, split, ["image", "label"], image=tfds.decode.SkipDecoding())):
        path = folder / f"{number:08d}"
        write_file(path, example["image"])
        entries.append((str(path.relative_to(index.parent)), label_name(int(example["label"]))))
    write_atomically(index, json.dumps(entries))


def _readable(feature: Any) -> bool:
    """Whether a feature is a text, a number or a label, or a list of them."""
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
        return [_value(feature.feature, element) for element in value]
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value >= 0 else None
    return value.item() if hasattr(value, "item") else value
