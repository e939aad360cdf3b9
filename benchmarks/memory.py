"""Peak memory of a feature pass, with ten times the images."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import images
from benchmarks.figure import Figure, at_most

FEW, MANY = 300, 3000
ENGINES = ("tensorflow", "openvino")
PASS = """
import sys
from pathlib import Path
import kerastl as tl
examples = tl.read_images(sys.argv[1])
backbone, runtime = tl.load_backbone("efficientnet_lite0", "none"), tl.apply_runtime(engine=sys.argv[4])
features = tl.compute_features(tl.split(examples), backbone, runtime, cache_dir=Path(sys.argv[2]))
assert features.computed == int(sys.argv[3]), features.computed
# Not getrusage: its peak also counts the process that started this one.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def growth() -> list[Figure]:
    """Peak memory over the whole process, imports included, of 3,000 images over that of 300, by each engine."""
    return [_growth(engine) for engine in ENGINES]


def _growth(engine: str) -> Figure:
    peak = {}
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            for part in ("a", "b"):
                images.write(Path(folder) / "data" / part, count // 2, *((500, 375) if part == "a" else (375, 500)))
            done = subprocess.run([sys.executable, "-c", PASS, f"{folder}/data", f"{folder}/cache", str(count), engine],
                                  capture_output=True, text=True, check=True)
            peak[count] = float(done.stdout.splitlines()[-1]) / 1024
    return at_most(f"peak memory of the pass in {engine}, {MANY} images over {FEW} ({peak[MANY]:.0f} MiB over "
                   f"{peak[FEW]:.0f} MiB)", peak[MANY] / peak[FEW], 1.1)
