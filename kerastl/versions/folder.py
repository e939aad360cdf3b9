"""A version folder: written under a temporary name, synced, and renamed last. It is complete, or it does not exist."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError, OptionError, expect, one_line
from kerastl.files import (
    atomic_folder,
    file_sha256,
    is_file,
    is_mirrored,
    local_path,
    model_path,
    read_text,
    refreshed,
    remove_leftovers,
    taken_numbers,
    whole,
    write_atomically,
    write_file,
)
from kerastl.files.writing import check_destination

FORMAT = 1
MANIFEST, RECORD = "manifest.json", "run.json"
VERIFY = "list the damage with `kerastl verify`, and copy the version folder again"
SIGNATURES = "signatures"  # in the manifest of TFLite files outside of a version
SAVED_MODEL, KERAS_MODEL = "saved_model.pb", "model.keras"
HIGHEST = ".next"  # beside the versions: the highest number that was used
TRIES = 10  # numbers that runs on other machines may claim before this one
PACKAGES = ("kerastl", "tensorflow", "keras", "numpy", "scikit-learn")


@dataclass
class Version:
    """A version that is being written. Write into `folder`; when it is complete, it is renamed to `path`.

    manifest: entries for manifest.json, besides the files' hashes.
    """

    folder: Path
    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The version's number."""
        return int(self.path.name)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.path.parent.name


def home_of(out: str, name: str) -> Path:
    """The folder of a model's versions, `out/name`. Raises OptionError when the name is no folder name or nothing can
    be written there."""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        raise OptionError(f"`name` is {name!r}", "a folder name: no slashes, no dot at the start",
                          "choose another name, such as my_model")
    home = local_path(out) / name
    if is_mirrored(home):
        check_destination(home, "out")
        refreshed(home)
        return home
    nearest = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        trouble = "is not writable" if nearest.is_dir() else "is a file"
        raise OptionError(f"`out` is {out!r}, but {nearest} {trouble}", "a writable folder", "choose another folder")
    return home


@contextmanager
def new_version(out: str, name: str) -> Iterator[Version]:
    """A folder to write a model's next version into. It appears as `out/name/N` when the block ends without an error,
    with a manifest of every file's SHA-256; when the block fails, nothing is left.

    Raises OptionError when the name is no folder name, ModelError when another run wrote that version meanwhile.
    """
    home = home_of(out, name)
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"`out` is {out!r}: {error.strerror}", "a writable folder",
                          "choose another folder") from error
    remove_leftovers(home)
    try:
        with ExitStack() as stack:
            path, partial = _begun(home, stack)
            version = Version(partial, path)
            yield version
            write_manifest(partial, version.manifest)
            write_atomically(home / HIGHEST, f"{path.name}\n".encode())
        remove_leftovers(home)  # of a run that was killed a moment before this one began
    except BaseException as error:
        for folder in made:  # leave no empty folders behind
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, FileExistsError) and Path(error.filename or "").parent == home:
            raise ModelError(f"{error.filename} was written by another run in the meantime",
                             "one run at a time per name", "run it again to write the next version") from error
        raise


def _begun(home: Path, stack: ExitStack) -> tuple[Path, Path]:
    """The path of the next version, and the folder to write it into, which the stack completes. A number that a run on
    another machine claims at this moment is left to it. Raises FileExistsError where that happens again and again."""
    for tries_left in reversed(range(TRIES)):
        path = home / str(next_number(home))
        try:
            return path, stack.enter_context(atomic_folder(path))
        except FileExistsError:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def next_number(home: Path) -> int:
    """The number of a model's next version: above the highest that one ever had, also one that was removed, because a
    client that remembers version 3 must not meet another one. Raises ModelError where it cannot be read."""
    path = home / HIGHEST
    try:
        kept = int(read_text(path)) if is_file(path) else 0
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}", "the highest number that a version had",
                         "write that number into it") from error
    return max(kept, *versions(home), *taken_numbers(home), 0) + 1


def versions(home: Path) -> list[int]:
    """The numbers of a model's versions, ascending."""
    if not home.is_dir():
        return []
    return sorted(int(path.name) for path in home.iterdir() if path.name.isdecimal() and path.is_dir())


def find_version(model: str) -> Path:
    """The version folder that `saved_models/NAME` (its newest version), `saved_models/NAME/N`, or a path stands for.

    Raises ModelError when it does not exist, was not written by kerastl, or has lost manifest.json or run.json.
    """
    folder = locate_version(model)
    if is_export(folder):
        raise ModelError(f"{folder} holds TFLite files that `kerastl export` wrote, not a model",
                         "saved_models/NAME or saved_models/NAME/VERSION", "check the path")
    for name in (MANIFEST, RECORD):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is damaged: {name} is missing", "the files as they were written", VERIFY)
    return folder


def locate_version(model: str) -> Path:
    """As `find_version`, also where one of the files that every version has was removed, and for a folder of TFLite
    files that `export_tflite` wrote: for `verify`, which can check these too."""
    expect((str, Path), "the path of a model", model=model)
    path = model_path(model)
    if not path.exists():
        raise ModelError(f"no such model: {model}", "saved_models/NAME or saved_models/NAME/VERSION", "check the name")
    numbers = versions(path)
    folder = whole(path / str(numbers[-1]) if numbers else path)
    if not is_version(folder) and not is_export(folder):
        raise ModelError(f"{model} was not written by kerastl: it has no manifest.json and run.json",
                         "a folder that `kerastl run` wrote", "check the path")
    return folder


def is_version(folder: Path) -> bool:
    """Whether kerastl wrote a folder as a version, even if manifest.json or run.json, but not both, has been lost."""
    if (folder / RECORD).is_file():
        return any((folder / name).is_file() for name in (MANIFEST, SAVED_MODEL, KERAS_MODEL))
    try:
        return RECORD in read_json(folder, MANIFEST).get("files", ())
    except (ModelError, TypeError):
        return False
def version_beside(folder: Path, against: str | Path | int) -> Path:
    """The version to compare the one in `folder` with: the number of another version of the same model, or what
    `find_version` takes. Raises ModelError where there is none."""
    expect((str, Path, int), "the number of a version of the same model, or a path", against=against)
    name, home = str(against).strip(), folder.absolute().parent
    if not name:
        raise OptionError("`against` is empty", "the number of a version of the same model, or a path",
                          "list the versions: kerastl models")
    if not name.isdecimal():
        return find_version(name)
    if int(name) not in (numbers := versions(home)):
        raise ModelError(f"{home.name} has no version {int(name)}", f"one of {', '.join(map(str, numbers))}, or a path",
                         "list the versions: kerastl models")
    return find_version(str(home / str(int(name))))


def is_export(folder: Path) -> bool:
    """Whether a folder holds TFLite files that `export_tflite` wrote."""
    if (folder / RECORD).exists() or not (folder / MANIFEST).is_file():
        return False
    try:
        return SIGNATURES in read_json(folder, MANIFEST)
    except ModelError:
        return False


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a version's JSON files. Raises ModelError when it is missing or damaged."""
    try:
        document = json.loads(read_text(folder / name))
        if not isinstance(document, dict):
            raise ValueError(f"it holds {one_line(document)}, not an object with keys")
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is damaged: {name} is missing", "the files as they were written", VERIFY) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / name} is damaged: {error}", "the file that `kerastl run` wrote", VERIFY) from error
    return document


def write_json(path: Path, content: Any) -> None:
    """Write an indented JSON document."""
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def fingerprint(lines: list[str]) -> str:
    """A hash that is the same for the same lines in any order."""
    return hashlib.blake2b("\n".join(sorted(lines)).encode(), digest_size=16).hexdigest()


def write_manifest(folder: Path, entries: dict[str, Any]) -> None:
    """Write manifest.json into a folder that is otherwise complete: date, versions of packages, `entries`, and the
    SHA-256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    write_json(folder / MANIFEST, {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        **entries,
        "files": {str(path.relative_to(folder)): file_sha256(path) for path in files},
    })
