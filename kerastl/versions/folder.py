"""A version's folder: written beside, synced, and renamed into place last. It is complete, or not there."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerastl.errors import CheckFailed, ModelError, OptionError
from kerastl.files import atomic_folder, remove_leftovers

FORMAT = 1
PACKAGES = ("kerastl", "tensorflow", "keras", "numpy", "scikit-learn")


@dataclass
class Version:
    """A version being made. Write into `folder`; `number` is where it will lie."""

    folder: Path
    number: int
    about: dict[str, Any]  # goes into the manifest


def home_of(out: str, name: str) -> Path:
    """Where a model's versions lie. Raises OptionError when the name cannot be a folder's or nothing can be written."""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        raise OptionError(f"--name {name!r}", "a folder's name, without slashes", "choose another, say my_model")
    home = Path(out) / name
    nearest = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        trouble = "cannot be written to" if nearest.is_dir() else "is a file"
        raise OptionError(f"--out {out}: {nearest} {trouble}", "a folder that can be written to", "choose another")
    return home


@contextmanager
def new_version(out: str, name: str) -> Iterator[Version]:
    """A folder to write a model's next version into. It appears as `out/name/N` when the block ends well, with a
    manifest of every file's SHA-256; when the block fails, nothing is left.

    Raises OptionError when the name cannot be a folder's, ModelError when another run took the number meanwhile.
    """
    home = home_of(out, name)
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"--out {out}: {error.strerror}", "a folder that can be written to",
                          "choose another") from error
    remove_leftovers(home)
    number = max(versions(home), default=0) + 1
    try:
        with atomic_folder(home / str(number)) as partial:
            version = Version(partial, number, {})
            yield version
            _write_manifest(version)
    except BaseException as error:
        for folder in made:  # as we found it
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, FileExistsError) and error.filename == str(home / str(number)):
            raise ModelError(f"{home}/{number} was written by another run meanwhile", "one run at a time for a name",
                             "run again to write the next version") from error
        raise


def versions(home: Path) -> list[int]:
    """The numbers of a model's versions, ascending."""
    if not home.is_dir():
        return []
    return sorted(int(path.name) for path in home.iterdir() if path.name.isdecimal() and path.is_dir())


def find_version(model: str) -> Path:
    """The folder of `saved_models/NAME` (its newest version), `saved_models/NAME/N`, or a version folder.

    Raises ModelError when there is none, or it is not one of ours.
    """
    path = Path(model)
    if not path.exists():
        raise ModelError(f"no such model: {model}", "saved_models/NAME or saved_models/NAME/VERSION", "check the name")
    numbers = versions(path)
    folder = path / str(numbers[-1]) if numbers else path
    if not (folder / "manifest.json").is_file() or not (folder / "run.json").is_file():
        raise ModelError(f"{model} is not a model of this kit: it has no manifest.json and run.json",
                         "a folder that `kerastl run` wrote", "check the path")
    return folder


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A version's run.json or manifest.json. Raises ModelError when it is damaged."""
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / name} cannot be read: {error}", "the file that `kerastl run` wrote",
                         "copy the version's folder again") from error
    return found


def check_manifest(folder: Path) -> int:
    """Compare every file's SHA-256 with the manifest's. Returns how many. Raises CheckFailed naming what differs."""
    listed = read_json(folder, "manifest.json").get("files", {})
    wrong = [name for name, digest in listed.items()
             if not (folder / name).is_file() or _sha256(folder / name) != digest]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    added = sorted(there - {"manifest.json", *listed})
    if added:
        raise CheckFailed(f"{folder}: {', '.join(added)} came after it was written", "files as in manifest.json",
                          "take out what was added")
    if wrong:
        raise CheckFailed(f"{folder}: {', '.join(wrong)} missing or changed since it was written",
                          "files as in manifest.json", "copy the version's folder again")
    return len(listed)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON document, readable by people."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def fingerprint(lines: list[str]) -> str:
    """A hash that is the same for the same lines in any order."""
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=16).hexdigest()


def _write_manifest(version: Version) -> None:
    files = sorted(path for path in version.folder.rglob("*") if path.is_file())
    write_json(version.folder / "manifest.json", {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        **version.about,
        "files": {str(path.relative_to(version.folder)): _sha256(path) for path in files},
    })


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
