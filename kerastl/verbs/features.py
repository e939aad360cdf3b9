"""`kerastl features`: writes a backbone's features of a source to a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from kerastl.errors import OptionError
from kerastl.shell.process import check_path


@dataclass(frozen=True)
class FeaturesConfig:
    """Writes a backbone's features of a source, in input order."""

    source: Positional[str]  # a folder of images or texts (labelled or not), a table, or tfds:NAME
    out: str  # a .parquet or .npz
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    pooling: str = "mean"  # of texts: mean, cls, last or pooled
    max_length: int | None = None  # of texts, in tokens; default: what holds 99 in 100
    long: str = "head"  # of longer texts: head, head+tail or chunks
    text_column: str | None = None  # where a table's texts are; default: found by name and content
    batch_size: int = 32  # images or texts at a time
    precision: str = "auto"  # auto, float32, mixed_bfloat16, mixed_float16; large: float32, bfloat16, int8, int4
    pickles: bool = False  # of a large backbone, also read weights that are pickles, admitting tensors only
    xla: str = "auto"  # auto, on or off
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def features(config: FeaturesConfig) -> dict[str, Any]:
    """Features with content hashes and names; what does not decode is left out, and listed."""
    from kerastl import backbones, runtime
    from kerastl.data.read import read_unlabelled
    from kerastl.features.cache import chosen_dir
    from kerastl.features.compute import compute_features

    out = check_path(config.out, "--out")
    if out.suffix not in (".parquet", ".npz"):
        raise OptionError(f"--out {config.out}", "a .parquet or .npz", "change its ending")
    cache = chosen_dir(config.cache_dir)
    kind = backbones.spec_of(config.backbone)[0].modality.name
    examples = read_unlabelled(kind, config.source, text_column=config.text_column, data_dir=config.data_dir,
                               cache_dir=cache)
    backbone = backbones.load(config.backbone, config.weights, pooling=config.pooling, precision=config.precision,
                              pickles=config.pickles)
    if kind == "text":
        from kerastl.features.lengths import fit_length

        backbone = fit_length(backbone, examples, config.max_length, config.long)
    found = compute_features(examples, backbone, runtime.apply(config.precision, config.xla), cache_dir=cache,
                             batch_size=config.batch_size)
    with _partial(out) as partial:
        (_write_npz if out.suffix == ".npz" else _write_parquet)(partial, found)
    return {"out": config.out, "rows": len(found.examples), "dim": found.dim, "backbone": backbone.name,
            "random_weights": backbone.random, "compute": found.compute, "word": found.word, "computed": found.computed,
            "left_out": [asdict(one) for one in found.examples.skipped]}


def show_features(result: dict[str, Any]) -> str:
    """In a line or two."""
    lines = [f"{result['rows']} rows of {result['dim']} features written to {result['out']} ({result['word']})"]
    if result["random_weights"]:
        lines.append("RANDOM WEIGHTS: these features come from a network that was never trained")
    return "\n".join(lines + [f"left out: {one['origin']}: {one['reason']}" for one in result["left_out"]])


def _write_npz(path: Path, found: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, ids=np.array(found.examples.ids), names=np.array(found.examples.origins),
                 features=found.rows(np.arange(len(found.examples))))


def _write_parquet(path: Path, found: Any) -> None:
    """Block by block, so that memory does not grow with the rows."""
    import pyarrow as pa
    import pyarrow.parquet

    schema = pa.schema([("id", pa.string()), ("name", pa.string()), ("features", pa.list_(pa.float32(), found.dim))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(found.examples), 4096):
            rows = np.arange(start, min(start + 4096, len(found.examples)))
            values = pa.FixedSizeListArray.from_arrays(pa.array(found.rows(rows).ravel()), found.dim)
            names = [pa.array([column[i] for i in rows]) for column in (found.examples.ids, found.examples.origins)]
            writer.write_batch(pa.record_batch([*names, values], schema=schema))


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when the block ends well, and goes when it does not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
