"""What is wrong with the files of a version folder, by its manifest."""

import os
from collections.abc import Iterator
from pathlib import Path

from kerastl.errors import CheckFailed, KerastlError, ModelError
from kerastl.files import file_sha256
from kerastl.versions.folder import MANIFEST, VERIFY, read_json

CHANGED, MISSING = "files changed since it was written", "files missing since it was written"


def faults(folder: Path) -> list[str]:
    """Everything that differs from the manifest, a line for each sort of fault. Raises ModelError where the manifest
    itself cannot be read."""
    listed = _listed(folder)
    links, present = list(_outside(folder)), set(_files(folder))
    inside = {name: digest for name, digest in listed.items() if _is_inside(folder, name)}
    missing = [name for name in inside if not os.path.lexists(folder / name)]
    changed = [name for name, digest in inside.items()
               if name not in (*missing, *links) and file_sha256(folder / name) != digest]
    sorts = (
        (CHANGED, changed),
        (MISSING, missing),
        ("files added since it was written", sorted(present - {MANIFEST, *listed, *links})),
        ("links to files outside of the folder", links),
        ("paths in manifest.json outside of the folder", [name for name in listed if name not in inside]))
    return [f"{sort}: {', '.join(sorted(names))}" for sort, names in sorts if names]


def check_manifest(folder: Path) -> int:
    """Compare the SHA-256 of every file with the manifest. Returns the number of files. Raises CheckFailed that lists
    the files that are missing, or were added or changed, and links that lead out of the folder."""
    if found := faults(folder):
        raise damaged(folder, found)
    return len(_listed(folder))


def require_intact(folder: Path) -> None:
    """Raises ModelError, which lists them, where files of a version differ from its manifest."""
    if found := faults(folder):
        raise _is_damaged(folder, found)


def require_unchanged(folder: Path, *names: str) -> None:
    """Raises ModelError where one of these files, or a file in one of these folders, differs from the manifest: for
    files that are small and that would be used without a sign of their damage."""
    listed = {name: digest for name, digest in _listed(folder).items()
              if _is_inside(folder, name) and (name in names or name.partition("/")[0] in names)}
    missing = sorted(name for name in listed if not os.path.lexists(folder / name))
    changed = sorted(name for name, digest in listed.items()
                     if name not in missing and file_sha256(folder / name) != digest)
    if found := [f"{sort}: {', '.join(files)}" for sort, files in ((CHANGED, changed), (MISSING, missing)) if files]:
        raise _is_damaged(folder, found)


def file_of(folder: Path, name: str | Path) -> Path | None:
    """A file of a version, with its links resolved; None where there is none, and where a link leads out of the folder:
    what is handed to others must not be any file of the machine."""
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return None
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def _is_damaged(folder: Path, found: list[str]) -> ModelError:
    return ModelError(f"{folder} is damaged: {'; '.join(found)}", "the files as they were written", VERIFY)


def damaged(folder: Path, found: list[str]) -> CheckFailed:
    """The error for a version with faults, one line each."""
    found = [*dict.fromkeys(found)]
    lines = found[0] if len(found) == 1 else "".join(f"\n  - {line}" for line in found)
    return CheckFailed(f"{folder}: {lines}", "the files listed in manifest.json, unchanged",
                       "copy the version folder again, without the files that were added")


def described(folder: Path, error: Exception) -> str:
    """The damage in words: what differs from the manifest, otherwise what the error says, in one line."""
    try:
        found = faults(folder)
    except (KerastlError, OSError) as other:
        found = [str(other).partition("\n")[0]]
    if found:
        return "; ".join(found)
    reason = str(error).strip().partition("\n")[0][:200]
    return f"{reason or type(error).__name__} (all files match manifest.json)"


def _listed(folder: Path) -> dict[str, str]:
    listed = read_json(folder, MANIFEST).get("files", {})
    if not isinstance(listed, dict) or not all(isinstance(digest, str) for digest in listed.values()):
        raise ModelError(f"{folder / MANIFEST} is damaged: it lists no files with their hashes",
                         "the file that `kerastl run` wrote", VERIFY)
    return listed


def _is_inside(folder: Path, name: str) -> bool:
    return not os.path.isabs(name) and os.path.normpath(name).split(os.sep)[0] not in ("..", ".") and "\0" not in name


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(parent, name), folder) for name in names)


def _outside(folder: Path) -> Iterator[str]:
    """The links in a folder that lead out of it, or nowhere."""
    home = folder.resolve()
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(home)):
                yield str(path.relative_to(folder))
