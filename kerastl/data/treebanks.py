"""Treebanks, which models on tokens are trained on and no others: told apart by the endings of their files."""

from pathlib import Path

from kerastl.data.walk import Walk, entries
from kerastl.errors import DataError
from kerastl.files import shown

ENDINGS = (".conllu", ".conll")


def refuse_treebank(path: Path) -> None:
    """Raises DataError for a file of a treebank, a folder with such files, and a folder of such folders; a treebank
    often has its sentences as .txt too, which would be taken for texts, and the folders for classes."""
    name = _sentences_in(path)
    if name:
        what = "is a file of a treebank" if path.is_file() else f"is a treebank: it contains {name}"
        raise DataError(f"{shown(path)} {what}", "images or texts, in folders or tables", "use the recipe tag_tokens "
                        "or parse_dependencies, which take treebanks, or a model that was trained by one of these")


def _sentences_in(path: Path) -> str:
    """The name of a file of a treebank; empty where there is none."""
    if not path.is_dir():
        return path.name if path.suffix.lower() in ENDINGS else ""
    found = entries(path, Walk())
    here = [file.name for file, is_folder in found if not is_folder and file.suffix.lower() in ENDINGS]
    if here:
        return here[0]
    first = next((folder for folder, is_folder in found if is_folder), None)
    inner = [] if first is None else [file for file, is_folder in entries(first, Walk()) if not is_folder]
    return next((f"{file.parent.name}/{file.name}" for file in inner if file.suffix.lower() in ENDINGS), "")
