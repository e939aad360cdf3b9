"""Whether new inputs are distributed as those that a model was evaluated on: tests on its outputs and its features.

The tests on outputs are those that Rabanser, Guennemann and Lipton (2019, https://arxiv.org/abs/1810.11953) found best
overall: Kolmogorov-Smirnov on each class probability, corrected for their number. A classifier between the two samples
(Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545) also finds what the outputs do not show, and which inputs
are new.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.evaluation.rejection import top_axes
from kerastl.fields import Section
from kerastl.stats import holm

Array = NDArray[np.float64]
PERMUTATIONS = 1999  # of the classifier test: corrected for four tests, its smallest p-value is 0.002
SMALLEST_P = 1 / (1 + PERMUTATIONS)
BLOCK = 250  # permutations at a time
COMPONENTS = 32  # principal components of the features between which the classifier decides
NOISE = 0.01  # of the largest standard deviation of a component: what varies less is not scaled up
ROWS = 1000  # of each sample that the classifier is fitted on
FOLDS = 5
# By which the logits of a model that was fitted on all rows were seen to differ from those of cross-validation, which
# are fitted on fewer and choose their own regularisation: up to 1.4.
TEMPERATURES = tuple((1.5 ** np.linspace(-1, 1, 11)).tolist())
CLEAR = 0.05  # a p-value that no temperature has to explain
Tempered = Callable[[Array, float], Array]  # probabilities, at another temperature


@dataclass(frozen=True)
class OutputTest(Section):
    """The probabilities of a class in both samples. statistic: the largest difference of their distribution functions,
    0 to 1, which is the size of the effect. p: corrected for the number of classes (Holm)."""

    label: str
    statistic: float
    p: float
    mean_before: float
    mean_now: float


@dataclass(frozen=True)
class FeatureTest(Section):
    """A classifier between the samples. auc: how well it tells rows apart that it was not fitted on; 0.5 where they are
    alike. p: of a permutation test."""

    auc: float
    p: float
    n_before: int
    n_now: int


def output_tests(before: Array, now: Array, labels: tuple[str, ...], tempered: Tempered | None = None
                 ) -> tuple[OutputTest, ...]:
    """Compare the probabilities of each class. before, now: [n, classes].

    tempered: where the logits of both samples may differ in scale, because other heads computed them. A scale within
    `TEMPERATURES` is then no difference: the one that explains most of it is taken (which is conservative).
    """
    tests = _by_class(before, now)
    if tempered is not None and min(test.pvalue for test in tests) * len(labels) < CLEAR:
        tests = max((_by_class(before, now if temperature == 1 else tempered(now, temperature))
                     for temperature in TEMPERATURES), key=lambda found: min(test.pvalue for test in found))
    corrected = holm([float(test.pvalue) for test in tests])
    return tuple(OutputTest(label, float(test.statistic), p, float(before[:, place].mean()),
                            float(now[:, place].mean()))
                 for place, (label, test, p) in enumerate(zip(labels, tests, corrected, strict=True)))


def _by_class(before: Array, now: Array) -> list[Any]:
    return [scipy.stats.ks_2samp(before[:, place], now[:, place], method="asymp") for place in range(before.shape[1])]


def tempered_single(probabilities: Array, temperature: float) -> Array:
    """Of classes of which one is right, [n, classes]."""
    powers = np.clip(probabilities, 1e-30, 1) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def tempered_several(probabilities: Array, temperature: float) -> Array:
    """Of labels of which each may be right, [n, classes]."""
    yes, no = (np.clip(side, 1e-30, 1) ** (1 / temperature) for side in (probabilities, 1 - probabilities))
    return np.asarray(yes / (yes + no))


def feature_test(before: Array, now: Array, seed: int = 0, permutations: int = PERMUTATIONS
                 ) -> tuple[FeatureTest, Array]:
    """Compare the features, and say of each new row how sure the classifier is that it is new, [len(now)]: the higher,
    the surer. before, now: [n, dim]."""
    with threadpool_limits(1):  # of so small matrices, more threads only wait for each other
        return _feature_test(before, now, seed, permutations)


def _feature_test(before: Array, now: Array, seed: int, permutations: int) -> tuple[FeatureTest, Array]:
    draw = np.random.default_rng(seed)
    x = _components(np.concatenate([before, now]))
    label = np.repeat([0.0, 1.0], [len(before), len(now)])
    chosen = np.concatenate([_some(draw, np.flatnonzero(label == side)) for side in (0.0, 1.0)])
    folds = draw.permutation(len(chosen)) % FOLDS
    scores = _held_out_scores(x[chosen], label[chosen, None], folds)
    auc = float(areas(scores, label[chosen, None])[0])
    as_large = 0
    for start in range(0, permutations, BLOCK):
        shuffled = draw.permuted(np.tile(label[chosen, None], min(BLOCK, permutations - start)), axis=0)
        as_large += int((areas(_held_out_scores(x[chosen], shuffled, folds), shuffled) >= auc).sum())
    newness = np.full(len(label), np.nan)
    newness[chosen] = scores[:, 0]
    rest = np.flatnonzero(np.isnan(newness))
    if len(rest):
        newness[rest] = (x[rest] - x[chosen].mean(axis=0)) @ _discriminants(x[chosen], label[chosen, None])[:, 0]
    return FeatureTest(auc, (1 + as_large) / (1 + permutations), int((label[chosen] == 0).sum()),
                       int(label[chosen].sum())), newness[len(before):]


def areas(scores: Array, label: Array) -> Array:
    """The area under the ROC curve of each column: the share of pairs that are ranked right; 0.5 where there is no
    pair. scores, label: [n, columns]; a label is 0 or 1."""
    positive, n = label.sum(axis=0), len(label)
    pairs = positive * (n - positive)
    ranks = (scipy.stats.rankdata(scores, axis=0) * label).sum(axis=0)
    right = ranks - positive * (positive + 1) / 2
    return np.asarray(np.where(pairs > 0, right / np.maximum(pairs, 1), 0.5))


def _some(draw: np.random.Generator, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows if len(rows) <= ROWS else np.sort(draw.choice(rows, ROWS, replace=False))


def _components(x: Array) -> Array:
    """The first principal components of the pooled rows, and their squares, which show a change of spread; scaled,
    except those that hardly vary: they are what is left by rounding, in few distinct rows or few dimensions."""
    x = x - x.mean(axis=0)
    some = x[:: max(1, len(x) // 2000)]
    _, axes = top_axes(some, min(COMPONENTS, *some.shape))
    parts = x @ axes
    spread = parts.std(axis=0)
    parts = parts / np.maximum(spread, max(NOISE * float(spread.max(initial=0.0)), 1e-12))
    both = np.concatenate([parts, parts**2 - 1], axis=1)
    return np.asarray(np.clip(both, -10, 10))


def _discriminants(x: Array, labels: Array) -> Array:
    """For each column of labels, Fisher's linear discriminant with a ridge, as a regression on the label: a classifier
    in one step, and what is inverted is the same for all permutations of the labels. [n, dim], [n, columns] -> [dim,
    columns]."""
    centred = x - x.mean(axis=0)
    covariance = centred.T @ centred / len(x)
    ridge = max(0.1 * float(np.trace(covariance)) / len(covariance), 1e-12)
    return np.asarray(np.linalg.solve(covariance + ridge * np.eye(len(covariance)),
                                      centred.T @ (labels - labels.mean(axis=0)) / len(x)))


def _held_out_scores(x: Array, labels: Array, folds: NDArray[np.intp]) -> Array:
    """Of each row and each column of labels, [n, columns], by the discriminant of the other folds."""
    scores = np.zeros(labels.shape)
    for fold in range(FOLDS):
        held_out = folds == fold
        weights = _discriminants(x[~held_out], labels[~held_out])
        scores[held_out] = (x[held_out] - x[~held_out].mean(axis=0)) @ weights
    return scores


def label_shift(confusion: Array, predicted: Array) -> Array | None:
    """The shares of the true classes among new rows, by black-box shift estimation (Lipton et al. 2018,
    https://arxiv.org/abs/1802.03916), which supposes that each class looks as before. confusion: counts before, [true,
    predicted]; predicted: shares now. None where the confusion matrix cannot be inverted."""
    joint = confusion / confusion.sum()
    true = joint.sum(axis=1)
    if (true <= 0).any() or np.linalg.cond(joint) > 1e6:
        return None
    weights = np.clip(np.linalg.solve(joint.T, predicted), 0, None)
    shares = weights * true
    return np.asarray(shares / shares.sum()) if shares.sum() > 0 else None
