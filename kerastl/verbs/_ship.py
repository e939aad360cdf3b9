"""Shipping again what was trained: `kerastl export` and `kerastl verify`."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tyro.conf import Positional

from kerastl.errors import CheckFailed
from kerastl.shell.terminal import parity_table


@dataclass(frozen=True)
class ExportConfig:
    """Writes a new version of a model with other TFLite files; the old one is not touched."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    tflite: str = "all"  # some of fp32,fp16,dynamic,int8; all (of texts all but int8) or none
    data: str | None = None  # where the training data are now, if they moved
    weights: str | None = None  # of a backbone that stays apart: where its folder is now, if it moved
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def export(config: ExportConfig) -> dict[str, Any]:
    """The same weights, head and figures; artifacts converted and compared anew."""
    from kerastl.export.export import export_model
    from kerastl.export.tflite import parse_kinds
    from kerastl.features.cache import chosen_dir
    from kerastl.inputs import restored
    from kerastl.report.report import write_report
    from kerastl.versions.folder import check_manifest, find_version, new_version, read_json
    from kerastl.versions.large import as_shipped, moved
    from kerastl.versions.restore import calibration_of, examples_of, keras_model

    folder = find_version(config.model)
    run = moved(read_json(folder, "run.json"), config.weights)
    kinds = parse_kinds(config.tflite, run["kind"])
    check_manifest(folder)
    cache = chosen_dir(config.cache_dir)
    examples = examples_of(folder, run, data=config.data, data_dir=config.data_dir, cache_dir=cache)
    model, source = keras_model(folder, run["kind"]), restored(run, folder)
    home = folder.resolve().parent
    with new_version(str(home.parent), home.name) as version:
        exported = export_model(version, model, source, as_shipped(examples, run, cache), calibration_of(run),
                                kinds=kinds, name=home.name)
        run.update(parity=[asdict(one) for one in exported.parity], breaches=list(exported.breaches))
        return write_report(version, run, examples, name=home.name)


def show_export(result: dict[str, Any]) -> str:
    """The parity table and the new version."""
    return f"{parity_table(result['parity'])}\n\nwritten    {result['path']}"


@dataclass(frozen=True)
class VerifyConfig:
    """Proves a model whole (every file's hash) and its formats equal, again, on its own held-out rows."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    data: str | None = None  # where the training data are now, if they moved
    weights: str | None = None  # of a backbone that stays apart: where its folder is now, if it moved
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def verify(config: VerifyConfig) -> dict[str, Any]:
    """Raises CheckFailed when a file changed, or an artifact breaks its bound."""
    from kerastl.export.parity import Reference, choose_rows, compare_saved_model, compare_tflite
    from kerastl.features.cache import chosen_dir
    from kerastl.inputs import restored
    from kerastl.versions.folder import check_manifest, find_version, read_json
    from kerastl.versions.large import as_shipped, moved
    from kerastl.versions.restore import examples_of, keras_model

    folder = find_version(config.model)
    files = check_manifest(folder)
    run = moved(read_json(folder, "run.json"), config.weights)
    cache = chosen_dir(config.cache_dir)
    examples = examples_of(folder, run, data=config.data, data_dir=config.data_dir, cache_dir=cache)
    examples = examples.take(choose_rows(examples))  # before features are computed of any
    rows = as_shipped(examples, run, cache)
    reference = Reference(keras_model(folder, run["kind"]), restored(run, folder), rows, np.arange(len(rows)))
    parity = [compare_saved_model(reference, folder)]
    for path in sorted((folder / "tflite").glob("model_*.tflite")):
        parity.append(compare_tflite(reference, path.stem.removeprefix("model_"), path.read_bytes()))
    broken = [one.kind for one in parity if not one.kept]
    if broken:
        raise CheckFailed(f"{folder}: {', '.join(broken)} broke the bound\n{parity_table([asdict(p) for p in parity])}",
                          "artifacts that answer as Keras does", "export again: kerastl export")
    return {"model": str(folder), "files": files, "rows": len(reference.items), "parity": [asdict(p) for p in parity]}


def show_verify(result: dict[str, Any]) -> str:
    """The parity table and how many files are whole."""
    return f"{parity_table(result['parity'])}\n\n{result['model']}: {result['files']} files as in the manifest"
