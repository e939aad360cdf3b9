"""Many tiny images by one process, by worker processes, and on a Ray cluster of this machine: time, memory, equality.

python benchmarks/shards.py [IMAGES] [WORKERS] [here|processes|ray ...]
The object store of the Ray cluster has 256 MiB. Memory is that of every process of the run, four times a second; it is
flat if its largest value in the second half of the shards is that of the first half.
"""

import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

FOLDER = 1000  # images in each
FLAGS = {"here": [], "processes": ["--workers"], "ray": ["--engine", "ray", "--workers"]}


def write_images(folder: Path, count: int) -> None:
    """So many PNG files of 16 x 16 pixels, no two alike."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        rows = b"".join(b"\0" + row.tobytes() for row in pixels)
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 1)),
                  (b"IEND", b"")]
        path = folder / f"{number // FOLDER:04d}" / f"{number % FOLDER:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks))


def memory(pid: int) -> int:
    """Bytes that a process and those below it have in memory, without what they share (PSS)."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parent_of = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    total, below = 0, {pid}
    while below:
        for process in below:
            try:
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            except (OSError, ProcessLookupError):
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        below = {child for child, parent in parent_of.items() if parent in below}
    return total


def run(data: Path, folder: Path, flags: list[str]) -> tuple[float, list[int], np.ndarray]:
    """Seconds, the memory over time once the first shard is done, and the features."""
    command = [sys.executable, "-m", "kerastl", "features", str(data), "--out", str(folder / "out.npz"), "--backbone",
               str(Path(__file__).with_name("tiny_network.py")), "--weights", "none", "--precision", "float32",
               "--label-column", "none", "--cache-dir", str(folder / "cache"), "--json", *flags]
    start, used = time.perf_counter(), list[int]()
    with open(folder / "log", "w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        while process.poll() is None:
            time.sleep(0.25)
            if next((folder / "cache/shards").glob("*/part-*"), None):
                used.append(memory(process.pid))
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit((folder / "log").read_text()[-3000:])
        print(json.dumps({k: v for k, v in json.loads(process.stdout.read()).items() if k != "left_out"}), flush=True)
    with np.load(folder / "out.npz") as file:
        return seconds, used, file["features"]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    workers = sys.argv[2] if len(sys.argv) > 2 else "2"
    expected = None
    with tempfile.TemporaryDirectory() as temporary:
        write_images(Path(temporary) / "data", count)
        for name in sys.argv[3:] or FLAGS:
            folder = Path(temporary) / name
            folder.mkdir()
            flags = [*FLAGS[name], workers] if FLAGS[name] else []
            seconds, used, features = run(Path(temporary) / "data", folder, flags)
            half = len(used) // 2
            flat = f"; memory of all processes: at most {max(used[:half]) / 2**20:.0f} MiB in the first half, " \
                   f"{max(used[half:]) / 2**20:.0f} MiB in the second" if half else ""
            expected = features if expected is None else expected
            print(f"{name}: {len(features):,} rows in {seconds:.0f} s{flat}; largest difference "
                  f"{np.abs(features - expected).max():.1g}", flush=True)


if __name__ == "__main__":
    main()
