"""Labels that are chosen against labels drawn at random, simulated on the samples of the quickstart.

The third set is one on which transfer helps little: snippets cut to their rare words.
"""

import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import kerastl as tl
from benchmarks.best import ROWS, SNIPPETS, STAMPS, rare_words
from benchmarks.figure import Figure
from kerastl.studies.label_next.simulate import Simulation

SIZES = (10, 20, 50)  # labels a round
REPEATS = 4
HELPED = "helped"
SECONDS = 30  # of a processor, that a simulation of rounds of 20 may take on cached features


def sets(folder: Path) -> Iterator[tuple[str, str]]:
    """Each set with its source."""
    yield "stamps", str(STAMPS)
    for name, source in (("snippets", SNIPPETS), ("snippets, rare words", rare_words(folder))):
        examples, rows = tl.read_texts(str(source), limit=ROWS), folder / f"{name}.csv"
        with rows.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(examples.items, examples.labels.tolist(), strict=True)])
        yield name, str(rows)


def measured(sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[str, Simulation, float]]:
    """Each set and size with its simulation, and the processor's seconds of all, features aside."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sets(Path(folder)):
            tl.label_next(source, None, 2, simulate=True, repeats=1)  # computes the features
            for n in sizes:
                start = time.process_time()
                simulation = tl.label_next(source, None, n, simulate=True, repeats=REPEATS).simulation
                assert simulation is not None
                yield name, simulation, time.process_time() - start


def as_rows() -> list[tuple[object, ...]]:
    """Rows of the table in docs/results.md."""
    rows: list[tuple[object, ...]] = []
    for name, found, _ in measured():
        low, high = found.gain_ci95
        first, last = found.rounds[0], found.rounds[-1]
        halfway = found.rounds[len(found.rounds) // 2 - 1]
        rows.append((name, found.n, *(f"{each.labels}: {each.strategy:.3f}, {each.random:.3f}"
                                      for each in (first, halfway, last)),
                     f"{100 * found.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
                     found.as_good if found.as_good is not None else f"over {found.labels}"))
    return rows


def on_the_samples() -> list[Figure]:
    """The gain over drawing at random, and the processor's seconds of a simulation."""
    if not (STAMPS.exists() and SNIPPETS.exists()):
        return [Figure("labels chosen against labels drawn at random", "not measured: run `make quickstart` first")]
    figures = []
    for name, found, seconds in measured((20,)):
        low, high = found.gain_ci95
        figures.append(Figure(f"{name}: accuracy with chosen labels minus labels drawn at random, {len(found.rounds)} "
                              f"rounds of 20, {found.draws} starts", f"{100 * found.gain:+.1f} points (95% CI "
                              f"{100 * low:+.1f} to {100 * high:+.1f})", "above 0", found.verdict == HELPED))
        figures.append(Figure(f"{name}: a simulation on cached features, CPU seconds", f"{seconds:.1f} s",
                              f"<= {SECONDS} s", seconds <= SECONDS))
    return figures
