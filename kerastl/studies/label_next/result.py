"""What is proposed to be labelled next, as the table, the page and `--json` show it."""

from dataclasses import dataclass, field
from typing import Any

from kerastl.data.examples import Examples, Skipped
from kerastl.fields import to_json
from kerastl.modality import modality_named
from kerastl.studies.label_next.choose import CENTRE, RANDOM
from kerastl.studies.label_next.simulate import Simulation

SHOWN = 5  # skipped rows of each reason
PAYS = {
    "helped": ("It pays on these data", "."),
    "hurt": ("It does not pay on these data", ". Draw rows at random instead."),
    "unclear": ("It does not measurably pay on these data", ", which could be chance."),
}


@dataclass(frozen=True)
class Proposal:
    """A row to label. item: the path of an image, a text, or a pair of texts. how: random, centre or margin. reason: in
    words. suggested: the label that a linear head predicts, "" where labels are too few for one; probability: of that
    label. margin: how far the head is from another answer, in [0, 1]."""

    origin: str
    item: Any
    id: str
    how: str
    reason: str
    suggested: str = ""
    probability: float | None = None
    margin: float | None = None

    @property
    def is_random(self) -> bool:
        """Whether it was drawn at random."""
        return self.how == RANDOM


@dataclass(frozen=True)
class LabelNextResult:
    """The proposals, in the order to label them.

    labelled: rows with a label, of each class in `counts`. unlabelled: rows of `pool` that could be read; of these,
    `already_labelled` have the content of a labelled row, `near_duplicates` nearly that of a labelled or an earlier
    unlabelled row, and are not proposed. simulation: None where it was not requested. known: the labelled
    rows, None without any; not part of the document. out, html: the files that were written.
    """

    source: str
    pool: str
    modality: str
    n: int
    labelled: int
    counts: dict[str, int]
    unlabelled: int
    already_labelled: int
    near_duplicates: int
    proposals: tuple[Proposal, ...]
    simulation: Simulation | None = None
    known: Examples | None = field(default=None, repr=False, compare=False)
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    out: str | None = None
    html: str | None = None

    @property
    def candidates(self) -> int:
        """Rows that could be proposed."""
        return self.unlabelled - self.already_labelled - self.near_duplicates

    @property
    def lines(self) -> tuple[str, ...]:
        """What was read and what is proposed, a sentence each."""
        nouns = modality_named(self.modality).nouns
        lines = []
        if self.source:
            lines.append(f"{self.source}: {self.labelled:,} labelled {nouns}, {len(self.counts)} "
                         f"class{'' if len(self.counts) == 1 else 'es'}")
        if self.pool:
            same = [f"{count:,} {what}" for count, what in (
                (self.already_labelled, "already labelled"),
                (self.near_duplicates, "near-duplicates of another one")) if count]
            lines.append(f"{self.pool}: {self.unlabelled:,} {nouns}" + f", of which {' and '.join(same)}" * bool(same))
            lines.append(self.choice_line)
        return tuple(lines)

    @property
    def choice_line(self) -> str:
        """How the proposals were chosen, in a sentence."""
        nouns = modality_named(self.modality).nouns
        drawn = sum(proposal.is_random for proposal in self.proposals)
        others = len(self.proposals) - drawn
        how = {proposal.how for proposal in self.proposals if not proposal.is_random}
        chosen = (f"{others:,} typical ones, because there are too few labels for a head" if CENTRE in how else
                  f"{others:,} that a linear head is least sure of, unlike each other")
        few = f" ({self.n:,} were requested)" if len(self.proposals) < self.n else ""
        return f"{len(self.proposals):,} {nouns} to label{few}: " + (f"{chosen}; " if others else "") + \
            f"{drawn:,} drawn at random"

    @property
    def skipped_lines(self) -> tuple[str, ...]:
        """What was skipped, a line each; of many for the same reason, such as rows of a table that are not labelled
        yet, the first and how many more."""
        by_reason: dict[str, list[str]] = {}
        for item in self.skipped:
            by_reason.setdefault(item.reason, []).append(f"skipped: {item.origin}: {item.reason}")
        return tuple(line for reason, lines in by_reason.items() for line in (
            *lines[:SHOWN], *[f"skipped: {len(lines) - SHOWN:,} more: {reason}"] * (len(lines) > SHOWN)))

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl label-next --json` prints."""
        return {"source": self.source or None, "unlabelled": self.pool or None, "kind": self.modality, "n": self.n,
                "labelled": self.labelled, "classes": self.counts, "rows": self.unlabelled,
                "already_labelled": self.already_labelled, "near_duplicates": self.near_duplicates,
                "candidates": self.candidates, "proposals": to_json(self.proposals),
                "simulation": to_json(self.simulation), "left_out": to_json(self.skipped), "notes": list(self.notes),
                "out": self.out, "html": self.html}

    def __repr__(self) -> str:
        return (f"LabelNextResult({len(self.proposals)} of {self.candidates:,} rows to label, "
                f"{self.labelled:,} labelled)")


def simulation_lines(simulation: Simulation) -> tuple[str, ...]:
    """What a simulation shows, a sentence each."""
    low, high = simulation.gain_ci95
    gain = (f"{100 * abs(simulation.gain):.1f} points {'higher' if simulation.gain >= 0 else 'lower'} "
            f"(difference {100 * simulation.gain:+.1f}, 95% CI {100 * low:+.1f} to {100 * high:+.1f})")
    last = simulation.rounds[-1]
    pays, end = PAYS[simulation.verdict]
    lines = [f"{pays}: averaged over {len(simulation.rounds)} rounds of {simulation.n}, the accuracy is {gain} than "
             f"with rows drawn at random{end}"]
    reached = (f"With {last.labels:,} chosen labels the accuracy is {last.strategy:.3f}, with as many drawn at random "
               f"{last.random:.3f}")
    if simulation.as_good is not None and simulation.as_good < last.labels:
        several = simulation.as_good != 1
        reached += f", which about {simulation.as_good:,} chosen label{'s' * several} reach{'es' * (not several)}"
    lines.append(f"{reached}.")
    lines.append(f"Measured with a linear head on {simulation.rows:,} held-out rows in {simulation.clusters:,} groups, "
                 f"which were never chosen from; means over {simulation.draws} starts without labels.")
    return tuple(lines)
