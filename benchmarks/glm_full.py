"""ChatGLM2-6B at its true size, 6 billion random parameters: memory, tokens a second, and streaming from disk.

Writes 12 GB to the folder for temporary files, and takes about half an hour.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, at_most
from benchmarks.glm_folder import write_folder

# Of a process of its own: loads the folder, passes batches of tokens, tells of time and of peak memory.
PASS = """
import json, sys, time
folder, kept, streamed = sys.argv[1], sys.argv[2], sys.argv[3] == "True"
batch, length, batches = map(int, sys.argv[4:])
import numpy as np, tensorflow as tf, keras, keras_hub
import kerastl as tl
from kerastl.features.engines.tensorflow import large_engine
from kerastl.backbones._glm import folder as build
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
def current():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
build.made  # imported, so that what libraries take is not counted
tf.constant(0)
empty = current()
if streamed:
    build.free_memory = lambda: 4 * 2**30  # as on a machine with so much free
start = time.perf_counter()
backbone = tl.load_backbone("glm2_6b", folder, precision=kept)
loading, loaded = time.perf_counter() - start, peak()
engine = large_engine(backbone.model, backbone.large)
tokens = [np.random.default_rng(i).integers(300, 60_000, (batch, length)).astype(np.int32) for i in range(batches)]
took, first = [], None
start = time.perf_counter()
for rows in engine.through(iter(tokens)):
    first = rows if first is None else first
    took.append(time.perf_counter() - start)
    start = time.perf_counter()
seconds = sum(took) if streamed else min(took)
count = batch * length * (batches if streamed else 1)
print(json.dumps({"bytes": backbone.large.bytes, "libraries": empty, "loaded": loaded - empty, "peak": peak() - empty,
                  "loading": loading, "rate": count / seconds, "features": first[:4].tolist()}))
"""


def memory() -> list[Figure]:
    """Peak memory above the libraries' own, over what was allowed; rates; the cost of fewer bits."""
    from kerastl.backbones._glm.sizes import Sizes

    figures, features = [], {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "glm"
        shard = write_folder(folder, Sizes())
        for kept in ("bfloat16", "int8", "int4"):
            found = _pass(folder, kept, False, 8, 64, 3)
            if found is None:
                figures.append(Figure(f"{kept}: 3 batches of 8 x 64 tokens", "the process was killed", "<= 1", False))
                continue
            allowed = 1.15 * found["bytes"] + shard
            features[kept] = found["features"]
            figures.append(at_most(
                f"{kept}: peak memory of loading and 3 batches of 8 x 64 tokens ({found['peak'] / 1e9:.2f} GB, "
                f"{found['loaded'] / 1e9:.2f} when loaded, above the libraries' {found['libraries'] / 1e9:.1f}), over "
                f"1.15 times the weights' {found['bytes'] / 1e9:.2f} GB and a shard of {shard / 1e9:.2f}; "
                f"{found['loading']:.0f} s to load, {found['rate']:.1f} tokens/s", found["peak"] / allowed, 1.0))
        streamed = _pass(folder, "bfloat16", True, 8, 64, 8)
        if streamed is None:
            raise RuntimeError("streaming was killed")
        figures.append(at_most(
            f"streamed in bfloat16, 8 batches of 8 x 64 tokens: peak memory above the libraries', over 3 GB "
            f"({streamed['peak'] / 1e9:.2f} GB; {streamed['rate']:.1f} tokens/s, a read of the weights included)",
            streamed["peak"] / 3e9, 1.0))
        features["streamed"] = streamed["features"]
    return figures + _near(features)


def _near(features: dict[str, Any]) -> list[Figure]:
    import numpy as np

    from kerastl.features.engines.check import least_cosine

    exact = np.array(features.pop("bfloat16"), np.float32)
    return [Figure(f"least cosine of mean features to those in bfloat16, {name}",
                   f"{least_cosine(np.array(rows, np.float32), exact):.5f}") for name, rows in features.items()]


def _pass(folder: Path, kept: str, streamed: bool, *counts: int) -> dict[str, Any] | None:
    """None where the process was killed, as it is when memory runs out."""
    done = subprocess.run([sys.executable, "-c", PASS, folder, kept, str(streamed), *map(str, counts)],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode > 0:
        raise RuntimeError(f"{kept} ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None
