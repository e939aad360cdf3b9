"""TFDS data sets as picture files: the encoded bytes are unpacked once into the cache, then read like any folder."""

import json
import os
from pathlib import Path
from typing import Any

from kerastl.data.rows import SIDES, Row
from kerastl.errors import DataError, OptionError


def tfds_rows(source: str, data_dir: str | None, cache_dir: Path | None) -> list[Row]:
    """The rows of `tfds:NAME[:split]`. Splits named train, validation and test are the user's split.

    Raises DataError when the data set is neither prepared nor downloadable, or has no image and label.
    """
    name, wanted = _parse(source)
    builder = _builder(name, data_dir)
    there = list(builder.info.splits)
    splits = [wanted] if wanted else [part for part in there if part in SIDES] or there
    root = (cache_dir or Path(".")) / "tfds" / builder.info.full_name.replace("/", "-")
    rows = []
    for part in splits:
        index = root / f"{part.replace('/', '-')}.json"
        if not index.exists():
            _unpack(builder, part, index)
        side = SIDES.get(part, "") if len(splits) > 1 else ""
        for number, (file, label) in enumerate(json.loads(index.read_text())):
            rows.append(Row(f"{part}/{number}", root / file, (label,), side=side))
    return rows


def _parse(source: str) -> tuple[str, str | None]:
    """`tfds:NAME[:split]` to its name and split. Raises OptionError when the name is missing."""
    _, _, rest = source.partition(":")
    name, _, part = rest.partition(":")
    if not name:
        raise OptionError(f"--data {source}", "tfds:NAME or tfds:NAME:split", "name the data set, say tfds:tf_flowers")
    return name, part or None


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if not builder.info.splits:
            builder.download_and_prepare()
    except (OSError, ValueError, AssertionError, ImportError, tfds.core.registered.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"TFDS data set {name!r} cannot be had: {reason[:200]}",
                        "a data set prepared under --data-dir, or one that TFDS can download",
                        "give --data-dir, or use a folder of your own") from error
    missing = {"image", "label"} - set(builder.info.features)
    if missing:
        raise DataError(f"TFDS data set {name!r} has features {', '.join(sorted(builder.info.features))}",
                        "features image and label", "choose an image classification data set")
    return builder


def _unpack(builder: Any, part: str, index: Path) -> None:
    """Write a split's pictures as files, and last the index that says they are all there."""
    import tensorflow_datasets as tfds

    folder = index.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    label_name = builder.info.features["label"].int2str
    entries = []
    try:
        examples = builder.as_dataset(split=part, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False)
    except ValueError as error:
        raise DataError(f"split {part!r} of {builder.name}: {error}", f"one of {', '.join(builder.info.splits)}",
                        "use tfds:NAME:split with one of them") from error
    for number, example in enumerate(examples.as_numpy_iterator()):
        path = folder / f"{number:08d}"
        path.write_bytes(example["image"])
        entries.append((str(path.relative_to(index.parent)), label_name(int(example["label"]))))
    partial = index.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(entries))
    partial.replace(index)
