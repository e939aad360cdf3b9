"""Models on tokens: their versions have a record of their own, and a module of their own that loads them."""

import importlib
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError, OptionError
from kerastl.versions.folder import RECORD, VERIFY, find_version, read_json

KIND = "token"  # in run.json, where other models have their modality
LOADERS = {"tagging": "kerastl.tagging.model", "parsing": "kerastl.dependencies.model"}  # by the task in run.json
FIGURES = {"tagging": "accuracy", "parsing": "las"}  # of run.json's `test`, the figure that `kerastl models` shows
SERVING_MODULES = ("tensorflow_text",)  # imported before a SavedModel loads: they register its operations


def is_token_model(folder: Path) -> bool:
    """Whether a version folder holds a model on tokens. Raises ModelError where run.json is missing or damaged."""
    return read_json(folder, RECORD).get("kind") == KIND


def loader_of(folder: Path) -> Any:
    """The module of a version's task, with `load_model` and `predict_files`. Raises ModelError for an unknown task."""
    task = read_json(folder, RECORD).get("task")
    if task not in LOADERS:
        raise ModelError(f"{folder / RECORD} names the task {task!r}", f"one of {', '.join(LOADERS)}", VERIFY)
    return importlib.import_module(LOADERS[str(task)])


def token_loader(model: str | Path) -> Any:
    """As `loader_of`, for what `find_version` takes; None for another model than one on tokens."""
    folder = find_version(str(model))
    return loader_of(folder) if is_token_model(folder) else None


def not_for_tokens(where: Path) -> ModelError:
    """The error for a model on tokens where another is needed. where: its run.json."""
    return ModelError(f"{where} is that of a model on tokens", "a model of images or texts",
                      "use kerastl.load, `kerastl predict`, `kerastl verify` or `kerastl serve`")


def only_for_rows(**given: Any) -> None:
    """Raises OptionError that names the arguments of `predict` which were given but mean nothing to a model on
    tokens."""
    names = ", ".join(f"`{name}`" for name, value in given.items() if value)
    if names:
        raise OptionError(f"{names} cannot be used with a model on tokens", "`text`, `out` or `trust`", "omit it")
