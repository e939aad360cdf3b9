"""Results of benchmarks: ratios measured in one run, so that the state of the machine affects both sides alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """A row of the table. `goal` is text; `met` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None


def interleaved(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, called in turn, after one round that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                took[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in took.items()}


def at_least(what: str, ratio: float, goal: float) -> Figure:
    """A ratio that should be large."""
    return Figure(what, f"{ratio:.2f}", f">= {goal:g}", ratio >= goal)


def at_most(what: str, ratio: float, goal: float) -> Figure:
    """A ratio that should be small."""
    return Figure(what, f"{ratio:.2f}", f"<= {goal:g}", ratio <= goal)
