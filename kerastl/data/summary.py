"""What was understood of a source: said in a few lines before anything is computed, stored in run.json, and shown in
the report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kerastl.data.labels import amounts
from kerastl.errors import CheckFailed
from kerastl.fields import Section

WARNING = "WARNING: "  # how a note begins that is shown at the end
LOSS = 0.02  # the share of rows from which a loss is a warning
LEVEL = 0.01  # of the test whether a loss is concentrated in a class, over all classes
FEWEST = 3  # rows of a class, from which their loss is tested
AMOUNTS = "if they are amounts, replace them by a few ranges, because only classes are predicted"
SMALL_CLASS = "class of fewer than"  # how the reason begins for which whole classes are skipped
SHOWN = 12  # classes that a line lists


@dataclass(frozen=True)
class ColumnRole(Section):
    """A column that is used. role: text, path, label, group or split; reason: why it has this role."""

    name: str
    role: str
    reason: str


@dataclass(frozen=True)
class Loss(Section):
    """The rows that were skipped for one reason. by_class: of those whose class is known. requested: whether an
    argument asked for it, so that it is no reason for a warning."""

    reason: str
    rows: int
    by_class: dict[str, int] = field(default_factory=dict)
    requested: bool = False

    def __str__(self) -> str:
        few = dict(sorted(self.by_class.items(), key=lambda entry: -entry[1])[:SHOWN])
        classes = ", ".join(f"{name} {n:,}" for name, n in few.items())
        return f"{self.reason} ({self.rows:,}{': ' if classes else ''}{classes})"


@dataclass(frozen=True)
class DataSummary(Section):
    """What was understood of a source.

    rows: of the source, used or skipped. layout: of the source, in words. columns: those that are used, with their
    roles. unused: the other columns. labels: one or several per row, and how that was known. classes: rows of each.
    look_alikes: classes that may be one. no_label_like: rows of classes whose names usually mean "no label". split:
    where the source's own split comes from; empty if it has none. parts: rows of each part of that split. losses: the
    skipped rows. strict: whether a warning is an error.
    """

    rows: int = 0
    layout: str = ""
    columns: tuple[ColumnRole, ...] = ()
    unused: tuple[str, ...] = ()
    labels: str = ""
    classes: dict[str, int] = field(default_factory=dict)
    look_alikes: tuple[tuple[str, ...], ...] = ()
    no_label_like: dict[str, int] = field(default_factory=dict)
    split: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    strict: bool = False

    @property
    def lost(self) -> int:
        """The number of skipped rows."""
        return sum(loss.rows for loss in self.losses)

    @property
    def losses_line(self) -> str:
        """How many rows were skipped, by reason and class; empty if none was."""
        if not self.lost:
            return ""
        reasons = ", ".join(map(str, sorted(self.losses, key=lambda loss: -loss.rows)))
        return f"skipped {self.lost:,} of {self.rows:,} rows: {reasons}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What may be wrong with the classes, a sentence each."""
        counts = {name: f" ({n:,})" for name, n in self.classes.items()}  # a class may be skipped as a whole
        alike = [" and ".join(f"{name!r}{counts.get(name, '')}" for name in names) for names in self.look_alikes]
        lines = [f"the classes {names} look alike: correct the labels if they are one" for names in alike[:SHOWN]]
        lines += [f"the label {name!r} of {n:,} row{'' if n == 1 else 's'} often means that there is none: "
                  f"`no_label={name}` skips such rows" for name, n in self.no_label_like.items()]
        if amounts(self.classes):
            lines.append(f"the labels are {len(self.classes):,} different numbers: {AMOUNTS}")
        return tuple(lines)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Losses of rows that change what the figures mean, a sentence each."""
        losses = [loss for loss in self.losses if not loss.requested]
        lost = sum(loss.rows for loss in losses)
        lines = []
        if self.rows and lost > LOSS * self.rows:
            reasons = ", ".join(loss.reason for loss in losses)
            lines.append(f"{lost:,} of {self.rows:,} rows ({lost / self.rows:.1%}) were skipped: {reasons}")
        return (*lines, *self._one_sided(losses))

    def _one_sided(self, losses: list[Loss]) -> list[str]:
        """Classes that lost significantly more of their rows than the others."""
        of_class, readable = dict[str, int](), dict(self.classes)
        for loss in losses:
            counts = readable if loss.reason.startswith(SMALL_CLASS) else of_class
            for name, n in loss.by_class.items():
                counts[name] = counts.get(name, 0) + n
        lost, kept = sum(of_class.values()), sum(readable.values())
        lines = []
        for name, n in of_class.items():
            others, own = lost - n, readable.get(name, 0)
            rest = kept - own
            if n >= FEWEST and _p_value(n, own, others, rest) < LEVEL / max(1, len(readable)):
                which = f"{n:,} of {n + own:,} rows" if own else f"all {n:,} rows"
                share = f" ({n / (n + own):.1%})" if own else ""
                lines.append(f"{which} of the class {name!r} were skipped{share}, but "
                             f"{others / max(1, others + rest):.1%} of the others")
        return lines

    def lines(self, nouns: str, notes: tuple[str, ...] = ()) -> list[str]:
        """The summary for the terminal. nouns: of the inputs. notes: what else was decided while reading."""
        classes = sorted(self.classes.items(), key=lambda entry: -entry[1])
        listed = ", ".join(f"{name} {n:,}" for name, n in classes[:SHOWN])
        more = f" and {len(classes) - SHOWN:,} more" if len(classes) > SHOWN else ""
        used = f"{self.rows - self.lost:,} {nouns}" + (f", {len(classes):,} classes: {listed}{more}" if classes else "")
        parts = ", ".join(f"{name} {n:,}" for name, n in self.parts.items())
        optional = [f"{self.split}: {parts}" if self.split else "", self.losses_line]
        loud = [note for note in notes if note.startswith(WARNING)]
        return [used, *(note for note in notes if note not in loud), *filter(None, optional), *self.remarks, *loud,
                *(f"{WARNING}{warning}" for warning in self.warnings)]


NOTHING_YET = DataSummary()


def _p_value(lost: int, kept: int, others_lost: int, others_kept: int) -> float:
    """Of the null hypothesis that a class loses no larger share of its rows than the others do: Fisher's exact test of
    two proportions, one-sided."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[lost, kept], [others_lost, others_kept]], alternative="greater").pvalue)


def add_losses(losses: tuple[Loss, ...], more: Mapping[tuple[str, bool], Mapping[str, int]]) -> tuple[Loss, ...]:
    """Losses and more of them, added up by reason. more: reason and whether it was requested -> rows by class; the
    class "" stands for an unknown one."""
    counts = {(loss.reason, loss.requested): {"": loss.rows - sum(loss.by_class.values()), **loss.by_class}
              for loss in losses}
    for key, by_class in more.items():
        known = counts.setdefault(key, {})
        for name, n in by_class.items():
            known[name] = known.get(name, 0) + n
    return tuple(Loss(reason, sum(by_class.values()), {name: n for name, n in by_class.items() if name}, requested)
                 for (reason, requested), by_class in counts.items())


def check_losses(source: str, summary: DataSummary) -> None:
    """Raises CheckFailed if the summary is strict and has a warning."""
    if summary.strict and summary.warnings:
        raise CheckFailed(f"{source}: {'; '.join(summary.warnings)}", "(`strict`) nearly every row, of each class",
                          "correct the data (see kerastl check), or omit `strict`")
