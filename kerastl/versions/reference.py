"""Reading the reference of a version, which `kerastl drift` and the gauges of a server compare inputs with."""

from pathlib import Path

from kerastl.errors import ModelError
from kerastl.evaluation.reference import FILE, Reference
from kerastl.files import read_bytes
from kerastl.versions.damage import require_unchanged
from kerastl.versions.folder import VERIFY
from kerastl.versions.restore import is_private


def read_reference(folder: Path) -> Reference:
    """The reference of a version. Raises ModelError where it has none, or it is damaged."""
    path = folder / FILE
    require_unchanged(folder, FILE)
    if not path.is_file() and is_private(folder):
        raise ModelError(f"{folder} was trained with `private`: it has no reference to compare inputs with, which "
                         "would hold features of rows", "a version that was trained without `private`",
                         "give labelled new data to `kerastl evaluate`")
    if not path.is_file():
        raise ModelError(f"{folder} has no {FILE}: nothing to compare inputs with",
                         "a version that was trained with it", "train again with `drift_reference` on")
    try:
        return Reference.from_bytes(read_bytes(path))
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}", "the file that `kerastl run` wrote", VERIFY) from error
