"""Paths in run.json belong to the folder in which the run was started, whatever the current folder is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kerastl.errors import DataError
from kerastl.rerun.plan import Given, plan_of
from kerastl.versions.location import located, source_of, way_to_start
from kerastl.versions.record import RunRecord

Shell = Callable[..., tuple[int, str, str]]


def recorded(trained: Path, data: str, started_in: str | None) -> RunRecord:
    """The record of the tiny model, with its data elsewhere."""
    record = RunRecord.read(trained)
    return replace(record, config={**record.config, "data": data}, started_in=started_in)


@pytest.fixture
def project(tmp_path: Path, trained: Path, images: Path) -> Path:
    """A folder with photos and a model that was trained there on `photos`."""
    shutil.copytree(images, tmp_path / "project/photos")
    folder = tmp_path / "project/models/tiny/1"
    shutil.copytree(trained, folder)
    recorded(trained, "photos", "../../..").write(folder)
    return tmp_path / "project"


def test_the_way_to_the_start_names_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert way_to_start(Path("models/tiny/1")) == "../../.." == way_to_start(tmp_path / "project/models/tiny/1")
    assert way_to_start(tmp_path / "elsewhere/tiny/1") is None and way_to_start(Path("../out/tiny/1")) is None


def test_data_are_found_from_any_folder(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "models/tiny/1"
    record = RunRecord.read(folder)
    monkeypatch.chdir(project)
    assert source_of(folder, record, None) == "photos" and capsys.readouterr().out == ""
    (tmp_path / "photos").mkdir()  # others, of the same name
    monkeypatch.chdir(tmp_path)
    assert source_of(folder, record, None) == str(project / "photos")
    assert f"data are read from {project / 'photos'}: the run recorded photos" in capsys.readouterr().out
    assert source_of(folder, record, "photos") == "photos"  # as given
    assert source_of(folder, replace(record, config={"data": "tfds:mnist"}), None) == "tfds:mnist"
    assert located(folder, record, "photos") == str(project / "photos") and located(folder, record, "none") == "none"
    plan_of(folder, record, Given(weights="none"), str(tmp_path / "out"), str(tmp_path / "cache"))
    assert str(project / "photos") in capsys.readouterr().out


def test_data_that_are_gone_are_named_by_their_absolute_path(project: Path, tmp_path: Path, trained: Path,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(project / "models/tiny/1", tmp_path / "copied/models/tiny/1")
    monkeypatch.chdir(project)
    with pytest.raises(DataError, match=f"{tmp_path}/copied/photos .the run recorded photos, seen from") as error:
        source_of(folder, RunRecord.read(folder), None)
    assert error.value.hint.endswith(f"such as photos, which exists in {project}")
    older = recorded(trained, "photos", None)  # an earlier version did not record where it was started
    assert source_of(folder, older, None) == str(project / "photos")
    assert "not in which folder it was started" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path}/photos .the run recorded photos, but not in which folder"):
        source_of(folder, older, None)


@pytest.mark.slow
def test_the_verbs_find_the_data_too(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
                                     ) -> None:
    folder = project / "models/tiny/1"
    monkeypatch.chdir(tmp_path)
    code, out, err = shell("doctor", folder, "--json", "--cache-dir", tmp_path / "cache")
    assert code == 0 and json.loads(out)["rows"] == 42 and str(project / "photos") in err
    shutil.rmtree(project / "photos")
    code, _, err = shell("reproduce", trained_copy(folder))
    assert code == 2 and f"no such file or folder: {project / 'photos'}" in err


def trained_copy(folder: Path) -> Path:
    """The version, with the hash of the record that the test wrote."""
    from kerastl.files import file_sha256

    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["run.json"] = file_sha256(folder / "run.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
