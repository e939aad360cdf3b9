"""What the `best` head chose, and the figures of the heads that it chose among: on the rows that report, each
calibrated as the model is, so that all figures of a report can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kerastl.fields import Section
from kerastl.stats import in_points, paired_difference, wilson_interval

if TYPE_CHECKING:  # verbs that only read a record do without scikit-learn
    from kerastl.data.examples import Examples
    from kerastl.evaluation.metrics import HasPredictions
    from kerastl.evaluation.result import Evaluation

LINEAR, PLAIN = "linear", "plain"


@dataclass(frozen=True)
class Competitor(Section):
    """One of the heads on the held-out rows, which chose nothing. log_loss: calibrated, in nats. gain: accuracy of the
    model that is reported, minus that of this head; its interval is that of the paired difference. folds: that chose
    this head."""

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
    their figures, none where only one was fitted. simple_wins: on the rows that chose, the simple model without
    transfer is better than the backbone's linear head by more than one standard error, and no worse than both together;
    `sentence` says so, with what the held-out rows say, and what to do about it."""

    chosen: str
    reason: str
    n: int
    heads: tuple[Competitor, ...] = ()
    simple_wins: bool = False
    sentence: str = ""

    def __repr__(self) -> str:
        figures = ", ".join(f"{other.head} {other.accuracy:.3f}" for other in self.heads)
        return f"Competitors({self.chosen} chosen; accuracy on {self.n} rows: {figures})"


def compare_competitors(examples: "Examples", evaluation: "Evaluation", chosen: str, reason: str,
                        rivals: Mapping[str, "HasPredictions"], folds: Sequence[str], *, simple_wins: bool = False
                        ) -> Competitors:
    """The figures of the heads among which one was chosen. evaluation: of the model that is reported, whatever became
    of the chosen head. rivals: the heads, with predictions for the same rows. folds: the head that each fold chose.
    simple_wins: see `Competitors`."""
    from kerastl.evaluation.calibration import as_reported

    rows = evaluation.held_out.rows
    groups = examples.clusters_of(rows)
    own, heads, correct = np.array(evaluation.correct_without_target), [], dict[str, NDArray[np.bool_]]()
    for name, rival in rivals.items():
        correct[name], losses = as_reported(examples, rival.held_out, rival.validation)
        difference = paired_difference(own, correct[name], groups)
        heads.append(Competitor(name, float(correct[name].mean()), wilson_interval(correct[name], groups).ends,
                                float(losses.mean()), difference.gain, difference.gain_ci95,
                                sum(fold == name for fold in folds)))
    sentence = _sentence(chosen, correct, groups) if simple_wins else ""
    return Competitors(chosen, reason, len(rows), tuple(heads), simple_wins, sentence)


def _sentence(chosen: str, correct: Mapping[str, NDArray[np.bool_]], groups: Sequence[str]) -> str:
    difference = paired_difference(correct[PLAIN], correct[LINEAR], groups)
    figures = (f"On the held-out rows its accuracy is {correct[PLAIN].mean():.3f}, and that of linear "
               f"{correct[LINEAR].mean():.3f}: {in_points(difference.gain, difference.gain_ci95, '+')}.")
    start = ("On the rows that chose the head, the simple model without transfer is better than linear on the "
             "backbone's features, and no worse than both together.")
    if chosen == PLAIN:
        return f"{start} So it ships, as requested; it does not use the backbone. {figures}"
    return f"{start} {figures} {chosen} ships. To ship the simple model, set `allow_baseline`."
