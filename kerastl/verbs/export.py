"""Export a model again: other TFLite files as a new version, or files for an app in a folder of their own."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.errors import OptionError
from kerastl.shell.summary import parity_table

if TYPE_CHECKING:
    from kerastl.export.mediapipe import MediaPipeFile
    from kerastl.export.tflite_files import TFLiteFiles
    from kerastl.versions.record import RunRecord

NEW_VERSION = ("a new version is written, which a server that watches the model will load; for TFLite files alone, "
               "give them a folder: --out DIR (to write a version without this line: --new-version)")


@dataclass(frozen=True)
class Config:
    """Export a model again: TFLite files for an app into a folder of their own (--out), or as a new version of the
    model. The old version is not changed."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    tflite: str = "all"  # TFLite files to write: fp32,fp16,dynamic,int8, all (texts: all but int8) or none
    out: str | None = None  # new folder for these files, with labels, test vectors and a manifest; no new version
    new_version: bool = False  # write a new version of the model, which a server loads; the default without --out
    metadata: str | None = None  # write only this .tflite file, for MediaPipe Tasks; with --out, its name there
    data: str | None = None  # new location of the training data, if it moved
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Raises OptionError for an unknown kind of TFLite file, and for flags that exclude each other."""
    from kerastl.modality import parse_kinds

    parse_kinds(config.tflite)
    if config.new_version and (config.out is not None or config.metadata is not None):
        other = "out" if config.out is not None else "metadata"
        raise OptionError(f"`new_version` and `{other}` are both set", "one of them", f"omit `{other}` to write a new "
                          "version, or `new_version` to write files only")


def run(config: Config) -> "RunRecord | MediaPipeFile | TFLiteFiles":
    """The record of the new version, the files in a folder of their own, or the file for MediaPipe."""
    if config.out is not None:
        from kerastl.export.tflite_files import export_tflite

        return export_tflite(config.model, config.out, config.tflite, metadata=config.metadata, data=config.data,
                             weights=config.weights, data_dir=config.data_dir, cache_dir=config.cache_dir)
    if config.metadata is not None:
        from kerastl.export.mediapipe import write_mediapipe

        return write_mediapipe(config.model, config.metadata, "fp32" if config.tflite == "all" else config.tflite)
    from kerastl.report.reexport import export_again

    if not config.new_version:
        print(NEW_VERSION, file=sys.stderr, flush=True)
    return export_again(config.model, config.tflite, data=config.data, weights=config.weights,
                        data_dir=config.data_dir, cache_dir=config.cache_dir)


def show(result: "RunRecord | MediaPipeFile | TFLiteFiles") -> str:
    """The parity table and the new version or folder, or the file."""
    from kerastl.export.mediapipe import MediaPipeFile
    from kerastl.export.tflite_files import TFLiteFiles

    if isinstance(result, MediaPipeFile):
        return f"written    {result.path}: {result.bytes / 1e6:.1f} MB, {result.labels} labels, of {result.model}"
    shown = f"{parity_table(result.parity)}\n\nwritten    {result.path}"
    if not isinstance(result, TFLiteFiles):
        return shown
    copied = f"copied     {', '.join(result.copied)}, of {result.model}, with the figures that are recorded there\n"
    return (f"{copied * bool(result.copied)}{shown}: {len(result.files)} files, {result.bytes / 1e6:.1f} MB, and "
            "manifest.json; the model has no new version")
