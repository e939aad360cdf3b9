"""The tests of drift: what a model makes of new rows against what it made of its held-out rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from kerastl.evaluation.reference import Reference, as_kept
from kerastl.evaluation.rejection import RejectionResult
from kerastl.evaluation.two_samples import (
    PERMUTATIONS,
    FeatureTest,
    OutputTest,
    feature_test,
    prediction_tests,
    probability_tests,
)
from kerastl.fields import Section
from kerastl.stats import holm, wilson_interval

OUTPUTS, FEATURES, SIZES, REJECTED = "outputs", "features", "sizes", "rejected inputs"
PROBABILITIES, PREDICTIONS = "probabilities", "predicted classes"
CROSS_VALIDATED = "cv"
FEWEST = 20  # rows, below which nothing is tested


@dataclass(frozen=True)
class Sample:
    """New rows. features: [n, dim]; probabilities: [n, classes]; sizes: [n], as `reference.sizes_of` has them; unknown:
    `unknown_score`, [n], None where the model has none."""

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    sizes: NDArray[np.float64]
    unknown: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.probabilities)


@dataclass(frozen=True)
class Promise:
    """The threshold of `unknown_score`, below which a fraction `coverage` of inputs like the data stays. It is the
    score of one of `n` calibration rows; 0 where a version does not say how many they were."""

    coverage: float
    threshold: float
    n: int

    def p_value(self, above: int, n: int) -> float:
        """The probability that at least `above` of n rows exceed the threshold, if they are like the calibration rows.
        A threshold that comes from few rows holds its promise on average only (Vovk 2012,
        https://arxiv.org/abs/1209.2673), so that a binomial test of many rows would find drift where there is none."""
        if not self.n:
            return float(scipy.stats.binom.sf(above - 1, n, 1 - self.coverage))
        rank = math.ceil((self.n + 1) * self.coverage - 1e-9)
        return float(scipy.stats.betabinom.sf(above - 1, n, self.n - rank + 1, rank))


@dataclass(frozen=True)
class Expected:
    """What a version says of inputs like its data. classes: in the order of the probabilities. exclusive: whether a row
    has one label. by_model: whether the held-out rows were predicted by the model itself, and not by the heads of
    folds, whose probabilities are not those of the model."""

    classes: tuple[str, ...]
    exclusive: bool
    by_model: bool
    promise: Promise | None

    @property
    def outputs_of(self) -> str:
        """What is compared of the outputs: all that is alike in both samples if there is no drift."""
        return PROBABILITIES if self.by_model else PREDICTIONS

    def output_tests(self, before: NDArray[Any], now: NDArray[Any]) -> tuple[OutputTest, ...]:
        """Class by class. before, now: probabilities, [n, classes]."""
        before, now = np.asarray(before, np.float64), np.asarray(now, np.float64)
        if self.by_model:
            return probability_tests(before, now, self.classes)
        return prediction_tests(before, now, self.classes, self.exclusive)


@dataclass(frozen=True)
class DriftTest(Section):
    """One of the tests. effect: its size: of outputs the largest of those of the classes, see `OutputTest`; of sizes
    the largest difference of the distribution functions; of features the AUC of the classifier; of rejected inputs the
    share above the threshold. p: corrected for the number of tests."""

    name: str
    effect: float
    p: float


@dataclass(frozen=True)
class Rejected(Section):
    """Inputs above the threshold of `unknown_score`. promised: the share that was to be expected."""

    share: float
    share_ci95: tuple[float, float]
    promised: float


@dataclass(frozen=True)
class Compared:
    """What was found. tests: of the whole, corrected; outputs: class by class. newness: of each row, the higher, the
    surer the classifier of features is that it is new; None without that test."""

    tests: tuple[DriftTest, ...]
    outputs: tuple[OutputTest, ...]
    features: FeatureTest | None
    newness: NDArray[np.float64] | None
    rejected: Rejected | None

    def drifted(self, alpha: float) -> bool:
        """Whether a test is significant."""
        return any(test.p < alpha for test in self.tests)


def compare_samples(reference: Reference, now: Sample, expected: Expected, permutations: int = PERMUTATIONS
                    ) -> Compared:
    """All tests that the rows allow. permutations: of the test of features."""
    outputs, promise = expected.output_tests(reference.probabilities, now.probabilities), expected.promise
    sizes = scipy.stats.ks_2samp(reference.sizes, now.sizes, method="asymp")
    tests = {OUTPUTS: of_all(outputs), SIZES: (float(sizes.statistic), float(sizes.pvalue))}
    features, newness, rejected = None, None, None
    if reference.features.shape[1] and reference.features.shape[1] == now.features.shape[1]:
        features, newness = feature_test(reference.features.astype(np.float64),
                                         as_kept(now.features).astype(np.float64), permutations=permutations)
        tests[FEATURES] = (features.auc, features.p)
    if promise is not None and now.unknown is not None:
        above = now.unknown > promise.threshold
        rejected = Rejected(float(above.mean()), wilson_interval(above, range(len(above))).ends, 1 - promise.coverage)
        tests[REJECTED] = (rejected.share, promise.p_value(int(above.sum()), len(above)))
    return Compared(corrected(tests), outputs, features, newness, rejected)


def of_all(outputs: tuple[OutputTest, ...]) -> tuple[float, float]:
    """The largest effect on a class, and the smallest p-value: these are corrected for the number of classes."""
    return max(test.statistic for test in outputs), min(test.p for test in outputs)


def corrected(tests: Mapping[str, tuple[float, float]]) -> tuple[DriftTest, ...]:
    """The tests, with p-values corrected for their number. tests: by name, the effect and the p-value of each alone."""
    return tuple(DriftTest(name, effect, p) for (name, (effect, _)), p in
                 zip(tests.items(), holm([p for _, p in tests.values()]), strict=True))


def expected_of(record: Any) -> Expected:
    """What the run record of a version says."""
    return Expected(record.classes, record.task.exclusive, record.split != CROSS_VALIDATED,
                    promise_of(record.rejection))


def promise_of(found: RejectionResult | None) -> Promise | None:
    """The promise of a version; None where it has no threshold."""
    if found is None or found.threshold is None:
        return None
    return Promise(found.coverage, found.threshold, found.calibration_rows)
