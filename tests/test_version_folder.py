"""Version folders: numbers count up, a failure leaves nothing, and the manifest finds what was changed or added."""

import os
import shutil
import time
from pathlib import Path

import pytest

import kerastl as tl
from kerastl.errors import CheckFailed, ModelError, OptionError
from kerastl.versions.damage import check_manifest
from kerastl.versions.folder import find_version, fingerprint, new_version, versions


def test_versions_count_up_and_temporary_names_are_not_numbers(tmp_path: Path) -> None:
    for wanted in (1, 2):
        with new_version(str(tmp_path), "m") as version:
            assert version.number == wanted and not version.folder.name.isdecimal()
            (version.folder / "run.json").write_text("{}")
    (tmp_path / "m" / "7").mkdir()
    with new_version(str(tmp_path), "m") as version:
        assert version.number == 8
    for number in (11, 9, 10):
        (tmp_path / "m" / str(number)).mkdir()
    (tmp_path / "m" / "12").write_text("a file is no version")
    assert versions(tmp_path / "m") == [1, 2, 7, 8, 9, 10, 11]
    assert find_version(str(tmp_path / "m" / "2")) == tmp_path / "m" / "2"
    with new_version(str(tmp_path), "other") as version:
        (version.folder / "run.json").write_text("{}")
    with new_version(str(tmp_path), "other") as version:
        (version.folder / "run.json").write_text("{}")
        (version.folder / "a" / "b").mkdir(parents=True)
        (version.folder / "a" / "b" / "file").write_text("x")
    assert find_version(str(tmp_path / "other")) == tmp_path / "other" / "2" and check_manifest(version.path) == 2
    for name in ("run.json", "manifest.json"):
        (tmp_path / "other" / "2" / name).rename(tmp_path / "kept")
        with pytest.raises(ModelError, match="was not written by kerastl"):
            find_version(str(tmp_path / "other"))
        (tmp_path / "kept").rename(tmp_path / "other" / "2" / name)


def test_what_a_killed_run_left_goes_with_the_next_version_after_a_day(tmp_path: Path) -> None:
    for name, age in ((".1.0a.part", 25), (".1.0b.part", 1)):
        (tmp_path / "m" / name).mkdir(parents=True)
        os.utime(tmp_path / "m" / name, (time.time() - age * 3600,) * 2)
    with new_version(str(tmp_path), "m"):
        pass
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [".1.0b.part", "1"]


def test_the_fingerprint_of_lines_is_that_of_no_order() -> None:
    assert fingerprint(["b", "a"]) == fingerprint(["a", "b"]) != fingerprint(["a", "c"]) and len(fingerprint([])) == 32


def test_a_failure_while_writing_leaves_things_as_they_were(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_version(str(tmp_path / "a" / "b"), "m") as version:
        (version.folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "nul\0"])
def test_a_name_that_is_no_folder_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError), new_version(str(tmp_path), name):
        pass
    with pytest.raises(OptionError):
        tl.target(str(tmp_path), name)  # asked before the work begins


def test_a_place_that_is_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(OptionError, match="is a file"):
            tl.target(str(out), "m")
    assert tl.target(str(tmp_path / "new" / "deep"), "m", "none").kinds == ()
    assert not (tmp_path / "new").exists()


def test_two_runs_of_one_name_at_once_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="written by another run"), new_version(str(tmp_path), "m") as version:
        (tmp_path / "m" / "1").mkdir()
        (version.folder / "run.json").write_text("{}")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1"]


def test_a_changed_or_missing_file_is_found_by_the_manifest(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(trained, copy)
    (copy / "labels.txt").write_text("other\n")
    (copy / "report.html").unlink()
    with pytest.raises(CheckFailed, match=r"(?s)missing since it was written: report\.html.*changed.*labels\.txt"):
        check_manifest(copy)
    (copy / "added.txt").write_text("x")
    with pytest.raises(CheckFailed) as raised:  # all of it at once
        check_manifest(copy)
    assert all(line in str(raised.value) for line in (
        "files missing since it was written: report.html", "files changed since it was written: labels.txt",
        "files added since it was written: added.txt"))


def test_folders_that_are_not_ours_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ModelError):
            find_version(str(path))
