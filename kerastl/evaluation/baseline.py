"""The baseline without transfer learning: logistic regression on plain features, with the same rows and the same split.

The modality defines the features. The report says whether the pretrained backbone is better than the baseline.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.data.examples import EXAMPLES, TRAIN, VALIDATION, Examples, lowest
from kerastl.data.split import carve, split_of
from kerastl.errors import OptionError, expect
from kerastl.evaluation.result import EVALUATION, Evaluation
from kerastl.fields import Section, key
from kerastl.stats import paired_difference, verdict, verdict_sentence, wilson_interval

MOST = 20_000  # rows that it is fitted on
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # scikit-learn's C


@dataclass(frozen=True)
class Baseline(Section):
    """The accuracy of the baseline on the same `n` held-out rows as the model's. Fractions in [0, 1].

    gain: the model's accuracy minus the baseline's; its interval is that of the paired difference. verdict: helped |
    hurt | unclear; `sentence` states it. trained_on: rows.
    """

    name: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    gain: float
    gain_ci95: tuple[float, float]
    verdict: str
    sentence: str = key("word")
    trained_on: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        low, high = self.accuracy_ci95
        return (f"Baseline({self.name}: accuracy {self.accuracy:.3f} (95% CI {low:.3f} to {high:.3f}) on {self.n} "
                f"rows, transfer {self.verdict})")


def baseline(examples: Examples, evaluation: Evaluation) -> Baseline:
    """Fit and evaluate the baseline on the split of `examples`, and compare it with the model of an evaluation there.

    The strength of its penalty is chosen inside the training rows, or on the validation rows, never on test rows.
    Raises OptionError if the evaluation is of other rows, DataError if the examples are not split.
    """
    expect(Examples, EXAMPLES, examples=examples)
    expect(Evaluation, EVALUATION, evaluation=evaluation)
    start = time.perf_counter()
    split = split_of(examples)
    held_out = split.held_out
    if not np.array_equal(evaluation.held_out.rows, held_out):
        raise OptionError(f"`evaluation` is of {evaluation.n} rows, not of the {len(held_out)} held-out rows of "
                          "`examples`", "an evaluation on the same split", "pass the examples that were evaluated")
    tries = _tries(examples)
    used = np.unique(np.concatenate([rows for part in tries for rows in (part.everything, part.choose, part.held_out)]))
    modality = examples.modality
    features = modality.load(modality.baseline, "plain_features")(examples, used)
    correct = np.zeros(len(examples), bool)
    with threadpool_limits(1, "blas"):  # on so little, more threads only wait for each other
        for part in tries:
            correct[part.held_out] = _correct(examples, features, part)
    correct = correct[held_out]
    trained_on = max(len(part.everything) for part in tries)
    groups = examples.clusters_of(held_out)
    of_model, accuracy = np.array(evaluation.correct_without_target), float(correct.mean())
    difference = paired_difference(of_model, correct, groups)
    return Baseline(features.name, len(held_out), accuracy, wilson_interval(correct, groups).ends, difference.gain,
                    difference.gain_ci95, verdict(difference.gain_ci95),
                    _sentence(accuracy, difference.gain, difference.gain_ci95),
                    trained_on, time.perf_counter() - start)


@dataclass(frozen=True)
class _Rows:
    """Row numbers. The penalty is the one with which a model that is fitted on `train` is most accurate on `choose`;
    the model that predicts `held_out` is then fitted on `everything`."""

    train: NDArray[np.intp]
    choose: NDArray[np.intp]
    everything: NDArray[np.intp]
    held_out: NDArray[np.intp]


def _tries(examples: Examples) -> list[_Rows]:
    """The rows of each fold, or of the hold-out."""
    split = split_of(examples)
    if split.mode != "cv":
        train = _limited(examples, split.rows(TRAIN))
        return [_Rows(train, split.rows(VALIDATION), train, split.held_out)]
    tries = []
    for fold in split.folds:
        everything = _limited(examples, np.flatnonzero(split.part != fold))
        inner = carve(examples, everything)
        tries.append(_Rows(everything[~inner], everything[inner], everything, np.flatnonzero(split.part == fold)))
    return tries


def _limited(examples: Examples, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    if len(rows) <= MOST:
        return rows
    return np.sort(lowest(examples.ids, rows, MOST))


def _correct(examples: Examples, features: Any, part: _Rows) -> NDArray[np.bool_]:
    """Whether each held-out row is predicted correctly."""
    if part.train is part.everything:
        x, x_choose, x_held_out = features(part.train, part.choose, part.held_out)
    else:
        x, x_choose = features(part.train, part.choose)
    models = [_fitted(examples, x, part.train, c) for c in STRENGTHS]
    best = int(np.argmax([_hits(examples, model, x_choose, part.choose).mean() for model in models]))
    if part.train is part.everything:
        return _hits(examples, models[best], x_held_out, part.held_out)
    x, x_held_out = features(part.everything, part.held_out)
    return _hits(examples, _fitted(examples, x, part.everything, STRENGTHS[best]), x_held_out, part.held_out)


def _fitted(examples: Examples, x: Any, rows: NDArray[np.intp], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model: Any = examples.task.estimator(LogisticRegression(C=strength, max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to the solution, for a baseline
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        return model.fit(x, examples.targets[rows])


def _hits(examples: Examples, model: Any, x: Any, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    return examples.task.correct(model.predict(x), examples.targets[rows])


def _sentence(accuracy: float, gain: float, interval: tuple[float, float]) -> str:
    scores = f"a baseline without transfer ({accuracy:.3f})"
    return verdict_sentence(
        gain, interval,
        helped=f"The pretrained backbone improves accuracy by {{points}} over {scores}.",
        hurt=f"The pretrained backbone does NOT help: {scores} is more accurate by {{points}}. Another backbone or "
             "fine-tuning may do better: try `kerastl compare`.",
        unclear=f"Inconclusive: the baseline without transfer scores {accuracy:.3f}; the gain is {{points}}. More "
                "labelled rows would narrow this interval; `kerastl compare` shows whether another backbone does "
                "better.")
