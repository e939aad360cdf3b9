"""`kerastl compare`: 3 heads with 3 seeds on 1,000 movie snippets whose features are in the cache."""

import tempfile
import time
from pathlib import Path

from benchmarks.figure import Figure
from kerastl.studies.compare.study import compare

SNIPPETS = Path("samples/snippets.csv")
HEADS = ["linear", "mlp", "mlp:hidden=128"]


def cached() -> list[Figure]:
    """Seconds of a whole comparison after the pass: cells, latencies, and the recommended one trained for the test."""
    if not SNIPPETS.exists():
        return [Figure("3 heads with 3 seeds, movie snippets", "not measured: run `make quickstart` first")]

    def took(heads: list[str], seeds: int, out: str) -> tuple[float, float]:
        start, processor = time.perf_counter(), time.process_time()
        compare(str(SNIPPETS), ["minilm"], heads, seeds=seeds, limit=1000, out=out)
        return time.perf_counter() - start, time.process_time() - processor

    with tempfile.TemporaryDirectory() as folder:
        took(HEADS[:1], 1, f"{folder}/first")  # fills the cache, also with the test rows
        seconds, processor = took(HEADS, 3, f"{folder}/second")
        again, _ = took(HEADS, 3, f"{folder}/second")
    what = f"seconds of {', '.join(HEADS)} with 3 seeds on 1,000 snippets, features cached ({processor:.0f} s of " \
           f"processor time; {again:.1f} s when all of it was done before)"
    return [Figure(what, f"{seconds:.1f}", "< 60", seconds < 60)]
