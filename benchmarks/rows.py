"""Seconds and memory of what is done for each row, beside the network, with 10^5 to 10^7 rows: reading, splitting, the
cache, the table of the split, the linear head, the evaluation. A child process for each size.

KERASTL_ROWS=100000,1000000 measures these sizes; images are read up to 10^6, because each is a file.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure

SIZES = tuple(int(size) for size in os.environ.get("KERASTL_ROWS", "100000,1000000,10000000").split(","))
MOST_IMAGES, FOLDED = 1_000_000, 100_000  # rows
GOAL = 100  # bytes a row that the process keeps
DIM = 8
WORDS = 6
STAGES = """
import ctypes, gc, json, sys, time

from pathlib import Path

import numpy as np

import kerastl as tl
from kerastl.data.split import folds, split_by_hash
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.fill import fill, missing
from kerastl.versions.restore import write_split

source, folder, kind, folded = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
libc = ctypes.CDLL("libc.so.6")


def kib(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name + ":")).split()[1])


def kept():  # of this process alone, not of mapped files
    gc.collect()
    libc.malloc_trim(0)
    return kib("RssAnon") * 1024


def stage(name, work):
    gc.collect()
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, wall, cpu = kib("VmRSS") * 1024, time.perf_counter(), time.process_time()
    result = work()
    took = time.perf_counter() - wall, time.process_time() - cpu
    peak = kib("VmHWM") * 1024 - before
    found.append({"stage": name, "seconds": took[0], "cpu": took[1], "peak": peak, "kept": kept() - start})
    print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return result


found = []
backbone, runtime = tl.load_backbone("efficientnet_lite0", "none"), tl.apply_runtime()
tl.read_texts(sys.argv[5], cache_dir=folder)  # so that what is imported late is
import pyarrow.parquet, scipy.optimize, sklearn.metrics
start = kept()
read = tl.read_images if kind == "images" else tl.read_texts
examples = stage("read", lambda: read(source, cache_dir=folder))
n = len(examples)
if n <= folded:
    stage("folds", lambda: folds(examples, 5))
examples = stage("split", lambda: split_by_hash(examples))
key = SpaceKey("rows", "-", "-", "top", "mean", "float32", (8,))
space = Space(folder, key)
todo = stage("missing, of an empty cache", lambda: missing(space, examples.ids, np.arange(n)))
assert len(todo) == n, (len(todo), n)
del todo


def computed(some, refused, progress):
    for begin in range(0, len(some), 4096):
        ids = some.ids[begin:begin + 4096]
        raw = ids.raw if hasattr(ids, "raw") else np.frombuffer(bytes.fromhex("".join(ids)), np.uint8).reshape(-1, 16)
        rows = raw[:, :8].astype(np.float32) / 255 + 0.1 * some.targets[begin:begin + 4096, None]
        progress(len(rows))
        yield range(begin, begin + len(rows)), rows





stage("fill", lambda: fill(space, examples, examples.ids, np.arange(n), computed, description="rows"))
space = None
space = stage("open the cache", lambda: Space(folder, key))
todo = stage("missing, of a full cache", lambda: missing(space, examples.ids, np.arange(n)))
assert not len(todo)
features = Features(examples, backbone, runtime, folder, (8,), "float32", "-", 0, 0.0, space, space)


def gather():
    for begin in range(0, n, 65536):
        features.rows(np.arange(begin, min(begin + 65536, n)))


stage("read the features", gather)
stage("write split.csv", lambda: write_split(folder, examples))
fitted = stage("head linear", lambda: tl.fit(features))
evaluation = stage("evaluate", lambda: tl.evaluate(examples, fitted))
assert evaluation.accuracy > 0.5
print(json.dumps({"rows": n, "segments": len(list(space.folder.glob("*.ids.npy"))), "stages": found}))
"""


def table() -> list[Figure]:
    """The rows of the table: for each stage, seconds of the processor and the peak above its start, for each size."""
    figures = []
    for kind in ("csv", "parquet", "images"):
        sizes = [size for size in SIZES if kind != "images" or size <= MOST_IMAGES]
        figures += _figures(kind, {size: measured(kind, size) for size in sizes})
    return figures


def measured(kind: str, rows: int) -> dict[str, dict[str, float]]:
    """What a child process measured, by stage."""
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few.csv"
        _write_csv(few, 1000)
        source = Path(folder) / ("images" if kind == "images" else f"rows.{kind}")
        {"csv": _write_csv, "parquet": _write_parquet, "images": _write_images}[kind](source, rows)
        words = [source, Path(folder) / "cache", kind, FOLDED, few]
        (Path(folder) / "cache").mkdir()
        done = subprocess.run([sys.executable, "-c", STAGES, *map(str, words)], stdout=subprocess.PIPE, text=True,
                              check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == rows, result
    return {stage["stage"]: stage for stage in result["stages"]}


def _figures(kind: str, by_size: dict[int, dict[str, dict[str, float]]]) -> list[Figure]:
    figures = []
    for stage in by_size[min(by_size)]:
        values = {size: stages[stage] for size, stages in by_size.items() if stage in stages}
        each = "; ".join(f"{size:.0e}: {1e6 * value['cpu'] / size:.1f} us, {value['peak'] / size:.0f} B"
                         for size, value in values.items())
        figures.append(Figure(f"{kind}, {stage}: processor time, and peak above the stage's start, of a row", each))
    for size, stages in by_size.items():
        kept = max(value["kept"] for value in stages.values()) / size
        met = kept <= GOAL if size >= MOST_IMAGES else None  # of fewer rows, what does not grow with them is more
        figures.append(Figure(f"{kind}, {size:,} rows: bytes a row that the process keeps, at most, after any stage",
                              f"{kept:.0f}", f"<= {GOAL}" if met is not None else "", met))
    return figures


def _texts(start: int, rows: int) -> tuple[list[str], list[str]]:
    numbers = np.random.default_rng(start).integers(0, 5000, (rows, WORDS))
    return ([f"{start + i} " + " ".join(f"w{n}" for n in line) for i, line in enumerate(numbers.tolist())],
            ["yes" if line[0] % 2 else "no" for line in numbers.tolist()])


def _blocks(rows: int) -> list[tuple[int, int]]:
    return [(start, min(10_000, rows - start)) for start in range(0, rows, 10_000)]


def _write_csv(path: Path, rows: int) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("text", "label"))
        for start, count in _blocks(rows):
            texts, labels = _texts(start, count)
            out.writerows(zip(texts, labels, strict=True))


def _write_parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    schema = pa.schema([("text", pa.string()), ("label", pa.string())])
    with pyarrow.parquet.ParquetWriter(path, schema) as out:
        for start, count in _blocks(rows):
            texts, labels = _texts(start, count)
            out.write_batch(pa.record_batch([pa.array(texts), pa.array(labels)], schema=schema))


def _write_images(path: Path, rows: int) -> None:
    """Files with a content of their own, which are read for their hash; none is decoded here."""
    for start, count in _blocks(rows):
        folder = path / ("yes" if start // 10_000 % 2 else "no") / f"{start // 10_000:04d}"
        folder.mkdir(parents=True)
        for i in range(start, start + count):
            (folder / f"image_{i:08d}.png").write_bytes(b"%d" % i)
