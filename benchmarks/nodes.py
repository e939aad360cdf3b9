"""The feature pass on one and on two nodes of a Ray cluster, with one processor each: images per second, by hand.

python benchmarks/nodes.py [SHARDS]
The nodes are processes of this machine, which therefore needs two processors that share nothing. Each worker decodes
and computes with one thread. Only the time from the first shards to the last is counted, because the start of Ray and
TensorFlow takes half a minute, however many images there are. A shard that the second node had begun by then is not
counted, although most of it may have been computed since: the rate of two nodes is a lower bound.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import images
from kerastl.features.shard_pass import SHARD_ROWS

sys.path.insert(0, "tests")
from ray_nodes import Nodes  # noqa: E402


def run(nodes: int, data: Path, folder: Path) -> tuple[float, np.ndarray]:
    """Images per second once as many shards are done as there are nodes, and the features."""
    command = [sys.executable, "-m", "kerastl", "features", str(data), "--out", str(folder / "out.npz"), "--precision",
               "float32", "--label-column", "none", "--engine", "ray", "--isolate", "off", "--cache-dir",
               str(folder / "cache")]
    done = dict[str, float]()
    with Nodes(nodes) as cluster, open(folder / "log", "w") as log, \
            subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **cluster.variables}) as process:
        while process.poll() is None:
            time.sleep(0.02)
            for path in (folder / "cache/shards").glob("*/part-*.npz"):
                done.setdefault(path.name, time.perf_counter())
    if process.returncode:
        raise SystemExit((folder / "log").read_text()[-3000:])
    times = sorted(done.values())[nodes - 1:]
    shards = len(times) - nodes  # without the first, and those that other nodes had begun
    with np.load(folder / "out.npz") as file:
        return SHARD_ROWS * shards / (times[-1] - times[0]), file["features"]


def main() -> None:
    shards = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as temporary:
        images.write(Path(temporary) / "data", shards * SHARD_ROWS, 320, 240)
        rates, expected = list[float](), None
        for nodes in (1, 2, 2, 1):
            folder = Path(temporary) / f"{len(rates)}"
            folder.mkdir()
            rate, features = run(nodes, Path(temporary) / "data", folder)
            expected = features if expected is None else expected
            rates.append(rate)
            print(f"{nodes} nodes: {rate:.1f} images/s; largest difference {np.abs(features - expected).max():.1g} "
                  f"of {np.abs(expected).max():.3g}", flush=True)
    print(f"two nodes over one: {(rates[1] + rates[2]) / (rates[0] + rates[3]):.2f}")


if __name__ == "__main__":
    main()
