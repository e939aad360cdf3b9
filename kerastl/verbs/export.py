"""Export a model again, with other TFLite files, as a new version."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.summary import parity_table

if TYPE_CHECKING:
    from kerastl.export.mediapipe import MediaPipeFile
    from kerastl.versions.record import RunRecord


@dataclass(frozen=True)
class Config:
    """Export a model again, with other TFLite files, as a new version; the old version is not changed."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    tflite: str = "all"  # TFLite files to write: fp32,fp16,dynamic,int8, all (texts: all but int8) or none
    metadata: str | None = None  # write only this .tflite file, for MediaPipe Tasks, made of the fp32 file or --tflite
    data: str | None = None  # new location of the training data, if it moved
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Raises OptionError for an unknown kind of TFLite file."""
    from kerastl.modality import parse_kinds

    parse_kinds(config.tflite)


def run(config: Config) -> "RunRecord | MediaPipeFile":
    """The record of the new version, or the file for MediaPipe."""
    if config.metadata is not None:
        from kerastl.export.mediapipe import write_mediapipe

        return write_mediapipe(config.model, config.metadata, "fp32" if config.tflite == "all" else config.tflite)
    from kerastl.report.reexport import export_again

    return export_again(config.model, config.tflite, data=config.data, weights=config.weights,
                        data_dir=config.data_dir, cache_dir=config.cache_dir)


def show(result: "RunRecord | MediaPipeFile") -> str:
    """The parity table and the new version, or the file."""
    if not hasattr(result, "parity"):
        return f"written    {result.path}: {result.bytes / 1e6:.1f} MB, {result.labels} labels, of {result.model}"
    return f"{parity_table(result.parity)}\n\nwritten    {result.path}"
