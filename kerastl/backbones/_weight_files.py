"""What a folder of published weights has in it: config.json, and files of weights, one or several with an index."""

import json
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json. Raises WeightsError when it is not there or not a JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", "a folder as KerasHub or Hugging Face saves it",
                           "give the folder that has config.json in it") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a JSON object", "the model's config", "fetch the folder again")
    return config


def first_file(folder: Path) -> Path:
    """The folder's one file of weights or the index of several; one of `PICKLES` only where no safetensors are."""
    for name in (SINGLE, INDEX, *PICKLES):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has no weights that are read here", f"{SINGLE}, or {INDEX} and its files",
                       "fetch them")


def shards(first: Path) -> list[Path]:
    """The files of weights that belong to what `first_file` found, by name. Whether they are there is not looked at."""
    if first.suffix != ".json":
        return [first]
    try:
        names = sorted(set(json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{first} cannot be read: {error}", "the list of the model's files",
                           "fetch it again") from error
    return [first.parent / name for name in names]
