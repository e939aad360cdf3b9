"""What the README, the samples and the benchmarks say is what the commands do."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kerastl.cli import verbs

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_output_in_the_readme_is_what_the_commands_print() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/readme.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"write it anew: python docs/readme.py --quick\n{done.stderr}"


def test_commands_in_the_readme_are_verbs() -> None:
    text = (ROOT / "README.md").read_text()
    used = {shlex.split(line, comments=True)[2] for line in text.splitlines() if line.startswith("$ kerastl ")}
    assert {"run", "predict", "check", "evaluate"} <= used <= set(verbs())


def test_each_dependency_has_a_reason_in_the_readme() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = {re.split(r"[ <>=]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line}
    table = (ROOT / "README.md").read_text().partition("## Dependencies")[2].partition("\n## ")[0]
    named = {name.strip() for line in table.splitlines() if line.startswith("| ")
             for name in line.split("|")[1].split(",")} - {"package"}
    assert named == needed


def test_without_apt_get_the_samples_say_what_to_use_instead(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/samples.py"], cwd=tmp_path, env={"PATH": str(tmp_path)},
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no apt-get" in done.stderr and "tfds:tf_flowers" in done.stderr and "--data DIR" in done.stderr
    assert not (tmp_path / "samples").exists()


@pytest.mark.slow
def test_benchmarks_have_names_and_unknown_ones_are_refused() -> None:
    done = subprocess.run([sys.executable, ROOT / "benchmarks/run.py", "no_such"], capture_output=True, text=True)
    assert done.returncode == 2 and "startup" in done.stderr


def test_nothing_generated_or_large_is_in_the_tree() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout, so there is no list of what is in it")
    paths = [ROOT / name for name in files.stdout.split("\0") if name and (ROOT / name).exists()]
    assert paths
    large = [str(path) for path in paths if path.stat().st_size > 300_000 and path.name != "constraints.txt"]
    binary = {".pb", ".keras", ".h5", ".tflite", ".pth", ".safetensors"}
    weights = [str(path) for path in paths if path.suffix in binary]
    assert not large + weights
