"""Whether new inputs are distributed as those that a model was evaluated on: tests on its outputs and its features.

The tests on outputs are those of Rabanser, Guennemann and Lipton (2019, https://arxiv.org/abs/1810.11953):
Kolmogorov-Smirnov on each class probability, which they found best overall, or a test of the predicted classes, both
corrected for the number of classes. Predictions of cross-validation come from other heads than those of new inputs.
Their probabilities have another scale, which a test of the probabilities takes for drift: of 48 samples of 200 stamps
like the data, it found drift in 27 at the level 0.01. A classifier between the two samples
(Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545) also finds what the outputs do not show, and which inputs
are new.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class OutputTest(Section):
    """The outputs of a class in both samples. statistic: the size of the effect, 0 to 1: the largest difference of the
    distribution functions of the probabilities, or the difference of the shares of rows that are predicted to be of the
    class. p: corrected for the number of classes (Holm). mean_before, mean_now: of the probabilities."""

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


def probability_tests(before: Array, now: Array, labels: tuple[str, ...]) -> tuple[OutputTest, ...]:
    """Compare the probabilities of each class. before, now: [n, classes], by the same model."""
    tests = [scipy.stats.ks_2samp(before[:, place], now[:, place], method="asymp") for place in range(len(labels))]
    return _corrected(before, now, labels, [(float(test.statistic), float(test.pvalue)) for test in tests])


def prediction_tests(before: Array, now: Array, labels: tuple[str, ...], exclusive: bool) -> tuple[OutputTest, ...]:
    """Compare how many rows are predicted to be of each class (Fisher's exact test): whose probability is the largest,
    or, with several labels per row, at least a half. before, now: probabilities, [n, classes]."""
    counts = [_predicted(sample, exclusive).sum(axis=0) for sample in (before, now)]
    found = []
    for old, new in zip(*counts, strict=True):
        table = [[int(old), len(before) - int(old)], [int(new), len(now) - int(new)]]
        found.append((abs(old / len(before) - new / len(now)), float(scipy.stats.fisher_exact(table)[1])))
    return _corrected(before, now, labels, found)


def _predicted(probabilities: Array, exclusive: bool) -> NDArray[np.bool_]:
    if not exclusive:
        return np.asarray(probabilities >= 0.5)
    return np.asarray(probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))


def _corrected(before: Array, now: Array, labels: tuple[str, ...], found: Sequence[tuple[float, float]]
               ) -> tuple[OutputTest, ...]:
    """found: the statistic and the p-value of each class."""
    return tuple(OutputTest(label, float(statistic), p, float(before[:, place].mean()), float(now[:, place].mean()))
                 for place, (label, (statistic, _), p) in enumerate(zip(labels, found, holm([p for _, p in found]),
                                                                        strict=True)))


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
