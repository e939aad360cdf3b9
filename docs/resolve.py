"""Checks that the dependencies resolve on every Python that setup.cfg names, from the package index.

python docs/resolve.py

For each Python version in setup.cfg's classifiers, uv resolves what a user installs and what a developer installs, and
accepts wheels only, so that no compiler is needed. Nothing is installed or run. Prints which versions differ from
constraints.txt, which is locked for Python 3.11. Exit code 1 if a version does not resolve.
"""

import configparser
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("promise",)  # published as source only; plain Python, needed by tensorflow-datasets


def main() -> int:
    """Resolve for each Python version and print a line each. Returns the exit code."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    user = setup["options"]["install_requires"]
    pythons = re.findall(r"Python :: (\d+\.\d+)", setup["metadata"]["classifiers"])
    locked = versions((ROOT / "constraints.txt").read_text())
    failed = 0
    for python in pythons:
        for who, requirements in (("user", user), ("developer", user + setup["options.extras_require"]["dev"])):
            done = resolve(python, requirements)
            if done.returncode:
                failed += 1
                print(f"Python {python}, {who}: does not resolve\n{done.stderr}")
                continue
            resolved = versions(done.stdout)
            other = [f"{name} {version}" for name, version in resolved.items() if locked.get(name) != version]
            print(f"Python {python}, {who}: {len(resolved)} packages"
                  + (f"; not as in constraints.txt: {', '.join(other)}" if other else ""))
    return 1 if failed else 0


def resolve(python: str, requirements: str) -> subprocess.CompletedProcess[str]:
    """Run uv's resolver on requirements, one a line. Settings of the project (pyproject.toml) apply."""
    sources = [word for name in SOURCES for word in ("--no-binary", name)]
    return subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--python-version", python, "--no-python-downloads",
         "--only-binary", ":all:", *sources, "--no-annotate", "--no-header", "-"],
        cwd=ROOT, input=requirements, capture_output=True, text=True)


def versions(lock: str) -> dict[str, str]:
    """Version by package name, from lines NAME==VERSION."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))


if __name__ == "__main__":
    raise SystemExit(main())
