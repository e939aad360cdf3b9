"""The `linear` head beside one that is trained by gradient descent: on the same features, rows and split."""

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.heads import ConfiguredHead
from kerastl.stats import log_loss, paired_difference, verdict
from kerastl.training.beside import LinearBeside
from kerastl.training.fit import FittedHead, fit
from kerastl.training.fitters import fitter_named
from kerastl.training.options import DEFAULTS, TrainingOptions


def linear_beside(features: Features, head: ConfiguredHead, fitted: FittedHead, *, options: TrainingOptions = DEFAULTS
                  ) -> LinearBeside | None:
    """Fit `linear` beside a fitted head; None for a head that is solved or computed itself, or chosen among others. It
    chooses nothing."""
    if head.spec.chooses or head.spec.convex or not fitter_named(head.spec.fitter).minimises_loss:
        return None
    linear = fit(means_of(features), "linear", options=options)
    examples, rows = features.examples, fitted.held_out.rows
    clusters = [examples.clusters[row] for row in rows]
    correct, of_linear = (_correct(examples, each) for each in (fitted.held_out, linear.held_out))
    head_loss, loss = (log_loss(each.logits, examples.one_hot(rows), examples.task)
                       for each in (fitted.held_out, linear.held_out))
    difference, accuracy = paired_difference(correct, of_linear, clusters), float(of_linear.mean())
    shown = verdict(difference.gain_ci95)
    return LinearBeside(len(rows), accuracy, loss, head_loss, difference.gain, difference.gain_ci95, shown,
                        _sentence(shown, fitted.name, accuracy, difference.gain, difference.gain_ci95), linear.seconds)


def _correct(examples: Examples, predictions: Predictions) -> NDArray[np.bool_]:
    task = examples.task
    calibration = task.scaled(predictions.logits, examples.one_hot(predictions.rows))
    p = task.probabilities(predictions.logits, calibration)
    return task.correct(task.predict(p, np.array(calibration.thresholds)), examples.targets[predictions.rows])


def _sentence(shown: str, name: str, accuracy: float, gain: float, interval: tuple[float, float]) -> str:
    gain, low, high = (100 * value for value in (gain, *interval))
    if shown == "helped":
        return (f"The head {name} is more accurate than `linear` ({accuracy:.3f}) on the same rows by {gain:.1f} "
                f"points (95% CI {low:.1f} to {high:.1f}).")
    if shown == "hurt":
        return (f"The simpler head `linear` is more accurate ({accuracy:.3f}) than {name} on the same rows, by "
                f"{-gain:.1f} points (95% CI {-high:.1f} to {-low:.1f}). Use it instead.")
    return (f"`linear` scores {accuracy:.3f} on the same rows; the head {name} is not significantly different "
            f"({gain:+.1f} points, 95% CI {low:+.1f} to {high:+.1f}), and `linear` is simpler.")
