"""Intervals and tests: against SciPy, by hand, in simulation, and on grouped rows, whose copies must not count."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastl.stats import (
    Z95,
    holm,
    log_loss,
    mcnemar,
    mean_interval,
    paired_difference,
    randomisation_test,
    verdict,
    wilson_interval,
)
from kerastl.tasks import task_named


def names(n: int, size: int = 1) -> list[str]:
    """The group of each row, `size` rows a group."""
    return [str(i // size) for i in range(n)]


def rows(n: int, correct: int) -> np.ndarray:
    return (np.arange(n) < correct).astype(float)


# Intervals


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (493, 500), (1, 5000)])
def test_the_interval_of_independent_rows_is_wilsons(k: int, n: int) -> None:
    interval = wilson_interval(np.arange(n) < k, names(n))
    expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert interval.ends == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert interval.method == f"Wilson, {n:,} rows"


def test_groups_that_are_correct_or_not_together_count_as_one_row_each() -> None:
    correct = np.repeat(np.arange(30) < 24, 4)
    single = wilson_interval(np.arange(30) < 24, names(30))
    grouped = wilson_interval(correct, names(120, 4))
    apart = wilson_interval(correct, names(120))
    assert grouped.ends == pytest.approx(single.ends, abs=0.005)
    assert "30 groups" in grouped.method and "120 rows" in grouped.method
    assert apart.high - apart.low < 0.6 * (grouped.high - grouped.low)


def test_groups_whose_rows_are_alike_count_by_the_effective_sample_size() -> None:
    """Both ends of Wilson's interval lie z standard deviations from the estimate, by the variance that they imply; the
    number of rows is p (1 - p) over the variance of a mean over clusters (Korn and Graubard 1998)."""
    generator = np.random.default_rng(4)
    sizes = generator.integers(1, 6, 12)
    member = np.repeat(np.arange(12), sizes)
    correct = generator.random(len(member)) < generator.choice([0.3, 0.9], 12)[member]
    n, p = len(correct), correct.mean()
    residuals = np.array([(correct[member == group] - p).sum() for group in range(12)])
    effective = p * (1 - p) / (12 / 11 * (residuals**2).sum() / n**2)
    assert 13 < effective < 0.9 * n
    for end in wilson_interval(correct, member).ends:
        assert (end - p) ** 2 == pytest.approx(scipy.stats.norm.ppf(0.975) ** 2 * end * (1 - end) / effective)


def test_rows_that_differ_within_groups_count_as_no_more_than_they_are() -> None:
    correct = np.array([True, False] * 40 + [True, True, False, False])
    assert wilson_interval(correct, names(84, 2)).ends == wilson_interval(correct, names(84)).ends


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
        interval = wilson_interval(together[groups], groups)
        assert 0 <= interval.low < interval.high <= 1
        inside.append(interval.low <= truth <= interval.high)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_the_interval_of_a_mean_by_hand() -> None:
    interval = mean_interval(np.array([0.2, 0.4, 0.6, 0.8]), range(4))
    half = 1.959963984540054 * 0.129099  # the standard deviation is 0.258199, a standard error half of that
    assert interval.ends == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    assert mean_interval(np.ones(9), range(9)).ends == (1.0, 1.0)
    assert mean_interval(np.array([0.0, 1.0]), range(2)).ends == (0.0, 1.0)  # no share is below 0 or above 1
    assert mean_interval(np.array([-1.0, 1.0]), range(2), bounds=(-1.0, 1.0)).ends == (-1.0, 1.0)


def test_one_group_alone_tells_nothing_of_other_groups() -> None:
    assert mean_interval(np.array([0.9, 0.9, 0.8]), ["a"] * 3).ends == (0.0, 1.0)
    difference = paired_difference(np.ones(3), np.zeros(3), ["a"] * 3)
    assert difference.gain == 1.0 and difference.gain_ci95 == (-1.0, 1.0) and difference.p == 1.0
    interval = wilson_interval(np.ones(50, bool), ["a"] * 50)
    assert interval.ends == pytest.approx(wilson_interval(np.ones(1, bool), ["a"]).ends)


@pytest.mark.parametrize("n", [2, 20, 700])
def test_a_difference_that_is_the_same_in_all_rows_has_an_interval_that_narrows_with_the_rows(n: int) -> None:
    """By hand from the four cells, half a row added to each (Agresti and Min 2005)."""
    equal = paired_difference(np.ones(n), np.ones(n), names(n))
    assert equal.gain == 0 and equal.gain_ci95 == pytest.approx((-Z95 / (n + 2), Z95 / (n + 2)))
    low, high = paired_difference(np.ones(n), np.zeros(n), names(n)).gain_ci95
    cells, rows = n + 1, n + 2  # rows that differ; in one direction 1/2
    half = Z95 * (cells - n**2 / rows)**0.5 / rows
    assert high == 1.0 and low == pytest.approx(n / rows - half)
    copies = paired_difference(np.ones(3 * n), np.zeros(3 * n), names(3 * n, 3)).gain_ci95
    assert copies == pytest.approx((low, high))


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_of_a_gain_holds_the_truth_about_as_often_as_it_says(grouped: bool) -> None:
    generator, inside = np.random.default_rng(0), []
    for _ in range(600):
        shift = generator.normal(0, 0.3, 60)[np.arange(240) // 4] if grouped else 0.0
        a = np.clip(0.5 + shift + generator.normal(0, 0.1, 240), 0, 1)
        difference = paired_difference(a, np.full(240, 0.5), names(240, 4) if grouped else names(240))
        inside.append(difference.gain_ci95[0] <= 0 <= difference.gain_ci95[1])
    assert 0.92 <= np.mean(inside) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("more", "fewer", "copies"), [(0.04, 0.01, 1), (0.05, 0.0, 1), (0.02, 0.02, 1),
                                                       (0.04, 0.01, 3)])
def test_the_interval_of_a_gain_is_wide_enough_where_few_rows_differ(more: float, fewer: float, copies: int) -> None:
    """Mean +- 1.96 standard errors holds the truth in 89 of 100 cases here. copies: of each row, in one group."""
    generator, inside, groups = np.random.default_rng(0), [], np.repeat(np.arange(100), copies)
    for _ in range(400):
        drawn = generator.random(100).repeat(copies)
        low, high = paired_difference(drawn < more, drawn > 1 - fewer, groups).gain_ci95
        inside.append(low <= more - fewer <= high)
    assert np.mean(inside) >= 0.93


@pytest.mark.parametrize(("right", "helped"), [(4, False), (6, True)])
def test_four_rows_that_only_one_model_predicts_correctly_are_no_evidence(right: int, helped: bool) -> None:
    """4 to 0 has a p of 0.125, 6 to 0 one of 0.031."""
    difference = paired_difference(np.arange(100) < right, np.zeros(100), names(100))
    assert (difference.gain_ci95[0] > 0, difference.p < 0.05) == (helped, helped)


GROUPED = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.booleans()), min_size=1, max_size=40)
INTERVALS: dict[str, Callable[[Any, Any, Any], tuple[float, float]]] = {
    "accuracy": lambda a, b, groups: wilson_interval(a, groups).ends,
    "mean": lambda a, b, groups: mean_interval(a.astype(float), groups).ends,
    "gain": lambda a, b, groups: paired_difference(a, b, groups).gain_ci95,
}


@pytest.mark.slow
@pytest.mark.parametrize("which", INTERVALS)
@settings(derandomize=True, deadline=None, max_examples=300)
@given(GROUPED, st.integers(2, 5))
def test_repeating_every_row_within_its_group_narrows_no_interval(which: str, drawn: list[tuple[str, bool, bool]],
                                                                 times: int) -> None:
    groups, a, b = (np.array(column) for column in zip(*drawn, strict=True))
    low, high = INTERVALS[which](a, b, groups)
    again = INTERVALS[which](*(np.repeat(column, times) for column in (a, b, groups)))
    assert again[0] <= low + 1e-9 and again[1] >= high - 1e-9
    assert again == pytest.approx((low, high))


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=300)
@given(GROUPED)
def test_intervals_are_in_range_and_around_their_estimate(drawn: list[tuple[str, bool, bool]]) -> None:
    groups, a, b = (np.array(column) for column in zip(*drawn, strict=True))
    low, high = wilson_interval(a, groups).ends
    independent = wilson_interval(a, range(len(a)))
    assert 0 <= low <= a.mean() <= high <= 1 and high - low >= independent.high - independent.low - 1e-9
    difference = paired_difference(a, b, groups)
    assert -1 <= difference.gain_ci95[0] <= difference.gain <= difference.gain_ci95[1] <= 1
    assert 0 <= difference.p <= 1


def test_z95_leaves_2_5_percent_above_it() -> None:
    assert pytest.approx(scipy.stats.norm.ppf(0.975), abs=1e-12) == Z95


# Paired tests


def test_of_independent_rows_the_test_is_mcnemars() -> None:
    generator = np.random.default_rng(0)
    a, b = (generator.random(300) < share for share in (0.85, 0.75))
    difference = paired_difference(a, b, names(300))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert difference.p == mcnemar(a, b) == pytest.approx(scipy.stats.binomtest(only_a, only_a + only_b).pvalue)
    assert difference.gain == pytest.approx((only_a - only_b) / 300) and difference.n == 300
    net, more = only_a - only_b, only_a + only_b + 1  # half a row more in either direction, and 302 in all
    half = Z95 * (more - net**2 / 302)**0.5 / 302
    assert difference.gain_ci95 == pytest.approx((net / 302 - half, net / 302 + half))


def test_mcnemars_test_is_the_binomial_one() -> None:
    a, b = [True] * 9 + [False] + [True] * 50, [False] * 9 + [True] + [True] * 50
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10) and mcnemar(b, b) == 1.0
    assert mcnemar(a, b, "greater") == pytest.approx((1 + 10) / 2**10) and mcnemar(b, a, "greater") > 0.99


def test_drawn_signs_come_to_the_same_as_all_signs_where_both_can_be_done() -> None:
    difference = np.repeat([1.0, -1.0, 0.0], [30, 14, 100])
    exact = randomisation_test(difference)
    difference[0] = 0.5  # no longer of one size
    drawn = randomisation_test(difference)
    assert 0.01 < exact < 0.05 and drawn == pytest.approx(exact, abs=0.015) and drawn != exact


@pytest.mark.parametrize("difference", [[0.2, 0.4, 0.6, 0.8], [-0.2, -0.4, -0.6, -0.8], [0.2, -0.4, 0.6, 0.8, 1.0, 1.0],
                                        [1, 0.5, -0.5, 0.5, -1, 0.25, -0.75, -0.25]])
def test_drawn_signs_count_both_tails_and_sums_that_are_as_large(difference: list[float]) -> None:
    signs = np.array(list(itertools.product([1, -1], repeat=len(difference))))
    expected = (np.abs(signs @ difference) >= abs(sum(difference)) - 1e-9).mean()
    p = randomisation_test(np.array(difference))
    assert expected > 0.05 and p == pytest.approx(expected, abs=0.02)  # 4 standard deviations of 10,000 draws


@pytest.mark.parametrize("n", [1000, 4001])
def test_the_p_value_of_many_differences_is_that_of_the_normal_distribution(n: int) -> None:
    """Signs of more than 1,000 differences are drawn in several blocks, which count as one."""
    size = np.random.default_rng(0).uniform(0.5, 1.5, n)
    deviation = np.sqrt((size**2).sum())
    sign = np.where(np.arange(n) % 2, 1, -1)
    while sign @ size < deviation:
        sign[np.flatnonzero(sign < 0)[0]] = 1
    p = randomisation_test(sign * size)
    assert p == pytest.approx(2 * scipy.stats.norm.sf(sign @ size / deviation), abs=0.02) and p > 0.25


def test_rows_of_one_group_are_exchanged_together() -> None:
    a, b = rows(40, 40), rows(40, 28)
    alone = paired_difference(a, b, names(40))
    together = paired_difference(a, b, [str(min(i, 28)) for i in range(40)])  # all that differ are copies of one row
    assert alone.p < 0.001 and together.p == 1.0 and together.gain == alone.gain
    assert together.gain_ci95[0] < 0 < alone.gain_ci95[0]


def test_equal_results_do_not_differ() -> None:
    difference = paired_difference(rows(50, 30), rows(50, 30), names(50))
    assert difference.p == 1.0 and difference.gain == 0.0 and difference.gain_ci95[0] == -difference.gain_ci95[1] < 0


def test_of_models_equal_but_for_chance_one_in_twenty_differs_significantly() -> None:
    generator = np.random.default_rng(1)
    significant = [paired_difference(*(generator.random((2, 200)) < 0.8), names(200)).p < 0.05 for _ in range(400)]
    assert 0.01 < np.mean(significant) < 0.08


def test_holm_corrects_in_steps() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_a_verdict_needs_the_whole_interval_on_one_side() -> None:
    assert [verdict(ends) for ends in ((0.01, 0.2), (-0.2, -0.01), (-0.01, 0.2), (0.0, 0.2), (-0.1, 0.0))] == \
        ["helped", "hurt", "unclear", "unclear", "unclear"]


# Log loss


def test_the_log_loss_of_logits() -> None:
    logits, truth = np.array([[0.0, 0.0], [2.0, 0.0]], np.float32), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert log_loss(logits, truth, task_named("single_label")) == pytest.approx((np.log(2) + np.log1p(np.exp(2))) / 2)
    assert log_loss(logits, truth, task_named("multi_label")) == pytest.approx(
        (2 * np.log(2) + np.log1p(np.exp(2)) + np.log(2)) / 2)
    certain = np.array([[-1e4, 1e4]], np.float32)  # no clipping hides how wrong it is
    assert log_loss(certain, np.array([[1.0, 0.0]]), task_named("single_label")) == pytest.approx(2e4)
