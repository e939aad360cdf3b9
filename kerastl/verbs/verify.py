"""Re-check file hashes and that all formats give the same predictions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.summary import parity_table

if TYPE_CHECKING:
    from kerastl.export.verify import VerifyResult


@dataclass(frozen=True)
class Config:
    """Re-check the hash of every file of a model, and that all formats give the same predictions on held-out rows."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    data: str | None = None  # new location of the training data, if it moved
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    files_only: bool = False  # check the files and that each format loads; needs no data
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "VerifyResult":
    """Which files and formats were checked, and how the formats compare."""
    from kerastl.export.verify import verify

    return verify(config.model, data=config.data, weights=config.weights, data_dir=config.data_dir,
                  cache_dir=config.cache_dir, trust=config.trust, files_only=config.files_only)


def show(result: "VerifyResult") -> str:
    """The parity table, and the verdict."""
    verdict = (f"FAILED: predictions differ too much from Keras: {', '.join(result.breaches)}; export the model "
               "again with `kerastl export --new-version`" if result.failed else
               f"all {result.files} files match the manifest")
    notes = "".join(f"note: {note}\n" for note in result.notes)
    shown = f"{parity_table(result.parity)}\n\n" if result.parity else ""
    return f"{shown}{notes}{result.model}: {verdict}"
