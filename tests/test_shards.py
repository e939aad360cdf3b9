"""Shards by worker processes: each row once, in order, whatever is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shard_worker
from conftest import HERE, draw
from tiny import plain_runtime

import kerastl as tl
from kerastl.compact import Hashes
from kerastl.errors import DataError, OptionError
from kerastl.features.table import FeatureTable
from kerastl.runtime import Runtime
from kerastl.shards.store import (
    CONTENT,
    JOB,
    MANIFEST,
    Part,
    content_of,
    job_folder,
    read_part,
    remove_finished,
    write_part,
)
from kerastl.shell.listing import cache_info

PROGRAM = HERE / "shard_worker.py"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import the tests' own worker."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))


def workers_of(pid: int) -> list[int]:
    """The worker processes of a process."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True,
                            check=False)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "kerastl.shards.worker" in line]


def started(cache: Path, count: int, seconds: float, ray: str = "here", workers: int = 2,
            **variables: str) -> "subprocess.Popen[str]":
    """The program that has shards computed, as a process."""
    words = [sys.executable, str(PROGRAM), str(cache), str(count), str(workers), ray, str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **variables})


def rows_of(process: "subprocess.Popen[str]") -> list[tuple[int, Any]]:
    """What the program printed when it ended."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return [(number, values) for number, values in json.loads(out)]


def computations(log: Path) -> int:
    """How many shards were begun."""
    return len(log.read_text().splitlines()) if log.exists() else 0


def repeated(log: Path) -> bool:
    """Whether a shard was begun twice."""
    begun = log.read_text().splitlines() if log.exists() else []
    return len(set(begun)) < len(begun)


def two_workers() -> Runtime:
    return plain_runtime(engine="tensorflow", workers=2)


def test_rows_come_once_and_in_order_with_errors_in_their_places(tmp_path: Path) -> None:
    assert shard_worker.run(tmp_path, 12, two_workers()) == shard_worker.expected(12)
    folder = tmp_path / "shards/job"
    assert [path.name for path in folder.iterdir()] == [MANIFEST]  # results do not pile up
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["rows"], manifest["computed"], manifest["errors"]) == (120, 108, 12)
    assert [entry["start"] for entry in manifest["shards"]] == [*range(0, 120, 10)]
    assert len({entry["sha256"] for entry in manifest["shards"]}) == 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_workers_that_are_killed_at_random_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    moments, log = random.Random(seed), tmp_path / "shards/computed.log"
    kills = 0
    with started(tmp_path, 40, 0.02) as process:
        while process.poll() is None and (kills < 3 or not repeated(log)):
            kills, before = kills + 1, computations(log)
            while computations(log) == before and process.poll() is None:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.15))  # a shard takes 0.2 seconds
            for pid in moments.sample(workers := workers_of(process.pid), min(1, len(workers))):
                os.kill(pid, signal.SIGKILL)
        assert rows_of(process) == [*map(tuple, shard_worker.expected(40))]
    assert repeated(log)  # a worker was killed while it computed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_driver_that_is_killed_at_random_continues_with_the_shards_that_are_done(seed: int, tmp_path: Path) -> None:
    moments, done = random.Random(seed), 0
    for _ in range(2):
        with started(tmp_path, 40, 0.003) as process:
            folder = tmp_path / "shards/job"
            while len(list(folder.glob("part-*.npz"))) < done + 3:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.2))
            workers = workers_of(process.pid)
            process.kill()
            process.communicate()
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()
                  for pid in workers):
            assert time.monotonic() < deadline, "a worker outlives the process that it works for"
            time.sleep(0.02)
        done = len(list(folder.glob("part-*.npz")))
    log = tmp_path / "shards/computed.log"
    before = computations(log)
    with started(tmp_path, 40, 0) as process:
        assert rows_of(process) == [*map(tuple, shard_worker.expected(40))]
    assert computations(log) - before == 40 - done  # those that were done were not computed again


@pytest.mark.slow
def test_two_processes_with_one_job_compute_it_one_after_the_other(tmp_path: Path) -> None:
    with started(tmp_path, 10, 0.005) as first, started(tmp_path, 10, 0.005) as second:
        out = [process.communicate(timeout=120) for process in (first, second)]
    both = [json.loads(text.splitlines()[-1]) for text, _ in out]
    assert both == [[[n, values] for n, values in shard_worker.expected(10)]] * 2
    assert sum("another process computes the same rows" in text for text, _ in out) <= 1
    starts = (tmp_path / "shards/computed.log").read_text().split()
    assert len(starts) == 20 and len(set(starts[:10])) == 10  # each did its work alone


@pytest.mark.slow
def test_a_row_that_ends_its_worker_each_time_is_one_error_that_names_the_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="5 workers died one after another over rows 20 to 29, the last one: ended by "
                                        "SIGKILL: a decoder crashed"):
        shard_worker.run(tmp_path, 4, two_workers(), fatal=23)
    assert not workers_of(os.getpid())


def test_there_are_no_more_workers_than_shards(tmp_path: Path) -> None:
    """Each of them would load the network for nothing."""
    assert shard_worker.run(tmp_path, 2, plain_runtime(engine="tensorflow", workers=8)) == shard_worker.expected(2)
    assert len((tmp_path / "shards/started.log").read_text().splitlines()) <= 2


def test_workers_import_no_module_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a folder of data from a stranger."""
    for name in ("queue", "numpy", "kerastl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module from the data')")
    monkeypatch.chdir(tmp_path)
    assert shard_worker.run(tmp_path / "cache", 1, two_workers()) == shard_worker.expected(1)


def test_an_error_of_a_worker_is_raised_where_the_work_is_given_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a network that does not load"):
        shard_worker.run(tmp_path, 4, two_workers(), broken=True)
    assert not workers_of(os.getpid())


def test_a_damaged_shard_is_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = next(shard_worker.shards(1))
    with job_folder(tmp_path, "other") as folder:
        write_part(folder / shard.name, Part({"rows": np.zeros((10, 2), np.float32)}, [*range(10)], {}))
        content = bytearray((folder / shard.name).read_bytes())
        read_part(folder / shard.name, shard)
        content[len(content) // 3] ^= 1
        (tmp_path / "shards/job").mkdir()
        (tmp_path / "shards/job" / shard.name).write_bytes(content)
        write_part(folder / shard.name, Part({"rows": np.zeros((9, 2), np.float32)}, [*range(9)], {}))
        with pytest.raises(DataError, match="does not hold each of its 10 rows once"):
            read_part(folder / shard.name, shard)
    assert shard_worker.run(tmp_path, 1, two_workers()) == shard_worker.expected(1)
    assert "is damaged: it is computed again" in capsys.readouterr().out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images, of which the last one cannot be decoded."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(80):
        draw(folder / f"{number:03d}.png", (number, 80, 120), number)
    whole = (folder / "079.png").read_bytes()
    (folder / "079.png").write_bytes(whole[:len(whole) // 2])
    return folder


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 16 rows."""
    for module in ("kerastl.features.shard_pass", "kerastl.serving.shard_rows"):
        monkeypatch.setattr(f"{module}.SHARD_ROWS", 16)


def table(data: Path, folder: Path, **more: Any) -> tuple[FeatureTable, dict[str, Any]]:
    """The features of the images, computed with a cache of their own."""
    result = tl.write_features(str(data), str(folder / "out.npz"), backbone="tiny_net", weights="none", batch_size=8,
                               engine="tensorflow", precision="float32", cache_dir=str(folder / "cache"), **more)
    with np.load(folder / "out.npz") as file:
        return result, dict(file)


@pytest.mark.slow
def test_features_by_workers_are_those_of_one_process(data: Path, small_shards: None, tmp_path: Path) -> None:
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    alone, expected = table(data, tmp_path / "alone")
    with tl.isolated("on"):  # which holds in the workers too
        together, rows = table(data, tmp_path / "together", workers=2)
    assert "; 2 worker processes, threads of each: " in together.reason
    assert together.skipped == alone.skipped and "079.png" in together.skipped[0].origin
    assert rows["names"].tolist() == expected["names"].tolist() and len(rows["names"]) == 79
    assert np.array_equal(rows["features"], expected["features"])
    manifest = json.loads(next((tmp_path / "together/cache/shards").glob(f"*/{MANIFEST}")).read_text())
    assert (manifest["rows"], manifest["errors"], len(manifest["shards"])) == (80, 1, 5)
    again, cached = table(data, tmp_path / "together", workers=2)  # the bad row alone is looked at again
    assert again.computed == 0 and np.array_equal(cached["features"], rows["features"])


def test_shards_that_were_read_are_removed_once_their_rows_are_in_the_cache(tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / f"data/{number}.png", (number, 80, 120), number)
    table(tmp_path / "data", tmp_path)
    space = next((tmp_path / "cache/features").glob("*/")).name
    read, unread, other = (tmp_path / "cache/shards" / name for name in (f"{space}-0", f"{space}-1", "another-0"))
    for folder in (read, unread, other):
        (folder / "network").mkdir(parents=True)
        (folder / "part-000000-a.npz").touch()
        (folder / MANIFEST).write_text('{"shards": [{"name": "part-000000-a.npz"}]}')
    (unread / "part-000001-b.npz").touch()  # of other rows, by a run that was killed
    (unread / JOB).write_text('{"content": "that of other rows"}')
    (tmp_path / "out.npz").unlink()
    assert table(tmp_path / "data", tmp_path)[0].computed == 0
    assert [path.name for path in read.iterdir()] == [MANIFEST]
    assert len(list(unread.iterdir())) == 5 and len(list(other.iterdir())) == 3


def test_shards_of_rows_that_are_in_the_cache_are_removed_though_the_manifest_is_missing(tmp_path: Path) -> None:
    rows, others = Hashes.of(["0" * 32, "1" * 32]), Hashes.of(["0" * 32])
    for name, content in (("space-0", content_of(rows)), ("space-1", content_of(others))):
        with suppress(ZeroDivisionError), job_folder(tmp_path, name) as folder:
            (folder / JOB).write_text(json.dumps({CONTENT: content}))
            (folder / "part-000000-a.npz").touch()
            raise ZeroDivisionError
    with job_folder(tmp_path, "space-2") as folder:
        (folder / JOB).write_text(json.dumps({CONTENT: content_of(rows)}))
        remove_finished(tmp_path, "space-2", rows)
        assert (folder / JOB).exists(), "a process works on it"
    remove_finished(tmp_path, "space-", rows)
    assert not list((tmp_path / "shards/space-0").iterdir()) and len(list((tmp_path / "shards/space-1").iterdir())) == 2


def test_workers_refuse_what_they_cannot_do(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="`workers` must be at least 0"):
        tl.apply_runtime(workers=-1)
    with pytest.raises(OptionError, match="`workers` is 2, and `engine` is openvino"):
        tl.predict_inputs(str(trained), ["x.png"], engine="openvino", workers=2)
    monkeypatch.setattr("kerastl.runtime._has", lambda package: False)
    with pytest.raises(OptionError, match="the package ray is not installed"):
        tl.apply_runtime(engine="ray")


@pytest.mark.slow
def test_predictions_by_workers_are_those_of_one_process(trained: Path, data: Path, small_shards: None, tmp_path: Path
                                                         ) -> None:
    inputs = [str(data), str(tmp_path / "missing.png")]
    alone = tl.predict_inputs(str(trained), inputs, probabilities=True)
    together = tl.predict_inputs(str(trained), inputs, probabilities=True, workers=2, cache_dir=str(tmp_path / "cache"),
                                 out=str(tmp_path / "out.csv"))
    assert together.rows() == alone.rows() and (together.total, together.errors) == (81, 2)
    for mine, theirs in zip(together.predictions, alone.predictions, strict=True):
        assert mine == theirs
    assert (tmp_path / "out.csv").read_text().count("\n") == 82


def test_the_cache_shows_and_removes_the_shards_of_killed_runs_only(tmp_path: Path) -> None:
    part = Part({"x": np.zeros((2, 3), np.float32)}, [0, 1], {})
    for name in ("killed", "at work"):
        with pytest.raises(KeyboardInterrupt), job_folder(tmp_path, name) as folder:
            write_part(folder / "part-000000-0.npz", part)
            raise KeyboardInterrupt
    with job_folder(tmp_path, "finished") as folder:
        write_part(folder / "part-000000-0.npz", part)
        (folder / MANIFEST).write_text("{}")
    size = (tmp_path / "shards/killed/part-000000-0.npz").stat().st_size
    shown = cache_info(str(tmp_path))
    assert (shown.unfinished.runs, shown.unfinished.bytes, shown.freed) == (2, 2 * size, 0)
    assert shown.to_dict()["unfinished"] == {"runs": 2, "bytes": 2 * size}
    with job_folder(tmp_path, "at work"):
        left = cache_info(str(tmp_path), clear_unfinished=True)
        assert (left.freed, left.unfinished.runs) == (size, 1)
    assert sorted(path.name for path in (tmp_path / "shards").glob("*/")) == ["at work", "finished"]
    assert cache_info(str(tmp_path), clear_unfinished=True).freed == 0
