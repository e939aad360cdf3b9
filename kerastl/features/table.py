"""The features of a source as a file: Parquet or NumPy's .npz, a row for each example, in input order."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerastl import backbones
from kerastl.data.examples import Examples, Skipped, say
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled, read_unlabelled
from kerastl.devices import limit_devices
from kerastl.errors import DataError
from kerastl.features.cache import chosen_dir
from kerastl.features.compute import Features, compute_features
from kerastl.features.lengths import fit_length
from kerastl.files import atomic_file, open_file, output_file
from kerastl.runtime import apply

ENDINGS = (".parquet", ".npz")
BLOCK = 4096  # rows in memory at a time


@dataclass(frozen=True)
class FeatureTable:
    """What was written. columns: names, in the order of the file. compute, reason: the type that the rows were computed
    in, and why. computed: rows that were not in the cache. engine: which computed the rows, also those in the cache."""

    path: str
    rows: int
    dim: int
    columns: tuple[str, ...]
    backbone: str
    random_weights: bool
    compute: str
    reason: str
    computed: int
    skipped: tuple[Skipped, ...]
    engine: str = "tensorflow"

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl features --json` prints."""
        return {"out": self.path, "rows": self.rows, "dim": self.dim, "columns": list(self.columns),
                "backbone": self.backbone, "random_weights": self.random_weights, "engine": self.engine,
                "compute": self.compute, "word": self.reason, "computed": self.computed,
                "left_out": [asdict(item) for item in self.skipped]}


def write_features(source: str, out: str, *, backbone: str = "efficientnet_lite0", weights: str | None = None,
                   pooling: str = "mean", layer: str = "top", max_length: int | None = None, long: str = "head",
                   text_column: str | None = None, label_column: str | None = None,
                   options: ReadOptions = READ_AS_USUAL, batch_size: int = 32,
                   engine: str = "auto", workers: int = 0, precision: str = "auto", pickles: bool = False,
                   xla: str = "auto", devices: int | str = "auto", data_dir: str | None = None,
                   cache_dir: str | None = None) -> FeatureTable:
    """Compute the features of a source, labelled or not, and write them to a .parquet or .npz file.

    Columns: id (hash of the content), name, label where the source has labels (several are joined by `|`, a row without
    one has an empty string), and features. What cannot be decoded is skipped. pooling, max_length, long: for texts, as
    in training. engine, workers, devices: see `apply_runtime`. Raises OptionError for another file type or a missing
    folder, DataError where there is no such source.
    """
    target = output_file(out, ENDINGS, [source])
    limit_devices(devices)  # before anything is computed
    cache = chosen_dir(cache_dir)
    modality = backbones.spec_of(backbone)[0].modality
    options = options.with_columns(text_column=text_column, label_column=label_column)
    examples = say(read_unlabelled(modality.name, source, options=options, data_dir=data_dir, cache_dir=cache))
    network = backbones.load(backbone, weights, pooling=pooling, layer=layer, precision=precision, pickles=pickles)
    if modality.has_length:
        network = fit_length(network, examples, max_length, long)
    runtime = apply(precision, xla, engine=engine, workers=workers, devices=devices)
    features = compute_features(examples, network, runtime, cache_dir=cache, batch_size=batch_size)
    labels = _labels(features.examples, options, data_dir, cache)
    _write(target, features, labels)
    columns = ("id", "name", *(["label"] * (labels is not None)), "features")
    return FeatureTable(out, len(features.examples), features.dim, columns, network.name, network.random,
                        features.compute, features.reason, features.computed, features.examples.skipped,
                        features.engine)


def _labels(examples: Examples, options: ReadOptions, data_dir: str | None, cache: Path) -> list[str] | None:
    """The label of each row as text; None where the source has no labels, unless a column of them was named."""
    try:
        if options.label_column == NONE:
            return None
        labelled = read_labelled(examples.modality.name, examples.source, options=options, data_dir=data_dir,
                                 cache_dir=cache)
    except DataError:
        if options.label_column is not None:
            raise
        return None  # whether a source has labels is known by reading it
    files = examples.modality.in_files  # their paths are unique; what a row is called may differ
    keys, known_keys = ((rows.items if files else rows.origins) for rows in (examples, labelled))
    known = {(str(key), content): row for row, (key, content) in enumerate(zip(known_keys, labelled.ids, strict=True))}
    rows = [known.get((str(key), content)) for key, content in zip(keys, examples.ids, strict=True)]
    if all(row is None for row in rows):
        return None
    return ["" if row is None else labelled.label_of(row) for row in rows]


def _write(path: Path, features: Features, labels: Sequence[str] | None) -> None:
    text = {"id": features.examples.ids, "name": features.examples.origins, **({"label": labels} if labels else {})}
    with atomic_file(path) as partial:
        (_write_npz if path.suffix == ".npz" else _write_parquet)(partial, features, text)


def _write_npz(path: Path, features: Features, text: dict[str, Sequence[str]]) -> None:
    names = {"id": "ids", "name": "names", "label": "labels"}  # of the arrays
    with open_file(path, "wb") as file:
        np.savez(file, allow_pickle=False, features=features.rows(np.arange(len(features.examples))),
                 **{names[name]: np.array(list(column)) for name, column in text.items()})


def _write_parquet(path: Path, features: Features, text: dict[str, Sequence[str]]) -> None:
    """Block by block, so that memory does not grow with the rows."""
    import pyarrow as pa
    import pyarrow.parquet

    schema = pa.schema([*((name, pa.string()) for name in text), ("features", pa.list_(pa.float32(), features.dim))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(features.examples), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(features.examples)))
            values = pa.FixedSizeListArray.from_arrays(pa.array(features.rows(rows).ravel()), features.dim)
            columns = [pa.array([column[row] for row in rows.tolist()]) for column in text.values()]
            writer.write_batch(pa.record_batch([*columns, values], schema=schema))
