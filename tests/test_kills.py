"""Runs that a signal ends, and what the next run of the same model makes of what they left."""

import json
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from child_runs import Ended, Server
from conftest import HERE, draw_folder

pytestmark = pytest.mark.slow
RECIPE = HERE / "dropin/recipes/tiny_images.py"
PLACES = ("features", "epoch", "export")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PAIRS = [(place, number) for place in PLACES for number in CODES]
EVERY = "KERASTL_SOAK" in os.environ  # each signal at each place, instead of each of them once


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("runs"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose colours overlap, so that every epoch has something to learn."""
    similar = {"red": (150, 110, 110), "green": (110, 150, 110), "blue": (110, 110, 150)}
    return draw_folder(tmp_path_factory.mktemp("data"), 20, similar)


def words(data: Path, folder: Path, *more: object) -> list[object]:
    return ["run", RECIPE, "--data", data, "--name", "m", "--out", folder / "out", "--cache-dir", folder / "cache",
            "--weights", "none", "--precision", "float32", "--split", "holdout", "--unfreeze", "1", "--epochs", "3",
            "--batch-size", "8", "--tflite", "none", *more]


def weights(version: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(version / "variables/variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith("_CHECKPOINTABLE")}


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def epochs(*ended: Ended) -> list[str]:
    return [line.partition(":")[0] for one in ended for line in one.err.splitlines() if line.startswith("epoch ")]


def make_older(folder: Path) -> None:
    """What was changed within the last seconds may belong to a process that is about to lock it."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)


@pytest.fixture(scope="module")
def unkilled(server: Server, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version of a run that nothing ended."""
    folder = tmp_path_factory.mktemp("unkilled")
    ended = server.run(*words(data, folder))
    assert ended.code == 0 and epochs(ended) == ["epoch 1", "epoch 2", "epoch 3"], ended.err
    return folder / "out/m/1"


def test_a_run_killed_in_features_in_training_and_in_export_goes_on_to_the_same_weights(
        server: Server, data: Path, unkilled: Path, tmp_path: Path) -> None:
    kills = [server.start(words(data, tmp_path), place).stop(signal.SIGKILL) for place in PLACES]
    assert [ended.code for ended in kills] == [-signal.SIGKILL] * 3, [ended.err for ended in kills]
    home = tmp_path / "out/m"
    assert [path.suffix for path in home.iterdir()] == [".part"] and (next(home.iterdir()) / "saved_model.pb").exists()
    make_older(home)
    last = server.run(*words(data, tmp_path))
    assert last.code == 0 and [path.name for path in home.iterdir() if path.name != ".next"] == ["1"], last.err
    assert epochs(*kills, last) == ["epoch 1", "epoch 2", "epoch 3"]  # none was trained twice
    spaces: dict[Path, Counter[bytes]] = defaultdict(Counter)  # features of the images, and of some of them mirrored
    for path in (tmp_path / "cache").rglob("*.ids.npy"):
        spaces[path.parent].update(bytes(row) for row in np.load(path))
    stored = max(spaces.values(), key=len)
    assert len(stored) == 60 - len(json.loads((home / "1/run.json").read_text())["left_out"])
    assert all(set(space.values()) == {1} for space in spaces.values())  # no features were computed twice
    assert not leftovers(tmp_path) and not list((tmp_path / "cache/fine_tune").glob("*/"))
    ours, theirs = weights(home / "1"), weights(unkilled)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("place", "number"), PAIRS if EVERY else PAIRS[::4])
def test_a_signal_ends_a_run_with_one_line_and_nothing_half_written(place: str, number: signal.Signals, server: Server,
                                                                    data: Path, tmp_path: Path) -> None:
    ended = server.start(words(data, tmp_path), place).stop(number)
    assert ended.code == CODES[number], ended.err
    by = "" if number == signal.SIGINT else f" by {number.name}"
    errors = [line for line in ended.err.splitlines() if line.startswith("error")]
    assert errors == [f"error: stopped{by}; features computed so far are cached, no model was written"]
    assert "Traceback" not in ended.err and ended.out == ""
    assert not (tmp_path / "out").exists() and not leftovers(tmp_path)
    assert not list((server.folder / "tmp").glob("kerastl*"))


def test_a_second_run_of_one_name_ends_before_its_work(server: Server, data: Path, tmp_path: Path) -> None:
    first = server.start(words(data, tmp_path), "features")
    first.reach()
    second = server.run(*words(data, tmp_path))
    assert second.code == 2 and f"is being written by another run (process {first.pid})" in second.err, second.err
    assert second.err.count("error: ") == 1 and "images, 3 classes" not in second.err  # before the data are read
    assert first.stop(signal.SIGTERM).code == 143


def in_full(folder: Path) -> list[tuple[str, int]]:
    """Every file of a folder, with its size and the time of its change."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_read_only_cache_serves_a_run_from_its_start_to_its_end(server: Server, data: Path, unkilled: Path,
                                                                 tmp_path: Path) -> None:
    """One that holds some of the features, and one that holds all of them."""
    cache = tmp_path / "cache"
    server.start(words(data, tmp_path), "features").stop(signal.SIGKILL)
    before = in_full(cache)
    partial = server.run(*words(data, tmp_path), disks={cache: "read-only"})
    assert partial.code == 0 and f"the cache {cache}/fine_tune is read-only" in partial.err, partial.err
    assert "is read-only: features that it lacks are kept in" in partial.err
    full = server.run(*words(data, tmp_path), "--cache-dir", unkilled.parents[2] / "cache",
                      disks={unkilled.parents[2] / "cache": "read-only"})
    assert full.code == 0 and "features that it lacks" not in full.err, full.err
    assert in_full(cache) == before and not list((server.folder / "tmp").glob("kerastl*"))
    expected = weights(unkilled)
    for version in "12":
        ours = weights(tmp_path / "out/m" / version)
        assert all(np.array_equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize("disk", ["read-only", "200k"])
@pytest.mark.parametrize("place", ["out", "cache"])
def test_a_disk_that_is_full_or_read_only_is_one_message(place: str, disk: str, server: Server, data: Path,
                                                         tmp_path: Path) -> None:
    if (place, disk) == ("cache", "read-only"):
        return  # serves, as is tested above
    (tmp_path / place).mkdir()
    ended = server.run(*words(data, tmp_path), disks={tmp_path / place: disk})
    assert ended.code == 2 and ended.out == "" and ended.err.count("error: ") == 1, ended.err
    assert "Traceback" not in ended.err and "to fix: " in ended.err
    assert ("no space left on disk" if disk == "200k" else "is not writable") in ended.err
    assert not leftovers(tmp_path)


def test_files_that_may_not_grow_are_one_message(server: Server, data: Path, tmp_path: Path) -> None:
    ended = server.run(*words(data, tmp_path), limit=40_000)
    assert ended.code == 2 and ended.out == "" and ended.err.count("error: ") == 1, ended.err
    assert "Traceback" not in ended.err and "a file may not grow further" in ended.err
    assert not leftovers(tmp_path) and not (tmp_path / "out").exists()
