"""The files of a folder of published weights: config.json, and one weights file, or several with an index."""

import json
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError
from kerastl.files import read_text

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json. Raises WeightsError if it is missing or not a JSON object."""
    path = folder / "config.json"
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", "a folder as KerasHub or Hugging Face saves it",
                           "pass the folder that contains config.json") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is not a JSON object", "the model's config", "download the folder again")
    return config


def first_file(folder: Path) -> Path:
    """The folder's only weights file, or the index of several; one of `PICKLES` only if there are no safetensors."""
    for name in (SINGLE, INDEX, *PICKLES):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} has no weights in a supported format", f"{SINGLE}, or {INDEX} and its files",
                       "download them")


def shards(first: Path) -> list[Path]:
    """The weights files that belong to the result of `first_file`, by name. They may be missing."""
    if first.suffix != ".json":
        return [first]
    try:
        names = sorted(set(json.loads(read_text(first))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it refers to files outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{first} cannot be read: {error}", "the list of the model's files",
                           "download it again") from error
    return [first.parent / name for name in names]
