"""What the `best` head chose, and the figures of the heads that it chose among."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.fields import Section
from kerastl.stats import log_loss, paired_difference, wilson_interval

if TYPE_CHECKING:
    from kerastl.training.fitters import RowsFit


@dataclass(frozen=True)
class Competitor(Section):
    """One of the heads on the held-out rows, which chose nothing. gain: accuracy of the model that is reported, minus
    that of this head; its interval is that of the paired difference. folds: that chose this head."""

    head: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    log_loss: float
    gain: float
    gain_ci95: tuple[float, float]
    folds: int


@dataclass(frozen=True)
class Competitors(Section):
    """The choice of the `best` head. chosen: the head that ships; reason: why, in words; n: held-out rows; heads: with
    their figures, none where only one was fitted. simple_wins: the simple model without transfer is significantly
    better than the backbone's linear head and no worse than both together; `sentence` says what to do about it."""

    chosen: str
    reason: str
    n: int
    heads: tuple[Competitor, ...] = ()
    simple_wins: bool = False
    sentence: str = ""

    def __repr__(self) -> str:
        figures = ", ".join(f"{other.head} {other.accuracy:.3f}" for other in self.heads)
        return f"Competitors({self.chosen} chosen; accuracy on {self.n} rows: {figures})"


def competitors_of(examples: Examples, shipped: "RowsFit", held_out: Predictions,
                   rivals: Mapping[str, NDArray[np.float32]], folds: Sequence[str]) -> Competitors | None:
    """The figures of the heads of a fit that chose among several; None for another. rivals: their logits for the
    held-out rows; folds: the head that each fold chose."""
    if not shipped.name:
        return None
    task, rows = examples.task, held_out.rows
    groups = examples.clusters_of(rows)
    truth = examples.one_hot(rows)

    def correct(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        half = np.array(task.half(truth.shape[1]).thresholds)
        return task.correct(task.predict(task.probabilities(logits), half), examples.targets[rows])

    own, heads = correct(held_out.logits), []
    for name, logits in rivals.items():
        right = correct(logits)
        difference = paired_difference(own, right, groups)
        heads.append(Competitor(name, float(right.mean()), wilson_interval(right, groups).ends,
                                log_loss(logits, truth, task), difference.gain, difference.gain_ci95,
                                sum(fold == name for fold in folds)))
    return Competitors(shipped.name, shipped.reason, len(rows), tuple(heads), shipped.simple_wins,
                       _sentence(shipped, {head.head: head.accuracy for head in heads}))


def _sentence(shipped: "RowsFit", accuracies: Mapping[str, float]) -> str:
    if not shipped.simple_wins:
        return ""
    figures = f"{accuracies['plain']:.3f}, and linear on the backbone's features {accuracies['linear']:.3f}"
    if shipped.name == "plain":
        return (f"The simple model without transfer is better than the backbone ({figures}), and is what ships, as "
                "requested; it does not use the backbone.")
    return (f"The simple model without transfer is better than the backbone's linear head: its accuracy is {figures}. "
            f"{shipped.name} ships. To ship the simple model, which is as good, set `allow_baseline`.")
