"""Shards on a Ray cluster. A cluster of one machine is tested always; `make test-ray` starts several nodes, which takes
half a minute each on two cores, and kills workers, nodes and the driver at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shard_worker
from conftest import HERE
from ray_nodes import Nodes

from kerastl.errors import OptionError
from kerastl.runtime import choose
from kerastl.shards.store import MANIFEST

pytestmark = pytest.mark.slow
SEVERAL = "KERASTL_RAY" in os.environ
ON_NODES = pytest.mark.skipif(not SEVERAL, reason="starts several Ray nodes, which takes many minutes: make test-ray")
RUNS = 10
COUNT = 60  # shards of a run
LIMIT = 600  # seconds


def environment(**more: str) -> dict[str, str]:
    """Of a process whose workers import the tests' own worker."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), **more}


def driver(cache: Path, count: int, workers: int, seconds: float, **more: str) -> "subprocess.Popen[str]":
    words = [sys.executable, str(HERE / "shard_worker.py"), str(cache), str(count), str(workers), "ray", str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more))


def rows_of(process: "subprocess.Popen[str]") -> list[tuple[int, Any]]:
    """What it printed."""
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    return [(number, values) for number, values in json.loads(out)]


def test_a_cluster_of_this_machine_alone(tmp_path: Path) -> None:
    """It gives the same rows, tells nobody, and leaves nothing in the home directory."""
    home = tmp_path / "home"
    home.mkdir()
    with driver(tmp_path / "cache", 12, 1, 0, HOME=str(home)) as process:
        assert rows_of(process) == shard_worker.expected(12)
    assert [path.name for path in (tmp_path / "cache/shards/job").iterdir()] == [MANIFEST]
    assert not (home / ".ray").exists()
    session = Path("/tmp/ray/session_latest").resolve()
    assert (session / "logs").is_dir() and not (session / "usage_stats.json").exists()


def test_a_cluster_that_does_not_answer_is_one_message(tmp_path: Path) -> None:
    with driver(tmp_path, 2, 1, 0, RAY_ADDRESS="127.0.0.1:1") as process:
        _, err = process.communicate(timeout=LIMIT)
    assert "OptionError: no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1" in err


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        with Nodes(3) as nodes:
            yield nodes


@ON_NODES
@pytest.mark.parametrize("seed", range(RUNS))
def test_kills_at_random_moments_lose_and_repeat_no_row(seed: int, nodes: Nodes, tmp_path: Path) -> None:
    """Two nodes and three by turns; a worker, a node, the driver, or several of them."""
    moments = random.Random(seed)
    size = 2 + seed % 2
    while len(nodes.nodes) > size:
        nodes.kill_node(0)
    nodes.add(size - len(nodes.nodes))
    victims = moments.sample(["worker", "node", "driver"], 1 + seed % 3)
    process = driver(tmp_path, COUNT, 0, 0.05, **nodes.variables)
    folder = tmp_path / "shards/job"
    try:
        for victim in victims:
            done = len(list(folder.glob("part-*.npz")))
            while len(list(folder.glob("part-*.npz"))) < min(done + 2, COUNT) and process.poll() is None:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 1.0))
            if victim == "driver":
                process.kill()
                process.communicate()
                process = driver(tmp_path, COUNT, 0, 0.05, **nodes.variables)
            elif victim == "node":
                nodes.kill_node(moments.randrange(len(nodes.nodes)))
            elif workers := nodes.workers():
                os.kill(moments.choice(workers), signal.SIGKILL)
        rows = rows_of(process)
    finally:
        process.kill()
        process.communicate()
    print(f"seed {seed}, {size} nodes: killed {', '.join(victims)}; "
          f"{len((tmp_path / 'shards/computed.log').read_text().splitlines())} computations of {COUNT} shards")
    assert rows == shard_worker.expected(COUNT)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["rows"] == COUNT * shard_worker.ROWS and len(manifest["shards"]) == COUNT


def test_ray_is_an_engine_that_chooses_its_arithmetic_as_auto_does() -> None:
    chosen = choose(engine="ray", workers=3, gpu=False, bfloat16_cpu=False)
    assert (chosen.ray, chosen.workers, chosen.engine, chosen.shared) == (True, 3, "auto", True)
    with pytest.raises(OptionError, match="`engine` is 'rai'"):
        choose(engine="rai", gpu=False, bfloat16_cpu=False)
