"""Likely label errors: rows to which heads that were not trained on them, and their nearest neighbours, give another
label than the data.

Confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068: rows are ranked by self-confidence, the
calibrated probability of their label, and the confident joint estimates how many labels are wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.evaluation.confident import confident_joint
from kerastl.evaluation.neighbours import neighbour_votes
from kerastl.evaluation.result import HeldOutRows
from kerastl.fields import Section, key

LIKELY, LOOK = "likely", "look"
PAIRS = 20  # of labels, that are listed
WEAK = 0.9  # share of labels that heads agree with, below which most of what they contradict is right

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LabelError(Section):
    """A row whose given label is probably wrong.

    label: as in the data; predicted: the label that is suggested instead. verdict: `likely` where the head and the
    neighbours suggest the same label, otherwise `look`. self_confidence, probability: calibrated, of the given and of
    the suggested label, by a head that was not trained on the row. neighbours, neighbours_given: the share of the
    nearest neighbours that have the suggested and the given label. All are in [0, 1].
    """

    id: str
    origin: str
    label: str = key("given")
    predicted: str = key("suggested")
    verdict: str
    self_confidence: float
    probability: float = key("suggested_probability")
    neighbours: float
    neighbours_given: float


@dataclass(frozen=True)
class ConfusedPair(Section):
    """About how many rows with the label `given` belong to `actual`, by the confident joint."""

    given: str
    actual: str
    estimated: float


@dataclass(frozen=True)
class LabelErrors(Section):
    """Likely label errors, the least likely label first: a sequence of `LabelError`.

    rows: that were searched. estimated: how many of their labels are wrong at most, about, by the confident joint: a
    mistake that the heads are confident of counts as well, so that it is too high where they make many. So many rows
    are listed. pairs: of labels, the most frequent first. likely, look: how many rows have each verdict; `errors` of a
    run record lists fewer of them.
    method: what predicted the rows. not_searched: rows of classes that are too small, by class. reason: why nothing
    was searched; empty if something was. agreement: the share of the rows whose most likely class is the given label.
    """

    rows: int = 0
    estimated: int = 0
    likely: int = 0
    look: int = 0
    pairs: tuple[ConfusedPair, ...] = ()
    errors: tuple[LabelError, ...] = ()
    method: str = ""
    not_searched: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    agreement: float = 1.0

    def __len__(self) -> int:
        return len(self.errors)

    def __iter__(self) -> Iterator[LabelError]:
        return iter(self.errors)

    def __getitem__(self, place: int) -> LabelError:
        return self.errors[place]

    def __repr__(self) -> str:
        return f"LabelErrors({self.sentence})"

    def first(self, most: int) -> "LabelErrors":
        """The same with at most so many rows."""
        return replace(self, errors=self.errors[:most])

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if self.reason:
            return self.reason
        share = self.estimated / max(1, self.rows)
        return (f"up to about {self.estimated:,} of {self.rows:,} labels may be wrong ({share:.1%}): {self.likely:,} "
                f"likely label errors, and {self.look:,} more rows to look at")

    @property
    def caution(self) -> str:
        """A warning where the heads contradict so many labels that most of it must be their own mistakes; else
        empty."""
        if self.reason or self.agreement >= WEAK:
            return ""
        return (f"The heads contradict {1 - self.agreement:.0%} of all labels, so many of these rows are their "
                "mistakes, and the estimate is too high.")


def label_errors(held_out: HeldOutRows, features: Callable[[NDArray[np.intp]], Array], method: str) -> LabelErrors:
    """Likely label errors among held-out rows of an exclusive task. features: row numbers of the examples, [m] -> [m,
    ..., dim]. method: what predicted the rows, in words, for the report."""
    examples, rows = held_out.examples, held_out.rows
    labels = np.asarray(examples.targets[rows], np.int64)
    p = examples.task.probabilities(held_out.logits)
    clusters = examples.clusters_of(rows)
    votes = neighbour_votes(lambda places: features(rows[places]), labels, clusters, len(examples.classes))
    return ranked(examples, rows, p, votes, method)


def ranked(examples: Examples, rows: NDArray[np.intp], p: Array, votes: Array, method: str = "") -> LabelErrors:
    """Likely label errors by two opinions. rows: [n] row numbers; p: their calibrated probabilities by heads that were
    not trained on them, votes: of their neighbours; [n, classes] each."""
    labels = np.asarray(examples.targets[rows], np.int64)
    joint, suggested = confident_joint(p, labels)
    wrong = joint - np.diag(np.diag(joint))
    estimated = round(float(wrong.sum()))
    own = p[np.arange(len(labels)), labels]
    places = np.flatnonzero(suggested != labels)
    places = places[np.argsort(own[places], kind="stable")][:estimated]
    likely = (votes.argmax(axis=1) == suggested) & (votes[np.arange(len(labels)), suggested] > 0)
    errors = tuple(LabelError(
        id=examples.ids[rows[i]], origin=examples.origins[rows[i]], label=examples.classes[labels[i]],
        predicted=examples.classes[suggested[i]], verdict=LIKELY if likely[i] else LOOK, self_confidence=float(own[i]),
        probability=float(p[i, suggested[i]]), neighbours=round(float(votes[i, suggested[i]]), 3),
        neighbours_given=round(float(votes[i, labels[i]]), 3)) for i in places.tolist())
    pairs = [ConfusedPair(examples.classes[i], examples.classes[j], float(wrong[i, j]))
             for i, j in zip(*np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape), strict=True)
             if wrong[i, j] >= 0.5][:PAIRS]
    return LabelErrors(len(rows), estimated, int(likely[places].sum()), int((~likely[places]).sum()), tuple(pairs),
                       errors, method, agreement=float((p.argmax(axis=1) == labels).mean()))
