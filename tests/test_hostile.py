"""What users run into: flags that cannot be, full disks, names that are no text, files added later, too few rows."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from tiny import KEY, content_id

from kerastl.features.cache import Space
from kerastl.shell import process
from kerastl.verbs.features import Config as FeaturesConfig

Shell = Callable[..., tuple[int, str, str]]
RUN = ("run", "tiny_images", "--weights", "none", "--tflite", "none")


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "value"), [
    ("limit", "0"), ("limit", "-5"), ("epochs", "-1"), ("batch-size", "0"), ("min-per-class", "0"), ("seed", "-1"),
    ("label-smoothing", "1"), ("unfreeze", "-1"), ("unfreeze", "some"), ("head", "linaer"), ("split", "half"),
    ("precision", "float8"), ("xla", "maybe"), ("class-weights", "heavy")])
def test_a_flag_that_cannot_be_is_refused_before_any_work(flag: str, value: str, shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell(*RUN, "--data", tmp_path / "not/there", "--name", "m", "--out", tmp_path, f"--{flag}", value)
    assert code == 2 and out == "" and err.count("error: ") == 1 and "Traceback" not in err
    assert value in err and "not/there" not in err


def test_all_faults_are_listed_at_once(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell(*RUN, "--data", tmp_path, "--name", "m", "--precision", "float8", "--head", "linaer",
                         "--seed", "-1")
    assert code == 2 and all(word in err for word in (
        "3 options", "--precision must be one of auto", "(got float8)", "'linaer'", "'linear'", "--seed must be"))


@pytest.mark.parametrize("error", [
    tf.errors.ResourceExhaustedError(None, None, "/disk/variables; No space left on device"),
    OSError("Unable to flush file (errno = 28, error message = 'No space left on device')")])
def test_a_full_disk_is_told_whoever_finds_it(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def work(config: object) -> dict[str, object]:
        raise error

    assert process.finish(work, object, str, heavy=False) == 2
    assert "no space left on disk" in capsys.readouterr().err


def test_memory_that_ran_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(config: object) -> dict[str, object]:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[32,4096]")

    config = process.parse(FeaturesConfig, [str(tmp_path), "--out", "f.npz"])
    assert process.finish(work, lambda: config, str, heavy=False, check=None) == 2
    err = capsys.readouterr().err
    assert "out of memory: OOM when allocating" in err and "--batch-size" in err


def test_the_cache_lets_a_full_disk_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing ends early, the system's error comes through, with its number; nothing half-written stays."""
    import resource
    import signal

    space = Space(tmp_path, KEY)
    rows = np.zeros((50_000, KEY.shape[0]), np.float32)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError) as raised:
            space.append([content_id(i) for i in range(len(rows))], rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert raised.value.errno
    assert not [path for path in space.folder.iterdir() if path.name != "space.json"]


def test_a_path_that_is_too_long_is_told(shell: Shell, images: Path, tmp_path: Path) -> None:
    for words in (("--data", "x" * 300, "--name", "m"), ("--data", images, "--name", "x" * 300)):
        code, _, err = shell(*RUN, *words, "--out", tmp_path)
        assert code == 2 and err.count("error: ") == 1 and "to fix: " in err, err


@pytest.mark.slow
def test_names_that_are_not_utf_8_take_part_and_are_shown_readably(shell: Shell, tmp_path: Path) -> None:
    draw_folder(tmp_path / "d", 12)
    os.rename(tmp_path / "d/red/0.png", os.fsencode(tmp_path / "d/red") + b"/\xff0.png")
    os.rename(tmp_path / "d/blue", os.fsencode(tmp_path / "d") + b"/bl\xe9u")
    code, out, err = shell(*RUN, "--data", tmp_path / "d", "--name", "m", "--out", tmp_path, "--json")
    assert code == 0, err
    assert "bl\ufffdu" in json.loads(out)["classes"] and json.loads(out)["n_test"] == 36
    code, out, err = shell("predict", tmp_path / "m", tmp_path / "d", "--json")
    assert code == 0 and json.loads(out)["failed"] == 0, err


@pytest.mark.slow
def test_check_tells_what_it_can_of_few_rows(shell: Shell, tmp_path: Path) -> None:
    draw_folder(tmp_path / "d", 3)
    shutil.copy(tmp_path / "d/red/0.png", tmp_path / "d/blue/twin.png")
    code, out, err = shell("check", tmp_path / "d", "--backbone", "tiny_net", "--weights", "none", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["rows"] == 10 and len(found["conflicts"]) == 1 and "not checked: " in found["odd_labels_word"]


@pytest.mark.slow
def test_verify_names_a_file_that_was_added(shell: Shell, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny/1"
    shutil.copytree(trained, copy)
    (copy / "tflite/model_copy.tflite").write_bytes(b"")
    code, out, err = shell("verify", tmp_path / "tiny")
    assert code == 1 and out == "" and "model_copy.tflite" in err and "Traceback" not in err
