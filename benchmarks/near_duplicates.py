"""The search for near-duplicates: seconds and memory for 100,000 texts and 100,000 tiny images, a tenth of them copies.

python benchmarks/near_duplicates.py texts|images ROWS      one search alone; prints seconds, CPU seconds, MiB, groups
"""

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figure import Figure, at_most  # noqa: E402

FEW, MANY = 10_000, 100_000
GOAL = 180.0  # seconds for MANY
WORDS = 5000  # of the vocabulary; drawn by Zipf's law, as words of a language are


def search() -> list[Figure]:
    """Seconds for MANY rows, and the growth of the peak memory from FEW rows to MANY."""
    figures = []
    for kind in ("texts", "images"):
        results = {}
        for rows in (FEW, MANY):
            done = subprocess.run([sys.executable, __file__, kind, str(rows)], capture_output=True, text=True,
                                  check=True)
            results[rows] = [float(word) for word in done.stdout.split()]
        (_, _, before, _), (seconds, cpu, after, groups) = results[FEW], results[MANY]
        figures += [at_most(f"near-duplicates among {MANY:,} {kind}: seconds, over {GOAL:.0f} ({seconds:.0f} s, CPU "
                            f"{cpu:.0f} s, {groups:,.0f} groups)", seconds / GOAL, 1.0),
                    at_most(f"near-duplicates, {kind}: peak memory of {MANY:,} rows over {FEW:,} ({after:.0f} MiB over "
                            f"{before:.0f} MiB)", after / before, 2.0)]
    return figures


def texts(rows: int) -> list[str]:
    """Random texts of 8 to 250 words; every tenth is the one before with a word changed."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, WORDS + 1)
    names = np.array(["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 10)))
                      for _ in range(WORDS)])
    made: list[str] = []
    for row in range(rows):
        if row % 10 == 9:
            words = made[-1].split()
            words[len(words) // 2] = "changed"
        else:
            words = names[rng.choice(WORDS, int(np.exp(rng.uniform(np.log(8), np.log(250)))), p=share / share.sum())
                          ].tolist()
        made.append(" ".join(words))
    return made


def images(rows: int, folder: Path) -> Iterator[str]:
    """Paths of smooth random images of 32 x 32; every tenth is the one before as JPEG."""
    from PIL import Image

    rng = np.random.default_rng(0)
    image = Image.new("RGB", (32, 32))
    for row in range(rows):
        path = folder / f"{row}.{'jpg' if row % 10 == 9 else 'png'}"
        if row % 10 != 9:
            coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
            image = coarse.resize((32, 32), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG" if row % 10 == 9 else "PNG", quality=80)
        path.write_bytes(file.getvalue())
        yield str(path)


def measure(kind: str, rows: int) -> None:
    """One search: seconds, CPU seconds, peak memory in MiB, groups."""
    from kerastl.data.near_duplicates import images as of_images
    from kerastl.data.near_duplicates import texts as of_texts
    from kerastl.data.near_duplicates.groups import grouped

    with tempfile.TemporaryDirectory() as folder:
        items = texts(rows) if kind == "texts" else list(images(rows, Path(folder)))
        start, cpu = time.perf_counter(), time.process_time()
        contents = of_texts.read_contents(items) if kind == "texts" else of_images.read_contents(items)
        print(f"read after {time.process_time() - cpu:.0f} CPU seconds", file=sys.stderr)
        result = grouped(contents)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(contents.notes, result.split_up[:3], file=sys.stderr)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    _, sizes = np.unique(result.label, return_counts=True)
    print(f"{seconds:.1f} {cpu:.1f} {int(peak.split()[1]) / 1024:.0f} {(sizes > 1).sum()}")


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2]))
