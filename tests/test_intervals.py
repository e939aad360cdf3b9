"""Intervals of accuracy: Wilson's for single rows, of the effective sample size for groups, in simulation."""

import numpy as np
import pytest
import scipy.stats
from test_evaluation import KINDS, drawn
from tiny import held_out, made_examples

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.decision import Predictions
from kerastl.evaluation.metrics import accuracy_interval


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (493, 500), (1, 5000)])
def test_the_interval_of_single_rows_is_wilsons(k: int, n: int) -> None:
    (low, high), word = accuracy_interval(np.arange(n) < k, [str(i) for i in range(n)])
    wanted = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert word == f"Wilson, {n} rows"


def test_the_interval_of_groups_that_are_right_or_wrong_together_is_that_of_the_groups() -> None:
    right = np.repeat(np.arange(30) < 24, 4)
    single, _ = accuracy_interval(np.arange(30) < 24, [str(i) for i in range(30)])
    whole, word = accuracy_interval(right, [str(i // 4) for i in range(120)])
    apart, _ = accuracy_interval(right, [str(i) for i in range(120)])
    assert whole == pytest.approx(single, abs=0.005) and "30 groups" in word and "120 rows" in word
    assert apart[1] - apart[0] < 0.6 * (whole[1] - whole[0])


def test_the_interval_of_rows_that_are_alike_within_groups_is_of_the_effective_sample_size() -> None:
    """Both ends of Wilson's interval lie z standard deviations from the estimate, by the variance that they imply; the
    number of rows is p (1 - p) over the variance of a mean over clusters (Korn and Graubard 1998)."""
    generator = np.random.default_rng(4)
    sizes = generator.integers(1, 6, 12)
    member = np.repeat(np.arange(12), sizes)
    right = generator.random(len(member)) < generator.choice([0.3, 0.9], 12)[member]
    n, p = len(right), right.mean()
    off = np.array([(right[member == group] - p).sum() for group in range(12)])
    rows = p * (1 - p) / (12 / 11 * (off**2).sum() / n**2)
    assert 13 < rows < 0.9 * n
    ends, _ = accuracy_interval(right, member.astype(str).tolist())
    for end in ends:
        assert (end - p) ** 2 == pytest.approx(scipy.stats.norm.ppf(0.975) ** 2 * end * (1 - end) / rows)


def test_rows_that_differ_within_groups_count_as_no_more_than_they_are() -> None:
    right = np.array([True, False] * 40 + [True, True, False, False])
    ends, _ = accuracy_interval(right, [str(i // 2) for i in range(84)])
    assert ends == accuracy_interval(right, [str(i) for i in range(84)])[0]


@KINDS
def test_the_interval_of_an_evaluation_is_that_of_the_judged_rows_in_their_groups(several: bool) -> None:
    z, targets = drawn(400, 3, several)
    hit = ((z >= 0) == targets).all(axis=1) if several else z.argmax(axis=1) == targets
    groups = [str(place // 10) for place in hit.argsort(kind="stable").argsort()]  # right or wrong together
    examples = made_examples(targets, groups=groups, split=held_out(400, test=0.3))
    test, validation = examples.split.held_out, examples.split.rows(VALIDATION)
    found = tl.evaluate(examples, Predictions(test, z[test]), Predictions(validation, z[validation]))
    wanted, word = accuracy_interval(np.array(found.right), [groups[row] for row in test])
    assert found.accuracy_ci95 == wanted and found.interval == word and "groups" in word
    alone, _ = accuracy_interval(np.array(found.right), [str(row) for row in test])
    assert wanted[1] - wanted[0] > 1.1 * (alone[1] - alone[0])


SIZES = {"single rows": [1] * 100, "one pair": [2] + [1] * 98, "pairs": [2] * 50, "uneven": [1, 2, 3, 4, 5] * 8}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("truth", [0.6, 0.97])
def test_intervals_hold_the_truth_about_as_often_as_they_say(sizes: str, truth: float) -> None:
    """A 95% interval of so few rows holds it in 0.90 to 0.99 of cases; near 1, one of resampled groups in 0.6 or so."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(SIZES[sizes])), SIZES[sizes])
    inside = []
    for _ in range(600):
        together = generator.uniform(size=len(SIZES[sizes])) < truth
        (low, high), _ = accuracy_interval(together[groups], groups.astype(str).tolist())
        assert 0 <= low < high <= 1
        inside.append(low <= truth <= high)
    assert 0.90 <= np.mean(inside) <= 0.99
