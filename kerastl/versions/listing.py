"""What is in a folder of models: each version with its data, its figures and its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.errors import KerastlError, ModelError, one_line
from kerastl.fields import Section
from kerastl.files import is_file, model_path, size_of
from kerastl.versions.damage import MISSING
from kerastl.versions.folder import VERIFY, read_json, versions
from kerastl.versions.token_models import FIGURES

SAVED_MODEL = "saved_model"


@dataclass(frozen=True)
class ModelVersion(Section):
    """A version. made: date and time, UTC. formats: SavedModel and TFLite files. bytes: of all files. milliseconds: of
    the SavedModel for one input, as measured at export. gain: its accuracy minus that of the version before on the same
    rows, as measured when it was trained; compared_with: the name of that version. error: why it cannot be read; the
    rest is empty then. figure: what `accuracy` is: `accuracy`, or `las` of a parser."""

    name: str
    version: int
    made: str = ""
    head: str = ""
    backbone: str = ""
    n_train: int = 0
    n_test: int = 0
    accuracy: float | None = None
    accuracy_ci95: tuple[float, float] | None = None
    formats: tuple[str, ...] = ()
    bytes: int = 0
    milliseconds: float | None = None
    error: str = ""
    gain: float | None = None
    gain_ci95: tuple[float, float] | None = None
    compared_with: str = ""
    figure: str = "accuracy"


@dataclass(frozen=True)
class ModelList(Section):
    """The models in a folder, by name, the newest version first."""

    folder: str
    models: tuple[ModelVersion, ...]


def list_models(folder: str | Path = "saved_models") -> ModelList:
    """List the versions of all models in a folder, or of one model. A version that cannot be read is listed with the
    reason. Raises ModelError for a folder that does not exist or has none."""
    path = model_path(folder)
    if not path.is_dir():
        raise ModelError(f"no such folder: {folder}", "a folder of models, or a model", "train one: kerastl run")
    homes = [path] if versions(path) else [child for child in sorted(path.iterdir()) if versions(child)]
    if not homes:
        raise ModelError(f"{folder} contains no models", "NAME/VERSION folders, as `kerastl run` writes them",
                         "train one: kerastl run")
    return ModelList(str(folder), tuple(_version(home, number) for home in homes
                                        for number in reversed(versions(home))))


def _accuracy(record: Mapping[str, Any], figure: str) -> tuple[float | None, tuple[float, float] | None]:
    """The accuracy and its interval; None where a private run did not pay for them."""
    test = record["test"]
    if record.get("private") is not None and test["accuracy"] is None:
        return None, None
    low, high = test[f"{figure}_ci95"]
    return float(test[figure]), (float(low), float(high))


def _version(home: Path, number: int) -> ModelVersion:
    """Its figures as they stand in run.json. A RunRecord would check all of it, which takes TensorFlow and seconds; so
    would the hashes of the files."""
    folder, name = home / str(number), home.absolute().name
    try:
        record, manifest = read_json(folder, "run.json"), read_json(folder, "manifest.json")
        if missing := sorted(name for name in manifest["files"] if not is_file(folder / name)):
            raise ModelError(f"{folder} is damaged: {MISSING}: {', '.join(missing)}")
        test, kept = record["test"], [artifact for artifact in record["parity"] if artifact["kept"]]
        before, figure = record.get("previous") or {}, FIGURES.get(str(record.get("task")), ModelVersion.figure)
        compared = before.get("old") is not None
        return ModelVersion(
            name, number, str(manifest["made"]), str(record["head"]), str(record["backbone"]), int(record["n_train"]),
            int(test["n"]), *_accuracy(record, figure), tuple(one["kind"] for one in kept),
            sum(size_of(path) for path in folder.rglob("*") if path.is_symlink() or path.is_file()),
            next((float(one["milliseconds"]) for one in kept if one["kind"] == SAVED_MODEL), None),
            gain=float(before["gain"]) if compared else None,
            gain_ci95=(float(before["gain_ci95"][0]), float(before["gain_ci95"][1])) if compared else None,
            compared_with=str(before["old"]["name"]) if compared else "", figure=figure)
    except KerastlError as error:
        return ModelVersion(name, number, error=f"{error.got}; {VERIFY}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return ModelVersion(name, number, error=f"{folder / 'run.json'} is damaged: {one_line(error)}; {VERIFY}")
