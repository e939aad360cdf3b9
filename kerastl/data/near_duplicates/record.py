"""What was found of near-duplicates, as run.json holds it, and as examples carry it from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerastl.fields import Section

GROUP, REPORT, OFF = "group", "report", "off"


@dataclass(frozen=True)
class NearDuplicatePair(Section):
    """Two rows near the threshold, their labels and their similarity in [0, 1]. grouped: whether they are
    near-duplicates."""

    origins: tuple[str, str]
    labels: tuple[str, str]
    similarity: float
    grouped: bool


@dataclass(frozen=True)
class NearDuplicateEffect(Section):
    """What near-duplicates would change in the accuracy on `n` held-out rows. apart: the accuracy with near-duplicates
    kept apart; ignored: without. difference: `ignored` less `apart`, with its paired interval. sentence: all of it, or
    why it was not measured; then the figures are None."""

    sentence: str
    n: int = 0
    apart: float | None = None
    ignored: float | None = None
    difference: float | None = None
    difference_ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class NearDuplicates(Section):
    """The near-duplicates of a source. mode: group (kept apart), report (only reported) or off (not searched for).

    groups: of two or more rows; rows: in these groups; exact: groups whose rows are equal, byte for byte. conflicts:
    groups with different labels. skipped: rows that are near-duplicates of a row on a more held-out side. threshold: of
    the similarity. pairs: those nearest to the threshold, on both sides. split_up: chains that were split, each with
    its number of contents and of the groups that it became. notes: what was not compared.
    """

    mode: str
    groups: int = 0
    rows: int = 0
    exact: int = 0
    conflicts: int = 0
    skipped: int = 0
    threshold: float = 0.0
    pairs: tuple[NearDuplicatePair, ...] = ()
    split_up: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    effect: NearDuplicateEffect | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What was found, a sentence each."""
        if self.mode == OFF:
            return ("Near-duplicates were not searched for.",)
        apart = ("are kept on one side of the split" if self.mode == GROUP else
                 "are only reported: the split ignores them")
        groups = "1 group" if self.groups == 1 else f"{self.groups:,} groups"
        exact = f" ({self.exact:,} of exact duplicates)" if self.exact else ""
        lines = [f"{self.rows:,} rows in {groups} of near-duplicates{exact} {apart}" if self.groups else
                 "no near-duplicates"]
        if self.conflicts:
            lines.append(f"groups of near-duplicates with different labels: {self.conflicts:,} (see `kerastl check`)")
        lines += [f"a chain of {size:,} near-duplicates was split into {parts:,} groups"
                  for size, parts in self.split_up[:5]]
        if len(self.split_up) > 5:
            lines.append(f"{len(self.split_up) - 5:,} more chains were split")
        return (*lines, *self.notes)


@dataclass(frozen=True)
class NearDuplicateSearch:
    """The result of a search. group_of: for each content (by its id) that is in a group with another content, the name
    of the group. plain: the examples before rows were skipped, where some were."""

    record: NearDuplicates
    group_of: Mapping[str, str] = field(default_factory=dict, repr=False)
    plain: Any = field(default=None, repr=False, compare=False)
