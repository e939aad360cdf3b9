"""The simplest of several models that is not significantly worse than the best."""

import numpy as np
import pytest

from kerastl.studies.verdict import simplest_within_noise


def rows(n: int, correct: int) -> np.ndarray:
    return (np.arange(n) < correct).astype(float)


@pytest.mark.parametrize(("correct", "chosen"), [
    ((90, 92, 91), 0),  # no difference is significant: the simplest
    ((60, 92, 91), 1),  # the simplest is worse; of the other two, the simpler
    ((60, 70, 95), 2),  # the best is significantly better than both
    ((95, 70, 60), 0),
    ((90, 90, 90), 0),  # of equals the simplest is the best too
])
def test_the_simplest_that_is_not_significantly_worse_than_the_best(correct: tuple[int, ...], chosen: int) -> None:
    names, costs = [str(i) for i in range(100)], [(0, 10, 1.0), (0, 20, 1.0), (1, 5, 1.0)]
    verdict = simplest_within_noise([rows(100, n) for n in correct], costs, names)
    assert verdict.chosen == chosen and verdict.best == correct.index(max(correct))  # of equals the simplest
    assert [test is None for test in verdict.tests] == [i == verdict.best for i in range(3)]


def test_the_simplest_is_found_at_any_place_and_p_values_are_corrected_for_their_number() -> None:
    names, costs = [str(i) for i in range(100)], [(0, 30), (0, 20), (0, 10), (0, 40)]
    assert simplest_within_noise([rows(100, n) for n in (92, 91, 90, 60)], costs, names).chosen == 2
    correct = [rows(100, 90), rows(100, 84), rows(100, 84), rows(100, 84)]
    alone, many = (simplest_within_noise(correct[:n], costs[:n], names) for n in (2, 4))
    assert alone.chosen == 0 and alone.tests[1].p < 0.05  # significant against one
    assert many.chosen == 2 and many.tests[2].p > 0.05  # but not as one of three


def test_rows_of_one_group_are_one_observation() -> None:
    """The better model is better on 10 rows: of 10 groups, or all of one."""
    correct, costs, apart = [rows(100, 90), rows(100, 80)], [(2,), (1,)], np.arange(100)
    for groups, chosen in ((apart, 0), (np.where(correct[0] > correct[1], 80, apart), 1)):
        assert simplest_within_noise(correct, costs, groups).chosen == chosen
