"""Write the features that a backbone computes for a source to a file."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.flags import DataFlags

if TYPE_CHECKING:
    from kerastl.features.table import FeatureTable


@dataclass(frozen=True)
class Config(DataFlags):
    """Write the features of a source to a file, in input order, with content hash, name and label of each row."""

    source: Positional[str]  # a folder of images or texts (labelled or not), a table, or tfds:NAME
    out: str  # a .parquet or .npz file
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    layer: str = "top"  # feature layer of the backbone; see `kerastl backbones`
    pooling: str = "mean"  # texts: pooling of token states: mean, cls, last or pooled
    max_length: int | None = None  # texts: maximum tokens per text (default: the 99th percentile of token counts)
    long: str = "head"  # longer texts: head or head+tail (truncate), or chunks (average over windows)
    batch_size: int = 32  # images or texts per batch
    engine: str = "auto"  # auto (the fastest on this machine), tensorflow, openvino, or ray (a Ray cluster)
    workers: int = 0  # compute in N processes (ray: N workers of the cluster; default: one per machine)
    precision: str = "auto"  # auto, float32, mixed_bfloat16, mixed_float16; large: float32, bfloat16, int8, int4
    pickles: bool = False  # large backbones: also read pickled weights (tensors only)
    xla: str = "auto"  # compile with XLA: auto, on or off
    devices: str = "auto"  # auto (all GPUs), a number of GPUs that share the work, or cpu (no GPU)
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "FeatureTable":
    """Compute the features and write them."""
    from kerastl.features.table import write_features

    others = {"json", *DataFlags.__dataclass_fields__}
    arguments = {name: value for name, value in vars(config).items() if name not in others}
    return write_features(**arguments, options=config.read_options())


def show(result: "FeatureTable") -> str:
    """What was written, and what was skipped."""
    lines = [f"{result.rows} rows of {result.dim} features written to {result.path}, with the columns "
             f"{', '.join(result.columns)} ({result.reason})"]
    if result.random_weights:
        lines.append("RANDOM WEIGHTS: these features come from a network that was not trained")
    return "\n".join([*lines, *(f"skipped: {item.origin}: {item.reason}" for item in result.skipped)])
