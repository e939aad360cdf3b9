"""Peak memory of training a head on maps that are read from disk, with ten times the rows."""

import subprocess
import sys
import tempfile

from benchmarks.figure import Figure, at_most

FEW, MANY = 300, 3000
SIDE, CHANNELS, EPOCHS = 14, 112, 1  # the maps of EfficientNet-Lite0's tap block5, in float16 44 KB each
TRAINING = f"""
import hashlib, sys
from pathlib import Path
import numpy as np
import kerastl as tl
from kerastl.modality import IMAGE
from kerastl.data.examples import Examples, Split
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
n, shape = int(sys.argv[1]), ({SIDE}, {SIDE}, {CHANNELS})
ids = tuple(hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest() for i in range(n))
part = np.array([0, 0, 0, 1, 2] * (n // 5), np.int8)
examples = Examples(IMAGE, "made up", items=("",) * n, origins=ids, ids=ids, groups=ids, source_split=("",) * n,
                    classes=("a", "b"), targets=np.arange(n) % 2, split=Split("holdout", "a benchmark's own", part))
space = Space(Path(sys.argv[2]), SpaceKey("made up", "0" * 32, "none", "top", "none", "float32", shape, "float16"))
generator = np.random.default_rng(0)
for start in range(0, n, 100):
    space.append(ids[start:start + 100], generator.normal(size=(100, *shape)).astype(np.float16))
features = Features(examples, None, tl.apply_runtime("float32", "off"), Path(sys.argv[2]), shape, "float32", "made up",
                    0, 0.0, space, space)  # no backbone: only the head is fitted
tl.fit(features, "resnet", options=tl.TrainingOptions({EPOCHS}))
# Not getrusage: its peak also counts the process that started this one.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def growth() -> list[Figure]:
    """Peak memory over the whole process, imports included, of training on 3,000 maps over that on 300."""
    peak = {}
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-c", TRAINING, str(count), folder], capture_output=True, text=True,
                                  check=True)
            peak[count] = float(done.stdout.splitlines()[-1]) / 1024
    return [at_most(f"peak memory of training `resnet` on maps of {SIDE} x {SIDE} x {CHANNELS}, {MANY} over {FEW} "
                    f"({peak[MANY]:.0f} MiB over {peak[FEW]:.0f} MiB)", peak[MANY] / peak[FEW], 1.1)]
