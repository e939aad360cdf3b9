"""The section `previous` of run.json: a version compared with an earlier one, row by row."""

from dataclasses import dataclass

from kerastl.fields import Section
from kerastl.stats import HELPED, HURT, in_points

Ends = tuple[float, float]  # of a 95% confidence interval


@dataclass(frozen=True)
class ComparedVersion(Section):
    """One of the two versions. name: `version 3`, or its folder. accuracy: on the compared rows, no prediction by a
    model that was trained on the row. held_out: rows of its own data, with the predictions for held-out rows that it
    keeps; shipped: rows that are new to it, predicted by the exported model. unknown: compared rows of classes that it
    does not have (unknown_classes), which it cannot predict correctly."""

    name: str
    path: str
    accuracy: float
    accuracy_ci95: Ends
    held_out: int
    shipped: int
    unknown: int = 0
    unknown_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotCompared(Section):
    """Rows that could not be compared, and the reason."""

    reason: str
    rows: int


@dataclass(frozen=True)
class ChangedRow(Section):
    """A row that the earlier version predicted correctly, and the later one does not. Probabilities are of the
    predicted labels, None where they are not kept."""

    origin: str
    actual: str
    before: str
    after: str
    before_probability: float | None
    after_probability: float | None


@dataclass(frozen=True)
class VersionComparison(Section):
    """Two versions on the same `n` rows. gain: accuracy of `new` minus that of `old`, in [0, 1], with the interval of
    the paired difference; rows that are near-duplicates or of one group count as one. p: two-sided, of no difference.
    verdict: helped | hurt | unclear, by the interval. fixed, broken: rows that only the new, and only the old version
    predicts correctly; `changed` lists some of the latter. reason: why nothing was compared; then `old` and `new` are
    None. notes: what else to know."""

    n: int = 0
    old: ComparedVersion | None = None
    new: ComparedVersion | None = None
    gain: float = 0.0
    gain_ci95: Ends = (-1.0, 1.0)
    p: float = 1.0
    verdict: str = ""
    fixed: int = 0
    broken: int = 0
    changed: tuple[ChangedRow, ...] = ()
    not_compared: tuple[NotCompared, ...] = ()
    nouns: str = "rows"
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> bool:
        """Whether the new version is more accurate on these rows, by the estimate."""
        return self.n > 0 and self.gain > 0

    @property
    def figures(self) -> str:
        """`version 1: 0.810, version 2: 0.831, +2.1 points (95% CI -1.0 to +5.2) on the same 705 images, 21 of them new
        to version 1`."""
        if self.old is None or self.new is None:
            return self.reason
        new = " and ".join(f"{side.shipped:,} of them new to {side.name}" if side.shipped < self.n else
                           f"all new to {side.name}" for side in (self.old, self.new) if side.shipped)
        rows = counted(self.n, self.nouns) + f", {new}" * bool(new)
        return (f"{self.old.name}: {self.old.accuracy:.3f}, {self.new.name}: {self.new.accuracy:.3f}, "
                f"{in_points(self.gain, self.gain_ci95, '+')} on the same {rows}")

    @property
    def sentence(self) -> str:
        """The figures with what they show."""
        if self.old is None or self.new is None:
            return f"Not compared with the previous version: {self.reason}."
        new = self._begin(self.new.name)
        shows = {HELPED: f"{new} is significantly better", HURT: f"{new} is significantly worse"}.get(
            self.verdict, "The difference may be due to chance")
        if not self.fixed and not self.broken:
            shows = f"No {self.nouns.removesuffix('s')} is predicted correctly by only one of them"
        return f"{self._begin(self.figures)}. {shows}."

    @property
    def lines(self) -> tuple[str, ...]:
        """Rows of classes that a version does not have, rows that could not be compared, and what else to know, a
        sentence each."""
        if self.old is None or self.new is None:
            return ()
        return (*(_unknown(side, self.nouns) for side in (self.old, self.new) if side.unknown),
                *(f"Not compared: {counted(part.rows, self.nouns)} ({part.reason})." for part in self.not_compared),
                *(f"{self._begin(note)}." for note in self.notes))

    def _begin(self, sentence: str) -> str:
        """A sentence with a capital letter, unless it begins with a path."""
        paths = tuple(side.name for side in (self.old, self.new) if side is not None and "/" in side.name)
        return sentence if sentence.startswith(paths) else sentence[:1].upper() + sentence[1:]


def counted(n: int, nouns: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{n:,} {nouns if n != 1 else nouns.removesuffix('s')}"


def _unknown(side: ComparedVersion, nouns: str) -> str:
    return (f"Incorrect for {side.name}, which does not have their class ({', '.join(side.unknown_classes)}): "
            f"{counted(side.unknown, nouns)}.")
