"""The `linear` head beside another one: on the same features, rows and split, each calibrated in the same way."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kerastl.fields import Section
from kerastl.stats import paired_difference, verdict, verdict_sentence

if TYPE_CHECKING:  # verbs that only read a record do without scikit-learn
    from kerastl.data.examples import Examples
    from kerastl.evaluation.metrics import HasPredictions
    from kerastl.evaluation.result import Evaluation


@dataclass(frozen=True)
class LinearBeside(Section):
    """The `linear` head on the same `n` held-out rows, calibrated as the model is. accuracy: in [0, 1]; log_loss: in
    nats, as is `head_log_loss` of the model's own head. gain: the model's accuracy minus that of `linear`, with the
    interval of the paired difference. verdict: helped | hurt | unclear; `sentence` states it. seconds: that it took to
    fit it."""

    n: int
    accuracy: float
    log_loss: float
    head_log_loss: float
    gain: float
    gain_ci95: tuple[float, float]
    verdict: str
    sentence: str
    seconds: float = 0.0


def compare_with_linear(examples: "Examples", evaluation: "Evaluation", name: str, linear: "HasPredictions",
                        seconds: float = 0.0) -> LinearBeside:
    """How the head called `name` compares with a fitted `linear` head. evaluation: of the model with that head. linear:
    its predictions for the same rows."""
    from kerastl.evaluation.metrics import evaluate

    other = evaluate(examples, linear)
    clusters = examples.clusters_of(evaluation.held_out.rows)
    difference = paired_difference(np.array(evaluation.correct_without_target), np.array(other.correct), clusters)
    sentence = _sentence(name, other.accuracy, difference.gain, difference.gain_ci95)
    return LinearBeside(other.n, other.accuracy, other.log_loss_calibrated, evaluation.log_loss_calibrated,
                        difference.gain, difference.gain_ci95, verdict(difference.gain_ci95), sentence, seconds)


def _sentence(name: str, accuracy: float, gain: float, interval: tuple[float, float]) -> str:
    head = name.replace("{", "{{").replace("}", "}}")  # a file of the user's may have these in its name
    return verdict_sentence(
        gain, interval,
        helped=f"The head {head} is more accurate than `linear` ({accuracy:.3f}) on the same rows by {{points}}.",
        hurt=f"The simpler head `linear` is more accurate ({accuracy:.3f}) than {head} on the same rows, by "
             "{points}. Use it instead.",
        unclear=f"`linear` scores {accuracy:.3f} on the same rows; the head {head} is not significantly different, at "
                "{points}, and `linear` is simpler.")
