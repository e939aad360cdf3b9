"""Downloads the sample images: the stamps in Debian's package tuxpaint-stamps-default, checked by SHA-256.

python docs/samples.py

Writes samples/stamps/<class>/, the categories with at least 30 images, and samples/held_out/<class>/, one image of each
category. Neither that image nor its mirrored twin is in samples/stamps. The images are GPL-2, by Bill Kendrick and
others.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "tuxpaint-stamps-default"
SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
LEAST = 30
INSTEAD = ("apt-get cannot download the sample images ({}). Use images of your own:\n"
           "  kerastl run efficientnet_lite_images --data DIR --name NAME      (DIR/<class>/<image>)\n"
           "  kerastl run efficientnet_lite_images --data tfds:tf_flowers --name flowers")


def main(root: Path = Path("samples")) -> int:
    """Make the folders unless they exist. Returns 0; or 2, with a message on what to use instead."""
    stamps = root / "stamps"
    if stamps.is_dir():
        return 0
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        print(INSTEAD.format("there is no apt-get"), file=sys.stderr)
        return 2
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        trouble = download(Path(folder))
        if trouble:
            print(INSTEAD.format(trouble), file=sys.stderr)
            return 2
        package = next(Path(folder).glob("*.deb"))
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        if digest != SHA256:
            print(f"error: {package.name} is another version: its SHA-256 is {digest}, not {SHA256}", file=sys.stderr)
            return 2
        subprocess.run(["dpkg-deb", "-x", package.name, "x"], cwd=folder, check=True)
        made = Path(folder) / "made"
        arrange(Path(folder) / "x/usr/share/tuxpaint/stamps", made / "stamps", made / "held_out")
        shutil.rmtree(root / "held_out", ignore_errors=True)
        (made / "held_out").rename(root / "held_out")
        (made / "stamps").rename(stamps)  # last: the samples are complete when this folder exists
    return 0


def download(folder: Path) -> str:
    """Download the package into a folder. Returns "", or the reason if it failed. Fetches missing package lists."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode and os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}") if done.returncode else ""


def arrange(source: Path, stamps: Path, held_out: Path) -> None:
    """Copy the images of each large category: all but one to `stamps`, that one to `held_out`."""
    for category in sorted(path for path in source.iterdir() if path.is_dir()):
        images = sorted(category.rglob("*.png"))
        if len(images) < LEAST:
            continue
        kin: dict[str, int] = {}
        for path in images:
            kin[family(path)] = kin.get(family(path), 0) + 1
        aside = min((path for path in images if kin[family(path)] == 1),
                    key=lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
        for path in images:
            target = (held_out if path == aside else stamps) / category.name / path.relative_to(category)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def family(path: Path) -> str:
    """What an image and its variants share: the name without `mirror`, `left`, `right` and numbers."""
    return re.sub(r"[-_]?(mirror|left|right|\d+)$", "", path.stem.lower())


if __name__ == "__main__":
    raise SystemExit(main())
