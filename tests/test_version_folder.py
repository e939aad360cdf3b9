"""Version folders: numbers count up, a failure leaves nothing, and the manifest finds what was changed or added."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kerastl as tl
from kerastl.errors import CheckFailed, ModelError, OptionError
from kerastl.files import remove_leftovers
from kerastl.versions.damage import check_manifest
from kerastl.versions.folder import find_version, fingerprint, new_version, versions

Shell = Callable[..., tuple[int, str, str]]


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
        with pytest.raises(ModelError, match=f"{name} is missing|was not written by kerastl"):
            find_version(str(tmp_path / "other"))
        (tmp_path / "kept").rename(tmp_path / "other" / "2" / name)


HOLDER = """
import sys, time
from pathlib import Path
from kerastl.versions.claim import claim
from kerastl.files import temporary_folder
home = Path(sys.argv[1])
with temporary_folder(home, "1") as folder:
    (folder / "half").write_text("x")
    kept = claim(home)
    print("ready", flush=True)
    time.sleep(600)
"""


def test_the_number_of_a_version_that_was_removed_is_not_used_again(tmp_path: Path) -> None:
    for number in (1, 2):
        with new_version(str(tmp_path), "m") as version:
            assert version.number == number
    shutil.rmtree(tmp_path / "m" / "2")  # rolled back
    with new_version(str(tmp_path), "m") as version:
        assert version.number == 3
    assert versions(tmp_path / "m") == [1, 3] and (tmp_path / "m" / ".next").read_text() == "3\n"
    (tmp_path / "m" / ".next").write_text("nonsense")
    with pytest.raises(ModelError, match=r"\.next cannot be read"), new_version(str(tmp_path), "m"):
        pass


def test_models_are_listed_with_their_figures_and_what_is_wrong_with_them(trained: Path, tmp_path: Path, shell: Shell
                                                                          ) -> None:
    shutil.copytree(trained, tmp_path / "tiny" / "1")
    shutil.copytree(trained, tmp_path / "tiny" / "2")
    (tmp_path / "tiny" / "2" / "run.json").write_text('{"head": "linear"}')
    (tmp_path / "none").mkdir()
    code, out, _ = shell("models", str(tmp_path))
    assert code == 0 and "joint" in out and "run.json is damaged" in out
    code, out, _ = shell("models", str(tmp_path / "tiny"), "--json")
    broken, whole = json.loads(out)["models"]
    record = json.loads((trained / "run.json").read_text())
    assert whole["accuracy"] == record["test"]["accuracy"] and "saved_model" in whole["formats"] and not whole["error"]
    assert broken["version"] == 2 and broken["error"]
    for folder in (tmp_path / "none", tmp_path / "nowhere"):
        assert shell("models", str(folder))[0] == 2


@pytest.mark.slow
def test_files_are_verified_without_the_data(trained: Path, tmp_path: Path, shell: Shell) -> None:
    shutil.copytree(trained, tmp_path / "tiny" / "1")
    assert shell("verify", str(tmp_path / "tiny"), "--files-only")[0] == 0
    with pytest.raises(tl.DataError, match=r"are whole and load, (.|\n)*set `files_only`"):
        tl.verify(str(tmp_path / "tiny"), data=str(tmp_path / "moved"))
    (tmp_path / "tiny" / "1" / "labels.txt").write_text("changed")
    code, _, err = shell("verify", str(tmp_path / "tiny"), "--files-only")
    assert code == 1 and "labels.txt" in err


def test_what_a_killed_run_left_goes_with_the_next_and_what_a_running_one_writes_stays(tmp_path: Path) -> None:
    home = tmp_path / "m"
    home.mkdir()
    for name, age in ((".1.0a.part", 25), (".1.0b.part", 1)):  # as earlier versions named them
        (home / name).mkdir()
        os.utime(home / name, (time.time() - age * 3600,) * 2)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        partial = next(path for path in home.iterdir() if (path / "half").exists())
        for path in (partial, partial / "half"):
            os.utime(path, (time.time() - 60,) * 2)
        remove_leftovers(home)
        assert sorted(path.name for path in home.iterdir()) == sorted([".1.0b.part", partial.name])
        with pytest.raises(ModelError, match=f"another run \\(process {process.pid}\\)"):
            tl.target(str(tmp_path), "m")  # said before the work begins
        assert tl.target(str(tmp_path), "other").claim
        process.kill()
    os.utime(partial, (time.time() - 60,) * 2)
    to = tl.target(str(tmp_path), "m")
    assert to.claim and [path.name for path in home.iterdir()] == [".1.0b.part"]
    assert tl.target(str(tmp_path), "m").claim is None  # this process may ask again


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
    assert sorted(path.name for path in (tmp_path / "m").iterdir() if path.name != ".next") == ["1"]


def test_a_changed_or_missing_file_is_found_by_the_manifest(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(trained, copy)
    (copy / "labels.txt").write_text("other\n")
    (copy / "report.html").unlink()
    with pytest.raises(CheckFailed, match=r"(?s)changed since it was written: labels\.txt.*missing.*report\.html"):
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




def test_links_out_of_a_version_and_paths_outside_of_it_are_faults(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(trained, copy)
    shutil.move(copy / "labels.txt", tmp_path / "labels.txt")
    (copy / "labels.txt").symlink_to(tmp_path / "labels.txt")
    shutil.move(copy / "variables", tmp_path / "variables")
    (copy / "variables").symlink_to(tmp_path / "variables")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"] |= {"../labels.txt": "0", "/etc/hostname": "0"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckFailed) as raised:
        check_manifest(copy)
    assert "links to files outside of the folder: labels.txt, variables" in str(raised.value)
    assert "paths in manifest.json outside of the folder: ../labels.txt, /etc/hostname" in str(raised.value)
    (tmp_path / "linked").symlink_to(trained)  # a version may itself be a link
    assert check_manifest(tmp_path / "linked")


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:200])


def changed(**keys: object) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | keys))
    return harm


@pytest.mark.slow
@pytest.mark.parametrize("harm", [
    cut("variables/variables.data-00000-of-00001"), cut("variables/variables.index"), cut("saved_model.pb"),
    cut("run.json"),
    lambda folder: (folder / "run.json").write_text("null"), lambda folder: shutil.rmtree(folder / "variables"),
    changed(classes=None), changed(classes=["a"]), changed(input={}), changed(temperature="warm"), changed(test=[]),
    changed(kind="sound"), changed(large={}), changed(backbone="evil.py"), changed(head=3), changed(n_test=None)])
def test_a_damaged_version_ends_in_one_message_that_points_to_verify(harm: Callable[[Path], None], trained: Path,
                                                                     images: Path, tmp_path: Path, shell: Shell
                                                                     ) -> None:
    copy = tmp_path / "m/1"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("tflite"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if "tflite" not in name}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    harm(copy)
    code, out, err = shell("predict", tmp_path / "m", next(images.rglob("*.png")))
    assert code == 2 and out == "" and err.count("error: ") == 1 and "Traceback" not in err
    assert "kerastl verify" in err and ("changed since" in err or "missing since" in err)


def test_verify_lists_every_fault(trained: Path, tmp_path: Path, shell: Shell) -> None:
    copy = tmp_path / "m/1"
    shutil.copytree(trained, copy)
    for name in ("saved_model.pb", "model.keras", "tflite/model_fp16.tflite"):
        cut(name)(copy)
    (copy / "tflite/model_int8.tflite").write_bytes(b"none")
    (copy / "split.csv").unlink()
    (copy / "added.txt").write_text("x")
    code, out, err = shell("verify", tmp_path / "m")
    assert code == 1 and out == "" and err.count("error: ") == 1
    for words in ("files changed since it was written: model.keras, saved_model.pb, tflite/model_fp16.tflite",
                  "files missing since it was written: split.csv", "files added since it was written: added.txt",
                  "saved_model.pb cannot be read", "model.keras does not load", "model_int8.tflite cannot be read",
                  "split.csv cannot be read"):
        assert words in err, words


@pytest.mark.slow
@pytest.mark.parametrize("harm", [
    changed(classes=None), changed(input={}), cut("run.json"), lambda folder: (folder / "run.json").write_text("[]")])
def test_a_damaged_record_ends_every_verb_in_one_message(harm: Callable[[Path], None], trained: Path, tmp_path: Path,
                                                         shell: Shell) -> None:
    shutil.copytree(trained, tmp_path / "m/1")
    harm(tmp_path / "m/1")
    for verb in ("verify", "doctor", "export"):
        code, out, err = shell(verb, tmp_path / "m")
        assert code == (1 if verb == "verify" else 2) and out == "", verb
        assert err.count("error: ") == 1 and "Traceback" not in err and "run.json" in err
        assert verb == "verify" or "kerastl verify" in err
