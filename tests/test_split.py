"""Splits: a row's side follows from its content or group alone, groups stay whole, folds are even, users are heard."""

import hashlib
import inspect
import random
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw, draw_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import write_table

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples
from kerastl.data.images import read_images
from kerastl.data.split import carve, folds, split
from kerastl.errors import DataError, OptionError
from kerastl.modality import IMAGE

quick = settings(derandomize=True, deadline=None, database=None, max_examples=60)
Rows = Sequence[tuple[str, str]]  # group and label of each row


def examples(rows: Rows, given: Sequence[str] = (), several: bool = False) -> Examples:
    """Rows without files; a label `a|b` means two where `several`."""
    classes = tuple(sorted({name for _, label in rows for name in (label.split("|") if several else [label]) if name}))
    hot = np.array([[int(name in label.split("|")) for name in classes] for _, label in rows])
    names = tuple(f"row {i}" for i in range(len(rows)))
    groups = tuple(group for group, _ in rows)
    seen: Counter[str] = Counter()
    ids = []
    for group in groups:  # an id differs from its group, so that it shows where one is taken for the other
        seen[group] += 1
        ids.append(hashlib.blake2b(f"content {seen[group]} of {group}".encode(), digest_size=16).hexdigest())
    sides = tuple(given) or ("",) * len(rows)
    return Examples(IMAGE, "made up", names, names, ids=tuple(ids), groups=groups, source_split=sides, classes=classes,
                    targets=hot if several else hot.argmax(axis=1))


def lone(n: int, classes: int = 2, salt: str = "") -> Rows:
    """n rows, each a group of its own, in classes by turns."""
    return [(f"{salt}{i}", "abcdefghij"[i % classes]) for i in range(n)]


def part(made: Examples) -> list[int]:
    """The rows' parts, once they are split."""
    assert made.split is not None
    return made.split.part.tolist()


# A group's members may be of several classes; the lone rows see to it that every side has some, whatever the hashes.
some = st.lists(st.tuples(st.integers(0, 20).map(str), st.sampled_from("abcd")), min_size=1, max_size=60)
grouped = st.builds(lambda rows, salt: [*rows, *lone(120, 4, f"{salt} ")], some, st.integers(0, 99))


# Whose side


@settings(quick, max_examples=25)
@given(rows=grouped, more=some, shuffled=st.randoms(use_true_random=False), seed=st.integers(0, 2**31))
def test_a_side_does_not_move_as_rows_come_in_any_order_with_any_seed(rows: Rows, more: Rows,
                                                                      shuffled: random.Random, seed: int) -> None:
    before = dict(zip((group for group, _ in rows), part(split(examples(rows), "holdout")), strict=True))
    later = [*rows, *((f"new {group}", label) for group, label in more)]
    shuffled.shuffle(later)
    np.random.seed(seed)
    after = dict(zip((group for group, _ in later), part(split(examples(later), "holdout")), strict=True))
    assert {group: after[group] for group in before} == before
    assert len(after) > len(before)


def hash_position(name: str) -> float:
    """The hash of a name as a fraction of 1: what decides the split, in every version of the library."""
    return int(hashlib.blake2b(name.encode(), digest_size=8).hexdigest(), 16) / 2**64


def test_a_hold_out_follows_from_the_hash_of_the_group() -> None:
    rows = lone(2000)
    expected = [TEST if at < 0.1 else VALIDATION if at < 0.2 else TRAIN
                for at in (hash_position(group) for group, _ in rows)]
    assert part(split(examples(rows), "holdout")) == expected


def test_test_rows_taken_from_the_training_rows_follow_from_a_hash_of_their_own() -> None:
    """With the hash of a plain hold-out they would be the very rows that an earlier hold-out had set aside."""
    rows = lone(2000)
    expected = [TEST if at < 0.1 else VALIDATION if at >= 0.9 else TRAIN
                for at in (hash_position(f"carved {group}") for group, _ in rows)]
    made = split(examples(rows, ["train"] * 2000))
    assert part(made) == expected
    plain = split(examples(rows), "holdout")
    assert made.split is not None and plain.split is not None
    shared = set(made.split.rows(TEST).tolist()) & set(plain.split.rows(TEST).tolist())
    assert 0 < len(shared) < 0.2 * len(made.split.rows(TEST))  # a tenth of them, by chance


def test_no_seed_can_be_given() -> None:
    assert set(inspect.signature(split).parameters) == {"examples", "mode", "unfreeze", "search"}


@quick
@given(rows=grouped, mode=st.sampled_from(["cv", "holdout"]), half=st.randoms(use_true_random=False))
def test_groups_are_never_torn(rows: Rows, mode: str, half: random.Random) -> None:
    made = split(examples(rows), mode)
    chosen = np.array(sorted(half.sample(range(len(rows)), len(rows) // 2)))
    for place, parts in ((range(len(rows)), part(made)), (chosen, folds(made, 3, chosen).tolist()),
                         (chosen, carve(made, chosen).tolist())):
        sides: dict[str, set[int]] = {}
        for row, one in zip(place, parts, strict=True):
            sides.setdefault(rows[row][0], set()).add(one)
        assert {len(one) for one in sides.values()} == {1}
        assert len(set(parts)) > 1


def test_files_keep_their_sides_as_a_folder_grows_and_copies_join_them(tmp_path: Path) -> None:
    classes = {"red": (200, 60, 60), "blue": (60, 80, 210)}
    root = draw_folder(tmp_path, 80, classes)
    first = split(read_images(str(root)), "holdout")
    before = dict(zip(first.ids, part(first), strict=True))
    draw_folder(root, 30, {"green": (60, 180, 60)}, seed=5)
    for i in range(40):
        draw(root / "red" / f"a new {i}.png", classes["red"], 777_000 + i)
        shutil.copy(root / "blue" / f"{i}.png", root / "red" / f"twin {i}.png")
    grown = split(read_images(str(root)), "holdout")
    sides: dict[str, set[int]] = {}
    for one, side in zip(grown.ids, part(grown), strict=True):
        sides.setdefault(one, set()).add(side)
    assert {len(side) for side in sides.values()} == {1} and len(grown) == 270 and len(sides) == 230
    assert {one: sides[one] for one in before} == {one: {side} for one, side in before.items()}
    assert set(before.values()) == {TRAIN, VALIDATION, TEST}


@pytest.mark.parametrize("backwards", [False, True])
def test_groups_that_share_a_content_are_one(backwards: bool, tmp_path: Path) -> None:
    names = ["c", "c", "b", "b", "a", "", "", ""]
    for i in range(8):
        draw(tmp_path / f"{i}.png", (90, 90, 90), i, size=8)
    for to, of in {2: 0, 4: 3, 6: 1}.items():  # b has an image of c, a one of b, and one of c has no group
        shutil.copy(tmp_path / f"{of}.png", tmp_path / f"{to}.png")
    records = [{"path": f"{i}.png", "label": "xy"[i % 2], "group": names[i]} for i in range(8)]
    found = read_images(write_table(tmp_path / "t.csv", records[::-1] if backwards else records), min_per_class=1)
    groups, ids = (dict(zip(found.origins, column, strict=True)) for column in (found.groups, found.ids))
    assert {groups[f"{i}.png"] for i in (0, 1, 2, 3, 4, 6)} == {"a"}
    assert [groups[f"{i}.png"] for i in (5, 7)] == [ids[f"{i}.png"] for i in (5, 7)]


# Folds


@quick
@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=5), several=st.booleans(), salt=st.integers(0, 10**6))
def test_folds_are_stratified_and_every_row_is_held_out_once(counts: list[int], several: bool, salt: int) -> None:
    labels = ["a", "b|c", "b", "", "c"] if several else list("abcde")
    rows = [(f"{salt} {label} {i}", label) for label, n in zip(labels, counts, strict=False) for i in range(max(3, n))]
    made = split(examples(rows, several=several), "cv")
    assert made.split is not None and made.split.mode == "cv"
    assert made.split.folds == list(range(min(5, len(rows))))
    assert made.split.held_out.tolist() == list(range(len(rows)))
    held_out = [row for fold in made.split.folds for row in made.split.rows(fold)]
    assert sorted(held_out) == list(range(len(rows)))
    for label in {label for _, label in rows}:
        sizes = Counter(fold for fold, (_, one) in zip(part(made), rows, strict=True) if one == label)
        each = [sizes[fold] for fold in made.split.folds]
        assert max(each) - min(each) <= 1
    whole = Counter(part(made))
    assert max(whole.values()) - min(whole.values()) <= 1  # small classes do not all fill the first folds


@quick
@given(rows=grouped, shuffled=st.randoms(use_true_random=False))
def test_the_same_rows_have_the_same_folds_in_any_order(rows: Rows, shuffled: random.Random) -> None:
    other = list(rows)
    shuffled.shuffle(other)
    one, two = (dict(zip((group for group, _ in some), part(split(examples(some), "cv")), strict=True))
                for some in (rows, other))
    assert one == two


@quick
@given(rows=some)
def test_what_is_carved_off_leaves_rows_on_both_sides(rows: Rows) -> None:
    made, groups = examples(rows), len({group for group, _ in rows})
    kept = carve(made, np.arange(len(rows)))
    assert kept.shape == (len(rows),) and kept.any() == (groups > 1) and not kept.all()


def test_what_is_carved_off_is_a_share_of_each_class() -> None:
    rows = [(f"{label}{i}", label) for label, n in (("a", 700), ("b", 70), ("c", 7)) for i in range(n)]
    kept = carve(examples(rows), np.arange(len(rows)))
    assert Counter(label for (_, label), one in zip(rows, kept, strict=True) if one) == {"a": 100, "b": 10, "c": 1}


def test_rows_carved_off_some_rows_are_a_share_of_their_classes_and_groups() -> None:
    """Of the rows asked about, whatever lies before and between them."""
    rows = [(f"{label}{i}", label) for label, n in (("a", 300), ("b", 140), ("c", 70)) for i in range(n)]
    made, chosen = examples(rows), np.arange(509, 0, -2)  # 35 c, 70 b, 150 a
    kept = chosen[carve(made, chosen)]
    counts = Counter(rows[row][1] for row in kept)
    assert counts["c"] == 5 and counts["b"] == 10 and counts["a"] in (21, 22)
    two = np.array([row for row in range(510) if rows[row][0] in ("a7", "b8")])
    assert carve(made, two).sum() == 1  # one of its two groups, though all rows are of many


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_groups_to_cross_validate_are_told(groups: int) -> None:
    with pytest.raises(DataError, match=f"belong to {groups} group"):
        split(examples([(str(i % groups), "ab"[i // 2 % 2]) for i in range(40)]))


def test_three_groups_are_three_folds() -> None:
    made = split(examples([(str(i % 3), "ab"[i // 3 % 2]) for i in range(40)]))
    assert made.split is not None and len(made.split.folds) == 3


# Which way


@pytest.mark.parametrize(("n", "mode", "unfreeze", "expected", "reason"), [
    (100, "auto", 0, "cv", "a 10% hold-out would have fewer than 500 rows"),
    (4999, "auto", 0, "cv", "a 10% hold-out would have fewer than 500 rows"),
    (5000, "auto", 0, "holdout", "the dataset is large enough"), (5000, "cv", 0, "cv", "requested"),
    (400, "holdout", 0, "holdout", "requested"), (500, "auto", 1, "holdout", "the backbone is unfrozen"),
    (400, "holdout", 2, "holdout", "requested"), (700, "auto", "all", "holdout", "the backbone is unfrozen"),
    (499, "auto", 1, "cv", "a 10% hold-out would have fewer than 50 rows"), (700, "cv", 2, "cv", "requested"),
    (105, "auto", "all", "cv", "a 10% hold-out would have fewer than 50 rows"),
    (400, "auto", "contrast", "cv", "a 10% hold-out would have fewer than 500 rows"),
    (400, "auto", "auto", "cv", "a 10% hold-out would have fewer than 500 rows"),
    (400, "cv", "contrast", "cv", "requested"),
])
def test_the_way_of_judging_and_its_reason(n: int, mode: str, unfreeze: int | str, expected: str, reason: str) -> None:
    made = split(examples(lone(n)), mode, unfreeze=unfreeze).split
    assert made is not None and (made.mode, made.reason) == (expected, reason)


@pytest.mark.parametrize(("mode", "search", "words"), [("cv", 1, "holdout"), ("random", 0, "auto, cv, holdout")])
def test_a_way_that_cannot_be_is_refused(mode: str, search: int, words: str) -> None:
    with pytest.raises(OptionError) as raised:
        split(examples(lone(100)), mode, search=search)
    assert words in str(raised.value)


def test_a_hold_out_is_80_10_10() -> None:
    made = split(examples(lone(20_000))).split
    assert made is not None and made.folds == []
    shares = [len(made.rows(side)) / 20_000 for side in (TRAIN, VALIDATION, TEST)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)  # 4 to 5 standard deviations
    assert made.held_out.tolist() == made.rows(TEST).tolist()


# The user's own split


def test_the_users_split_is_honoured_whatever_the_size_and_the_backbone() -> None:
    sides = ("train", "train", "validation", "test") * 15
    for unfreeze in (0, 1):
        made = split(examples(lone(60), sides), unfreeze=unfreeze).split
        assert made is not None and (made.mode, made.reason) == ("given", "the source's own split")
        assert made.part.tolist() == [TRAIN, TRAIN, VALIDATION, TEST] * 15
        assert made.held_out.tolist() == list(range(3, 60, 4))


@pytest.mark.parametrize(("there", "missing"), [("train", ("test", "validation")), ("validation", ("test",)),
                                                ("test", ("validation",))])
def test_a_side_the_user_did_not_give_comes_out_of_training_rows(there: str, missing: tuple[str, ...]) -> None:
    sides = ["train"] * 400 + [there] * 100
    made = split(examples(lone(500), sides)).split
    assert made is not None and made.mode == "given"
    known = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    assert there == "train" or (made.part[400:] == known[there]).all()
    for side in missing:
        assert f"it has no {side} rows, so a tenth of the training rows is used instead" in made.reason
        assert 20 <= len(made.rows(known[side])) <= 70 and (there == "train" or made.rows(known[side]).max() < 400)
    assert made.reason.count("; ") == len(missing)


def test_rows_without_a_side_train_where_others_have_one() -> None:
    made = split(examples(lone(60), ("", "validation", "test") * 20)).split
    assert made is not None and made.part.tolist() == [TRAIN, VALIDATION, TEST] * 20


def test_asking_for_a_way_of_judging_overrules_the_users_split() -> None:
    sides = ("train", "validation", "test") * 100
    made, plain = (split(examples(lone(300), given), "holdout").split for given in (sides, ()))
    assert made is not None and plain is not None and made.part.tolist() == plain.part.tolist()
    assert made.reason == "requested; the source's own split is not used" and plain.reason == "requested"


@pytest.mark.parametrize("leaks", [0, 1, 7])
def test_groups_on_both_sides_of_test_are_counted(leaks: int) -> None:
    rows, sides = list(lone(60)), ["train", "train", "validation", "validation", "test", "test"] * 10
    tests = [row for row in range(60) if sides[row] == "test"]
    for row in tests[:leaks]:
        rows[row] = (rows[row - 2 - 2 * (row % 2)][0], rows[row][1])  # in validation and training by turns
    made = split(examples(rows, sides)).split
    assert made is not None and made.part.tolist() == [TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST] * 10
    found = re.search(r"; (\d+) groups? \(or exact duplicates\) shared between train and test", made.reason)
    assert (int(found[1]) if found else 0) == leaks and ("shared between" in made.reason) == bool(leaks)


def test_an_exact_duplicate_in_another_group_is_a_leak_too(tmp_path: Path) -> None:
    draw_folder(tmp_path, 20, {"red": (200, 60, 60), "blue": (60, 80, 210)})
    shutil.copy(tmp_path / "red" / "1.png", tmp_path / "red" / "2.png")
    sides = ["train", "test", "validation"]
    path = write_table(tmp_path / "t.jsonl", [
        {"path": f"{label}/{i}.png", "label": label, "group": f"{label} {i}", "split": sides[i % 3]}
        for label in ("red", "blue") for i in range(20)])
    made = split(read_images(path)).split
    assert made is not None and re.search(r"; 1 groups? \(or exact duplicates\)", made.reason)


# Sides that cannot be


@pytest.mark.parametrize("several", [False, True])
def test_classes_without_a_training_row_are_named(several: bool) -> None:
    rows = [(str(i), "abcd"[i % 4]) for i in range(60)]
    sides = ["train" if label in "ac" else ("test", "validation")[int(group) // 4 % 2] for group, label in rows]
    with pytest.raises(DataError, match="no training row for the classes b, d"):
        split(examples(rows, sides, several))


@pytest.mark.parametrize(("sides", "trouble"), [
    (["train"] * 2, "train 2, validation 0, test 0"), (["test"] * 2, "no training row for the classes a, b"),
    (["validation", "test"], "no training row for the classes a, b"),
])
def test_a_side_without_rows_is_an_error_with_the_sizes(sides: list[str], trouble: str) -> None:
    with pytest.raises(DataError, match=trouble) as raised:
        split(examples(lone(2), sides))
    assert "set `split` to cv" in str(raised.value)


def test_a_hold_out_of_too_few_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="is not usable: rows: train 5, validation 1, test 0"):
        split(examples(lone(6)), "holdout")


# Rows that leave later


def test_rows_that_go_take_their_part_with_them() -> None:
    made = split(replace(examples(lone(60, classes=3)), min_per_class=10))
    rest = made.without({3: "does not decode", 7: "does not decode"})
    stay = [row for row in range(60) if row not in (3, 7)]
    assert part(rest) == [part(made)[row] for row in stay] and rest.ids == tuple(made.ids[row] for row in stay)
    assert [(one.origin, one.reason) for one in rest.skipped] == [("row 3", "does not decode"),
                                                                  ("row 7", "does not decode")]


def test_a_class_that_becomes_too_small_goes_too() -> None:
    made = replace(examples(lone(33, classes=3)), min_per_class=11)
    rest = made.without({1: "does not decode"})  # of b
    assert rest.classes == ("a", "c") and rest.counts() == {"a": 11, "c": 11}
    assert [one.origin for one in rest.skipped] == ["row 1", "b"]


@quick
@given(counts=st.lists(st.integers(5, 80), min_size=2, max_size=4), limit=st.integers(8, 120))
def test_a_limit_is_even_over_the_classes_and_the_same_each_time(counts: list[int], limit: int) -> None:
    rows = [(f"{label}{i}", label) for label, n in zip("abcd", counts, strict=False) for i in range(n)]
    made = [replace(examples(some), min_per_class=0).limited(limit) for some in (rows, rows[::-1])]
    assert set(made[0].ids) == set(made[1].ids) and len(made[0]) == min(limit, len(rows))
    sizes, level = made[0].counts(), max(made[0].counts().values()) - 1
    assert all(sizes[name] >= min(n, level) for name, n in zip("abcd", counts, strict=False))


def test_a_class_of_one_group_is_named_when_cross_validated() -> None:
    found = split(examples([*lone(30), *[("one", "twins")] * 12]))
    assert found.split is not None and "all rows of twins belong to one group" in found.split.reason
    plain = split(examples(lone(30)))
    assert plain.split is not None and "one group" not in plain.split.reason
