"""The measured part of a learning curve: linear heads fitted on subsets of each size, and what they predict for rows
that they were not fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.studies.learning_curve.subsets import FOLDS, Rows, deals
from kerastl.training.fitters.solver import solve
from kerastl.training.options import TrainingOptions
from kerastl.training.rows import inner_folds
from kerastl.training.targets import row_weights, smoothed_targets

INNER_FOLDS = 3  # that choose the L2 strength of each head, of its training rows
BLOCK = 50  # replicates that are computed at a time
Rates = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What each head predicts for the rows that measure it.

    sizes: training rows, means over the fits, [sizes]. cluster: of each row, [rows]. fit_of: the fit that a row
    measures in a round, [rounds, rows], -1: none. correct: whether all labels of a row are, [sizes, rounds, rows].
    label_row, label_class: of each label that a row has; hit: whether it was predicted, [sizes, rounds, labels].
    """

    sizes: NDArray[np.float64]
    cluster: NDArray[np.intp]
    fit_of: NDArray[np.intp]
    correct: NDArray[np.bool_]
    label_row: Rows
    label_class: NDArray[np.intp]
    hit: NDArray[np.bool_]

    @property
    def fits(self) -> int:
        """How many heads were fitted for each size."""
        return int(self.fit_of.max()) + 1

    @property
    def clusters(self) -> int:
        """How many clusters of rows measure."""
        return int(self.cluster.max()) + 1

    def first(self, rounds: int) -> "Measured":
        """The first rounds alone."""
        return replace(self, fit_of=self.fit_of[:rounds], correct=self.correct[:, :rounds], hit=self.hit[:, :rounds])

    def replicates(self, count: int, classes: int, seed: int = 0) -> tuple[Rates, Rates]:
        """The error rate for each size, [1 + count, sizes], and the share of each class' labels that are missed,
        [classes, 1 + count, sizes], NaN where a replicate has none: first as measured, then of bootstrap replicates,
        which draw clusters of rows and fits anew."""
        blocks = [self._rates(weight, classes) for weight in self._weights(count, seed)]
        errors, missed = zip(*blocks, strict=True)
        return np.concatenate(errors), np.concatenate(missed, axis=1)

    def _weights(self, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """How often each row counts in each round, [replicates, rounds, rows], block by block."""
        generator, clusters = np.random.default_rng(seed), self.clusters
        present = (self.fit_of >= 0).astype(np.float32)
        yield present[None]
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            drawn = generator.multinomial(clusters, np.full(clusters, 1 / clusters), size).astype(np.float32)
            fits = generator.multinomial(self.fits, np.full(self.fits, 1 / self.fits), size).astype(np.float32)
            yield drawn[:, None, self.cluster] * fits[:, self.fit_of] * present

    def _rates(self, weight: NDArray[np.float32], classes: int) -> tuple[Rates, Rates]:
        flat, steps = weight.reshape(len(weight), -1), len(self.sizes)
        wrong = (~self.correct).reshape(steps, -1).astype(np.float32)
        errors = flat @ wrong.T / flat.sum(axis=1, keepdims=True)
        of_label = weight[:, :, self.label_row]
        missed = np.full((classes, len(weight), steps), np.nan)
        for number in range(classes):
            own = self.label_class == number
            part = of_label[:, :, own].reshape(len(weight), -1)
            total = part.sum(axis=1, keepdims=True)
            lost = part @ (~self.hit[:, :, own]).reshape(steps, -1).astype(np.float32).T
            missed[number] = np.divide(lost, total, out=np.full(lost.shape, np.nan, np.float32), where=total > 0)
        return errors.astype(np.float64), missed


def measure(features: Features, rows: Rows, sizes: list[int], fits: int, options: TrainingOptions) -> Measured:
    """Fit linear heads on subsets of these rows, and predict the rows that they were not fitted on. The L2 strength of
    each head is chosen inside its own training rows. Labels are those that are more likely than not, without
    calibration."""
    examples, pooled = features.examples, means_of(features)
    x, truth = pooled.rows(rows), examples.one_hot(rows) > 0
    task, classes = examples.task, truth.shape[1]
    half = task.half(classes)
    label_row, label_class = np.nonzero(truth)
    rounds = -(-fits // FOLDS)
    fit_of = np.full((rounds, len(rows)), -1, np.intp)
    correct = np.zeros((len(sizes), rounds, len(rows)), bool)
    told = np.zeros((len(sizes), rounds, len(label_row)), bool)
    lengths = np.zeros((fits, len(sizes)))
    for fit, deal in enumerate(deals(examples, rows, sizes, fits, features.runtime.seed)):
        measuring = np.searchsorted(rows, deal.measuring)
        labels = np.isin(label_row, measuring)
        fit_of[deal.round, measuring] = fit
        for step, training in enumerate(deal.training):
            own = np.searchsorted(rows, training)
            head = solve(x[own], smoothed_targets(examples, training, options.label_smoothing),
                         row_weights(examples, training, options.class_weights),
                         inner_folds(examples, training, INNER_FOLDS), task=task, parts=features.parts)
            p = task.probabilities(x[measuring] @ head.kernel + head.bias, half)
            predicted = task.predict(p, np.array(half.thresholds))
            correct[step, deal.round, measuring] = task.correct(predicted, examples.targets[deal.measuring])
            as_truth = np.zeros((len(rows), classes), bool)
            as_truth[measuring] = task.one_hot(predicted, classes) > 0
            told[step, deal.round, labels] = as_truth[label_row[labels], label_class[labels]]
            lengths[fit, step] = len(training)
    _, cluster = np.unique(np.array(examples.clusters_of(rows)), return_inverse=True)
    return Measured(lengths.mean(axis=0), cluster, fit_of, correct, label_row, label_class, told)
