"""Few-shot episodes: what they hold, how groups stay apart, and how the classes are divided."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import made_examples, made_features, noisy_clouds

from kerastl.errors import DataError, OptionError
from kerastl.studies.few_shot.episodes import Pool, Task, by_folder, divide_classes, few_shot_task, sample

TASK = Task(4, (1, 5), 5)


@pytest.fixture(scope="module")
def novel() -> Pool:
    return noisy_clouds(6, seed=2)


def test_episodes_are_of_their_classes_and_support_and_queries_are_disjoint(novel: Pool) -> None:
    drawn = sample(novel, 200, way=4, shot=5, queries=5, seed=3)
    class_of = np.arange(len(novel.x)) // 25
    for classes, support, query in zip(drawn.classes, drawn.support, drawn.query, strict=True):
        assert len(set(classes)) == 4 and not set(support.ravel()) & set(query.ravel())
        assert len(set(support.ravel())) == support.size == 20 and len(set(query.ravel())) == 20
        assert (class_of[support] == classes[:, None]).all() and (class_of[query] == classes[:, None]).all()
    assert set(drawn.classes.ravel()) == set(range(6)) and len(set(drawn.support.ravel())) == 150  # all take part


def test_episodes_follow_from_the_seed_alone(novel: Pool) -> None:
    one, same, other = (sample(novel, 20, way=3, shot=1, queries=2, seed=seed) for seed in (1, 1, 2))
    assert (one.support == same.support).all() and (one.query == same.query).all()
    assert not (one.support == other.support).all()


def test_groups_lie_on_one_side_of_an_episode_also_across_classes(novel: Pool) -> None:
    photographers = replace(novel, groups=np.arange(len(novel.x)) % 9)  # each has rows of every class
    drawn = sample(photographers, 50, way=4, shot=3, queries=4, seed=0)
    for support, query in zip(drawn.support, drawn.query, strict=True):
        assert not set(photographers.groups[support.ravel()]) & set(photographers.groups[query.ravel()])
    with pytest.raises(DataError, match="keeps the groups of its support and its queries apart"):
        sample(photographers, 1, way=4, shot=6, queries=4, seed=0)


def test_in_an_episode_a_class_has_one_row_of_a_group(novel: Pool) -> None:
    twins = replace(novel, groups=np.arange(len(novel.x)) // 2)
    drawn = sample(twins, 50, way=3, shot=4, queries=5, seed=0)
    for part in (drawn.support, drawn.query):
        groups = twins.groups[part]
        assert all(len(set(row)) == len(row) for row in groups.reshape(-1, groups.shape[-1]))


def test_a_pool_of_some_classes_has_their_rows_and_groups(novel: Pool) -> None:
    part = replace(novel, groups=1000 + np.arange(len(novel.x))).only([4, 1])
    assert part.classes == ("class 4", "class 1") and len(part.x) == 50
    for number, c in enumerate((4, 1)):
        assert np.array_equal(part.x[part.rows[number]], novel.x[novel.rows[c]])
        assert part.groups[part.rows[number]].tolist() == (1000 + novel.rows[c]).tolist()


def many_classes(tmp_path: Path, classes: int, **more: Any) -> tuple[Any, NDArray[np.float32]]:
    y = np.repeat(np.arange(classes), 12)
    x = np.random.default_rng(0).normal(size=(len(y), 8)).astype(np.float32)
    return made_features(tmp_path, x, made_examples(y, **more)), x


def test_the_division_follows_from_the_names_and_no_row_is_on_both_sides(tmp_path: Path) -> None:
    features, x = many_classes(tmp_path, 12)
    division = divide_classes(features, TASK)
    names = {*division.base.classes, *division.novel.classes}
    assert len(division.base.classes) == len(division.novel.classes) == 6 and len(names) == 12
    assert division.novel.classes != tuple(sorted(names))[:6]  # by hash, not by alphabet
    for pool in (division.base, division.novel):
        for name, rows in zip(pool.classes, pool.rows, strict=True):
            assert (pool.x[rows] == x[12 * int(name.split()[1]):][:12]).all()
    turned = replace(features.examples, classes=features.examples.classes[::-1])
    assert set(divide_classes(replace(features, examples=turned), TASK).novel.classes) == set(division.novel.classes)


def test_base_rows_that_are_a_novel_class_s_too_are_not_learnt_from(tmp_path: Path) -> None:
    features, x = many_classes(tmp_path, 12)
    division = divide_classes(features, TASK)
    a, b = (12 * int(pool.classes[0].split()[1]) for pool in (division.base, division.novel))
    ids = list(features.examples.ids)
    ids[a] = ids[b]
    copied = replace(features.examples, ids=tuple(ids), groups=tuple(ids))
    without = divide_classes(replace(features, examples=copied), TASK)
    assert len(without.base.x) == len(division.base.x) - 1 and len(without.novel.x) == len(division.novel.x)
    assert not (without.base.x == x[b]).all(axis=1).any()


def test_a_class_needs_as_many_groups_as_an_episode_takes_rows(tmp_path: Path) -> None:
    """13 classes of 12 rows: a novel class has 9 groups; then 3 rows of a base class are a novel class's too."""
    features, x = many_classes(tmp_path, 13)
    small = int(divide_classes(features, TASK).novel.classes[0].split()[1])
    names = np.array(features.examples.ids, dtype=object)
    names[12 * small:12 * small + 4] = names[12 * small]
    examples = replace(features.examples, groups=tuple(names))
    division = divide_classes(replace(features, examples=examples), TASK)
    assert division.skipped == (f"class {small}",) and len(division.base.classes) == len(division.novel.classes) == 6
    for pool in (division.base, division.novel):  # the groups are those of the rows
        numbers = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in pool.x]
        assert len(set(pool.groups.tolist())) == len(numbers)
    thirteen = divide_classes(features, TASK)
    assert (len(thirteen.base.classes), len(thirteen.novel.classes), thirteen.skipped) == (7, 6, ())
    base, novel = (int(pool.classes[0].split()[1]) for pool in (thirteen.base, thirteen.novel))
    ids = list(features.examples.ids)
    ids[12 * base:12 * base + 3] = ids[12 * novel:12 * novel + 3]
    copied = replace(features.examples, ids=tuple(ids), groups=tuple(ids))
    without = divide_classes(replace(features, examples=copied), TASK)
    assert without.skipped == (f"class {base}",) and without.novel.classes == thirteen.novel.classes
    exact = divide_classes(features, Task(4, (1, 7), 5))  # a class has just enough rows
    assert len(exact.base.classes) == 7


def test_rows_of_a_group_keep_its_number_in_both_pools(tmp_path: Path) -> None:
    features, x = many_classes(tmp_path, 12)
    shared = replace(features.examples, groups=tuple(str(row % 12) for row in range(144)))  # a group in all classes
    division = divide_classes(replace(features, examples=shared), TASK)
    for pool in (division.base, division.novel):
        numbers = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in pool.x]
        assert pool.groups.tolist() == [number % 12 for number in numbers]


@pytest.mark.parametrize(("classes", "task", "got"), [
    (8, TASK, "4 base and 4 novel classes with 10 rows or more"),  # 5 are needed to learn from
    (12, Task(4, (10,), 5), "0 base and 0 novel classes with 15 rows or more"),
    (6, Task(2, (1,), 5), "3 base and 3 novel"),
])
def test_too_few_classes_are_one_error(tmp_path: Path, classes: int, task: Task, got: str) -> None:
    features, _ = many_classes(tmp_path, classes)
    with pytest.raises(DataError, match=got) as error:
        divide_classes(features, task)
    assert f"{task.way} novel classes" in error.value.expected and "`way`" in error.value.hint


def test_rows_with_several_labels_are_refused(tmp_path: Path) -> None:
    hot = np.eye(8, dtype=np.int64)[np.arange(96) % 8]
    features = made_features(tmp_path, np.zeros((96, 4)), made_examples(hot))
    with pytest.raises(DataError, match="several labels"):
        divide_classes(features, TASK)


def test_wrong_flags_are_named_all_at_once() -> None:
    assert few_shot_task(5, "10, 1,5", 5, 200, 0) == Task(5, (1, 5, 10), 5)
    with pytest.raises(OptionError) as error:
        few_shot_task(1, "1,x", 0, 199, -1)
    assert all(words in str(error.value) for words in ("`way` must be at least 2", "(got 1,x)", "`queries` must be",
                                                       "(got 199)", "(got -1)"))
    with pytest.raises(OptionError, match="`shots` must be numbers from 1 on"):
        few_shot_task(5, "0,1", 5, 200, 0)


def test_a_image_s_class_may_be_its_deepest_folder() -> None:
    examples = replace(made_examples(np.array([0, 0, 1])), origins=("a/b/1.png", "a/2.png", "c/b/3.png"))
    deep = by_folder(examples)
    assert [deep.label_of(row) for row in range(3)] == ["a/b", "a", "c/b"]
