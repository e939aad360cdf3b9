"""Runs under bad conditions: killed at random moments, several at once, data that change, no home, another clock.

`make chaos` runs more of this, see chaos.py.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chaos import Chaos, digests, run
from chaos_cases import (
    CASES,
    PATIENT,
    PLAIN,
    RECIPE,
    SIMILAR,
    Material,
    cached,
    differences,
    newest,
    rows_of,
    table_result,
    version_result,
)
from child_runs import Ended, Server
from conftest import draw, draw_folder

pytestmark = pytest.mark.slow
EVERY = "KERASTL_SOAK" in os.environ
soak = pytest.mark.skipif(not EVERY, reason="takes minutes: make soak")
YEAR = 365 * 86_400.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("runs"))
    yield server
    server.close()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "images", 20, SIMILAR)


def features(images: Path, folder: Path, *more: Any) -> list[Any]:
    return ["features", images, "--out", folder / "x.npz", "--backbone", "tiny_net", *PLAIN[:6], "--batch-size", 8,
            *cached(folder), *more]


def tuned(images: Path, folder: Path, *more: Any) -> list[Any]:
    return ["run", RECIPE, "--data", images, "--name", "m", "--out", folder / "out", *PLAIN, "--head", "linear",
            "--unfreeze", 1, "--epochs", 3, "--batch-size", 8, "--tflite", "none", *cached(folder), *more]


def one_message(ended: Ended, *words: str) -> None:
    assert ended.code == 2 and ended.err.count("error: ") == 1 and "Traceback" not in ended.err, ended.err
    assert all(word in ended.err for word in words), ended.err


def test_a_feature_pass_that_is_killed_at_random_moments_goes_on_and_leaves_nothing(
        server: Server, images: Path, tmp_path: Path) -> None:
    material = Material(*[images] * 8)  # of which it uses the images
    chaos = Chaos(server, material, tmp_path / "chaos", random.Random(5))
    run(chaos, 4, tuple(case for case in CASES if case.name == "features"))
    assert not chaos.faults and chaos.kills >= 4


def test_four_processes_on_one_cache_write_what_one_writes(server: Server, images: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    assert server.run(*features(images, tmp_path / "alone")).code == 0
    (tmp_path / "together").mkdir()
    runs = [server.start([*features(images, tmp_path / "together"), "--out", tmp_path / "together" / f"{number}.npz"])
            for number in range(4)]
    assert [each.end().code for each in runs] == [0] * 4
    expected = table_result(tmp_path / "alone")
    for number in range(4):
        (tmp_path / f"together/{number}.npz").rename(tmp_path / "together/x.npz")
        assert not [*differences(table_result(tmp_path / "together"), expected)]
    assert rows_of(tmp_path / "together/cache") == rows_of(tmp_path / "alone/cache")
    assert not list(tmp_path.rglob("*.part"))


@soak
def test_two_fine_tunings_of_the_same_model_on_one_cache_both_end_well(server: Server, images: Path, tmp_path: Path
                                                                       ) -> None:
    """Of two names: the second one waits for the training of the first, and continues from it."""
    first = server.start(tuned(images, tmp_path), "epoch")
    first.reach()
    second = server.start([*tuned(images, tmp_path), "--name", "other"])
    deadline = time.monotonic() + PATIENT
    while not (second.files[1].exists() and "waiting for it" in second.files[1].read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert first.go_on().end(PATIENT).code == 0 and second.end(PATIENT).code == 0
    (tmp_path / "out/m").rename(tmp_path / "first")
    (tmp_path / "out/other").rename(tmp_path / "out/m")
    theirs = version_result(tmp_path)
    (tmp_path / "out/m").rename(tmp_path / "out/other")
    (tmp_path / "first").rename(tmp_path / "out/m")
    assert not [*differences(version_result(tmp_path), theirs)]
    assert not list((tmp_path / "cache/fine_tune").glob("*/"))


@pytest.mark.parametrize("change", ["vanishes", pytest.param("changes", marks=soak)])
def test_an_image_that_is_gone_while_a_model_trains_is_one_message_and_the_epochs_stay(
        change: str, server: Server, images: Path, tmp_path: Path) -> None:
    started = server.start(tuned(images, tmp_path), "epoch")
    started.reach()
    contents = {path: path.read_bytes() for path in images.rglob("*.png")}
    for path in contents:
        path.unlink() if change == "vanishes" else draw(path, (1, 2, 3), 77)
    one_message(started.go_on().end(), "can no longer be read", "finished epochs are kept")
    assert not (tmp_path / "out/m").exists() and not list(tmp_path.rglob("*.part"))
    if not EVERY:
        return
    for path, content in contents.items():
        path.write_bytes(content)
    again = server.run(*tuned(images, tmp_path))
    assert again.code == 0 and "epoch 1:" not in again.err and "epoch 3:" in again.err, again.err


@pytest.mark.parametrize("change", ["vanishes", "changes"])
def test_an_image_that_is_gone_during_the_pass_costs_its_row(change: str, server: Server, images: Path, tmp_path: Path
                                                            ) -> None:
    started = server.start(features(images, tmp_path), "features")
    started.reach()
    path = sorted(images.rglob("*.png"))[-1]
    path.unlink() if change == "vanishes" else draw(path, (1, 2, 3), 77)
    ended = started.go_on().end()
    reason = "No such file" if change == "vanishes" else "changed after it was first read"
    assert ended.code == 0 and f"skipped: red/9.png: {reason}" in ended.out, ended
    names = table_result(tmp_path)["names"].tolist()
    assert len(names) == 59 and "red/9.png" not in names


@pytest.mark.parametrize("ahead", [-10 * YEAR, pytest.param(YEAR, marks=soak)])
def test_another_clock_changes_nothing(ahead: float, server: Server, images: Path, tmp_path: Path) -> None:
    """A run is killed, and the next one has another time: what the first one left lies in its future, or far back."""
    (tmp_path / "expected").mkdir()
    assert server.run(*features(images, tmp_path / "expected")).code == 0
    server.start(features(images, tmp_path), "features").stop(signal.SIGKILL)
    left = next((tmp_path / "cache/features").glob("*/")) / f".{'0' * 37}.0123abcd.part"
    left.write_text("half")
    ended = server.run(*features(images, tmp_path), clock=ahead)
    assert ended.code == 0 and not left.exists(), ended.err
    assert not [*differences(table_result(tmp_path), table_result(tmp_path / "expected"))]
    assert not list((server.folder / "tmp").iterdir())


@soak
@pytest.mark.parametrize("environment", [
    {"HOME": None, "XDG_CACHE_HOME": None}, {"HOME": "/nonexistent/home", "XDG_CACHE_HOME": None},
    {"HOME": "/dev/null", "XDG_CACHE_HOME": None, "XDG_DATA_HOME": None}], ids=["unset", "missing", "no folder"])
def test_no_home_directory_is_needed_where_the_cache_is_named(environment: dict[str, str | None], server: Server,
                                                              images: Path, tmp_path: Path) -> None:
    ended = server.run(*tuned(images, tmp_path), environment=environment)
    assert ended.code == 0 and newest(tmp_path).name == "1", ended.err


@soak
def test_data_on_a_read_only_disk_train_as_any_others(server: Server, images: Path, tmp_path: Path) -> None:
    before = digests(images)
    assert server.run(*tuned(images, tmp_path), disks={images: "read-only"}).code == 0
    assert digests(images) == before


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@soak
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(("place", "words"), [
    ("features", lambda i, f: features(i, f)),
    ("head", lambda i, f: [*tuned(i, f), "--unfreeze", 0, "--head", "mlp"]),
    ("journal", lambda i, f: ["compare", i, "--backbones", "tiny_net", *PLAIN[:6], "--out", f / "c", *cached(f)])],
    ids=["features", "head", "journal"])
def test_a_signal_ends_every_command_with_one_line_and_nothing_half_written(
        place: str, words: Any, number: signal.Signals, server: Server, images: Path, tmp_path: Path) -> None:
    ended = server.start(words(images, tmp_path), place).stop(number)
    assert ended.code == SIGNALS[number] and ended.out == "" and "Traceback" not in ended.err, ended.err
    assert ended.err.count("error: stopped") == 1
    assert not list(tmp_path.rglob("*.part")) and not (tmp_path / "x.npz").exists() and not (tmp_path / "out").exists()
    assert not list((server.folder / "tmp").iterdir())


def test_differences_are_seen() -> None:
    rows = {"a": np.zeros(3, np.float32), "text": "x"}
    assert not [*differences(rows, dict(rows))]
    for other in ({**rows, "a": np.array([0, 0, 1e-7], np.float32)}, {**rows, "text": "y"}, {"text": "x"}):
        assert [*differences(rows, other)]
