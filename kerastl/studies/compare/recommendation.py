"""From the results of all combinations to one: paired tests, the simplest that is good enough, and a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.data.examples import Examples
from kerastl.data.split import split_of
from kerastl.heads import resolve_head
from kerastl.stats import LEVEL
from kerastl.studies.compare.cells import Cell
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.cost import Cost
from kerastl.studies.compare.folds import hold_out
from kerastl.studies.verdict import Verdict, simplest_within_noise


@dataclass(frozen=True)
class ComparisonRow:
    """A combination's line of the table. accuracy: the mean over the seeds, on the rows that each holds out; below it
    the worst and the best seed. head_seconds: of training. blocks: unfrozen.

    behind_best: accuracy of the best combination less this one's, with its 95% interval; p: of that difference,
    corrected for the number of combinations. Interval and p are None for the best itself.
    """

    combination: Combination
    accuracy: float
    accuracy_min: float
    accuracy_max: float
    head_seconds: float
    cost: Cost
    blocks: int
    behind_best: float
    behind_best_ci95: tuple[float, float] | None
    p: float | None
    recommended: bool

    @property
    def within_noise(self) -> bool:
        """Whether the best combination is not significantly better than this one."""
        return self.p is None or self.p >= LEVEL

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl compare --json` prints it."""
        return {**self.combination.to_dict(), "accuracy": self.accuracy, "accuracy_min": self.accuracy_min,
                "accuracy_max": self.accuracy_max, "head_seconds": self.head_seconds,
                "parameters": self.cost.parameters, "megabytes": self.cost.bytes / 1e6,
                "milliseconds": self.cost.milliseconds, "blocks": self.blocks, "behind_best": self.behind_best,
                "behind_best_ci95": list(self.behind_best_ci95) if self.behind_best_ci95 else None, "p": self.p,
                "within_noise": self.within_noise, "recommended": self.recommended}


def recommend(rest: Examples, combinations: Sequence[Combination], cells: Sequence[Sequence[Cell]],
              costs: Sequence[Cost]) -> tuple[tuple[ComparisonRow, ...], Verdict, int]:
    """The table, the verdict, and the number of rows that it is based on. cells: of each combination one a seed."""
    times, correct = np.zeros(len(rest)), np.zeros((len(cells), len(rest)))
    for seed in range(len(cells[0])):
        split = split_of(hold_out(rest, seed))
        times[split.held_out] += 1
        for place, row in enumerate(cells):
            correct[place, split.held_out] += row[seed].correct
    rows = np.flatnonzero(times)
    simple = [simplicity(max(cell.blocks for cell in row), combination.head, cost)
              for combination, row, cost in zip(combinations, cells, costs, strict=True)]
    verdict = simplest_within_noise(list(correct[:, rows] / times[rows]), simple, rest.clusters_of(rows))
    table = tuple(_row(*values, recommended=place == verdict.chosen)
                  for place, values in enumerate(zip(combinations, cells, costs, verdict.tests, strict=True)))
    return table, verdict, len(rows)


def simplicity(blocks: int, head: str, cost: Cost) -> tuple[float, ...]:
    """Smaller is simpler: first the number of unfrozen blocks, then parameters (differences of 1% do not count), then
    whether the head is convex, so that its solution is unique, then latency."""
    size = round(math.log(max(1, cost.parameters)) / 0.01)
    return blocks, size, not resolve_head(head).spec.convex, cost.milliseconds


def _row(combination: Combination, cells: Sequence[Cell], cost: Cost, test: Any, *, recommended: bool) -> ComparisonRow:
    accuracies = [cell.accuracy for cell in cells]
    return ComparisonRow(
        combination, float(np.mean(accuracies)), min(accuracies), max(accuracies),
        float(np.mean([cell.seconds for cell in cells])), cost, max(cell.blocks for cell in cells),
        test.gain if test else 0.0, test.gain_ci95 if test else None, test.p if test else None, recommended)


def sentence(rows: Sequence[ComparisonRow], verdict: Verdict) -> str:
    """The recommendation, with the reason."""
    best, chosen = rows[verdict.best], rows[verdict.chosen]
    others = len(rows) - 1
    beaten = sum(not row.within_noise for row in rows)
    if not others:
        return f"{chosen.combination} is the only combination. Name more backbones, heads or depths to compare."
    ties = [row for row in rows if row is not best and abs(row.behind_best) < 1e-9]
    highest = f"{best.combination} has the highest accuracy ({best.accuracy:.3f})"
    if ties:
        equals = str(ties[0].combination) if len(ties) == 1 else f"{len(ties)} others"
        highest = f"{best.combination} and {equals} share the highest accuracy ({best.accuracy:.3f})"
    if best is not chosen:
        return (f"{highest}, but {chosen.combination} is simpler and not significantly worse: "
                f"{100 * chosen.behind_best:.1f} points behind on the same rows (p {chosen.p:.2f}).")
    if beaten == others:
        return f"{best.combination} is significantly better than {'the other' if others == 1 else 'all others'}."
    more = "More labelled rows or more seeds may show a difference."
    better = "it is not significantly better than " if not beaten else f"it is significantly better than {beaten} of "
    than = "the other" if others == 1 else f"the {others} others" if beaten else f"any of the {others} others"
    if ties:  # of models with equal accuracy the simplest is the best
        apart = f", and {better}{than}" if len(ties) < others else ""
        return f"{highest}; {best.combination} is the simplest of them{apart}. {more}"
    return f"{highest}; {better}{than}, and no simpler model is as good. {more}"
