"""Two models on the same rows: the paired test, its interval, and the simplest that is not told from the best."""

import itertools

import numpy as np
import pytest
import scipy.stats
from kerastl.evaluation.paired import holm, paired, simplest_within_noise


def rows(n: int, right: int) -> np.ndarray:
    return (np.arange(n) < right).astype(float)


def test_of_rows_judged_once_it_is_mcnemars_exact_test() -> None:
    generator = np.random.default_rng(0)
    one, other = (generator.random(300) < share for share in (0.85, 0.75))
    found = paired(one, other, [str(i) for i in range(300)])
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    assert found.p == pytest.approx(scipy.stats.binomtest(only_one, only_one + only_other).pvalue)
    assert found.gain == pytest.approx((only_one - only_other) / 300) and found.n == 300
    assert found.gain_ci95[0] < found.gain < found.gain_ci95[1]


def test_flipping_at_random_comes_to_the_same_where_both_can_be_done() -> None:
    difference = np.repeat([1.0, -1.0, 0.0], [30, 14, 100])
    exact = paired(np.maximum(difference, 0), np.maximum(-difference, 0), [str(i) for i in range(144)]).p
    difference[0] = 0.5  # no longer of one size
    drawn = paired(np.maximum(difference, 0), np.maximum(-difference, 0), [str(i) for i in range(144)]).p
    assert 0.01 < exact < 0.05 and drawn == pytest.approx(exact, abs=0.015) and drawn != exact


@pytest.mark.parametrize("difference", [[0.2, 0.4, 0.6, 0.8], [-0.2, -0.4, -0.6, -0.8], [0.2, -0.4, 0.6, 0.8, 1.0, 1.0],
                                        [1, 0.5, -0.5, 0.5, -1, 0.25, -0.75, -0.25]])
def test_flipping_at_random_counts_both_tails_and_what_is_as_far(difference: list[float]) -> None:
    signs = np.array(list(itertools.product([1, -1], repeat=len(difference))))
    wanted = (np.abs(signs @ difference) >= abs(sum(difference)) - 1e-9).mean()
    found = paired(np.array(difference), np.zeros(len(difference)), [str(i) for i in range(len(difference))])
    assert wanted > 0.05 and found.p == pytest.approx(wanted, abs=0.02)  # 4 standard deviations of 10,000 flips


def test_rows_of_one_group_count_as_one() -> None:
    one, other = rows(40, 40), rows(40, 28)
    alone = paired(one, other, [str(i) for i in range(40)])
    together = paired(one, other, [str(min(i, 28)) for i in range(40)])  # all that differ are copies of one row
    assert alone.p < 0.001 and together.p == 1.0 and together.gain == alone.gain
    assert together.gain_ci95[0] < 0 < alone.gain_ci95[0]


def test_the_interval_of_a_gain_is_that_of_a_mean_of_paired_differences() -> None:
    generator = np.random.default_rng(3)
    one, other = (generator.random(80) < share for share in (0.8, 0.6))
    gain = one.astype(float) - other
    wanted = scipy.stats.norm.interval(0.95, gain.mean(), scipy.stats.sem(gain))
    assert paired(one, other, [str(i) for i in range(80)]).gain_ci95 == pytest.approx(wanted)
    twice = paired(np.repeat(one, 2), np.repeat(other, 2), [str(i // 2) for i in range(160)])
    assert twice.gain_ci95 == pytest.approx(wanted)  # a copy of each row in its group tells nothing new


def test_equal_answers_are_not_told_apart() -> None:
    assert paired(rows(50, 30), rows(50, 30), [str(i) for i in range(50)]).p == 1.0


def test_of_heads_equal_but_for_chance_one_in_twenty_is_told_apart() -> None:
    generator = np.random.default_rng(1)
    names = [str(i) for i in range(200)]
    told = [paired(*(generator.random((2, 200)) < 0.8), names).p < 0.05 for _ in range(400)]
    assert 0.01 < np.mean(told) < 0.08


def test_holm_corrects_in_steps() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


@pytest.mark.parametrize(("right", "chosen"), [
    ((90, 92, 91), 0),  # nothing is told apart: the simplest
    ((60, 92, 91), 1),  # the simplest is worse; of the other two, the simpler
    ((60, 70, 95), 2),  # the best is told from both
    ((95, 70, 60), 0),
    ((90, 90, 90), 0),  # of equals the simplest is the best too
])
def test_the_simplest_that_is_not_told_from_the_best(right: tuple[int, ...], chosen: int) -> None:
    names, costs = [str(i) for i in range(100)], [(0, 10, 1.0), (0, 20, 1.0), (1, 5, 1.0)]
    found = simplest_within_noise([rows(100, n) for n in right], costs, names)
    assert found.chosen == chosen and right[found.best] == max(right)
    assert [one is None for one in found.tests] == [i == found.best for i in range(3)]


def test_the_simplest_is_found_wherever_it_stands_and_chance_of_many_is_allowed_for() -> None:
    names, costs = [str(i) for i in range(100)], [(0, 30), (0, 20), (0, 10), (0, 40)]
    assert simplest_within_noise([rows(100, n) for n in (92, 91, 90, 60)], costs, names).chosen == 2
    right = [rows(100, 90), rows(100, 84), rows(100, 84), rows(100, 84)]
    alone, many = (simplest_within_noise(right[:n], costs[:n], names) for n in (2, 4))
    assert alone.chosen == 0 and alone.tests[1].p < 0.05  # told from one
    assert many.chosen == 2 and many.tests[2].p > 0.05  # and not from the one that was picked of three
