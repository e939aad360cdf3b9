"""Private heads: the accounting, the sensitivity of what is released, and what a budget opens and closes."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tiny import clouds, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.data.examples import TEST, TRAIN
from kerastl.data.split import split_by_hash
from kerastl.data.texts import read_labelled
from kerastl.privacy import accounting, prototypes, ridge
from kerastl.privacy.accuracy import paid_accuracy
from kerastl.privacy.attack import Shadows, advantage, confidences, guesses, shadow_heads
from kerastl.privacy.fit import fit_private, needed_groups, rounded, unit_of, with_classes
from kerastl.privacy.noise import gaussian, symmetric
from kerastl.privacy.options import CLOSED, OPEN, PrivacyOptions, private_options
from kerastl.privacy.record import as_null, from_null
from kerastl.privacy.rows import Rows, projection, unit
from kerastl.shell.flags import ImageConfig, TextConfig

GOLDEN = json.loads((Path(__file__).parent / "golden/privacy.json").read_text())
EXACT = 1e9  # strength of a release with next to no noise


def test_the_calibration_is_that_of_dp_accounting() -> None:
    """`origin` in the file says how these were computed."""
    for case in GOLDEN["calibrated"]:
        assert 1 / accounting.strength_of(case["epsilon"], case["delta"]) == pytest.approx(case["sigma"], rel=1e-6)
    for case in GOLDEN["composed"]:
        strength = float(np.sqrt(sum(1 / sigma**2 for sigma in case["sigmas"])))
        assert accounting.delta_of(case["epsilon"], strength) == pytest.approx(case["delta"], rel=1e-5)


def test_delta_at_epsilon_0_is_the_distance_of_two_normal_distributions() -> None:
    """Dong, Roth and Su 2019: a strength of 1 at epsilon 0 has delta 2 Phi(1/2) - 1 = 0.38292."""
    assert accounting.delta_of(0.0, 1.0) == pytest.approx(0.3829249, abs=1e-7)
    assert accounting.delta_of(3.0, 1e-3) == 0.0


def test_shares_of_a_budget_add_up_to_it() -> None:
    for weights in (ridge.WEIGHTS, prototypes.WEIGHTS):
        parts = accounting.shares(0.7, weights)
        assert sum(part**2 for part in parts.values()) == pytest.approx(0.49)


def test_the_bound_of_an_advantage() -> None:
    assert accounting.advantage_bound(1.0, 0.0) == pytest.approx(np.tanh(0.5))
    assert accounting.advantage_bound(0.0, 0.1) == pytest.approx(0.1)
    assert accounting.advantage_bound(1000.0, 1e-5) == 1.0


def grouped(seed: int) -> Rows:
    """60 rows of 20 groups of different sizes, with features of very different lengths."""
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 20, size=60)
    x = generator.normal(size=(60, 12)) * generator.lognormal(3, 2, size=(60, 1))
    return Rows(x, generator.integers(0, 3, size=60), [f"group {number}" for number in groups])


def without(rows: Rows, group: str) -> Rows:
    kept = [place for place, name in enumerate(rows.groups) if name != group]
    return Rows(rows.x[kept], rows.y[kept], [rows.groups[place] for place in kept])


@pytest.mark.parametrize("seed", range(4))
def test_one_group_changes_each_release_by_at_most_1(seed: int) -> None:
    """That is what the noise is calibrated for."""
    rows, centre = grouped(seed), np.random.default_rng(99).normal(size=12) * 0.2

    def released(some: Rows) -> dict[str, Any]:
        x = unit(unit(some.x) - centre)
        statistics = ridge.statistics(some, x, 3)
        sums, counts = prototypes.sums(some, unit(some.x), 3)
        return {"count": some.n_groups, "mean": (unit(some.x) * some.weights[:, None]).sum(axis=0),
                "gram": statistics.gram, "smallest": np.linalg.eigvalsh(statistics.gram)[0],
                "cross": statistics.cross, "sums": sums, "counts": counts}

    before, largest = released(rows), 0.0
    for group in set(rows.groups):
        after = released(without(rows, group))
        changes = {name: float(np.linalg.norm(np.asarray(before[name] - after[name]))) for name in before}
        assert max(changes.values()) <= 1 + 1e-9, changes
        largest = max(largest, changes["gram"])
    assert largest > 0.9  # of a group of one row: the bound is not loose


def fixed_noise(shape: tuple[int, ...], deviation: float, entropy: Any) -> Any:
    """Next to none, but for vectors: a huge one, so that the centre is the same for all data."""
    return np.linspace(1e9, 2e9, shape[0]) if len(shape) == 1 and shape[0] > 3 else np.zeros(shape)


@pytest.mark.parametrize("seed", range(3))
def test_one_group_changes_the_sums_in_the_whole_fit_by_at_most_1(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the solver: a fitter that scaled features by the data would change them by more."""
    reached: list[dict[str, Any]] = []

    def solved(gram: Any, cross: Any, smallest: float, noise: float) -> Any:
        reached.append({"gram": gram, "cross": cross, "smallest": smallest})
        return cross

    monkeypatch.setattr(ridge, "gaussian", fixed_noise)
    monkeypatch.setattr(ridge, "symmetric", lambda size, deviation, entropy: np.zeros((size, size)))
    monkeypatch.setattr(ridge, "solved", solved)
    rows = grouped(seed)
    ridge.fit(rows, 3, 1.0)
    for group in sorted(set(rows.groups)):
        ridge.fit(without(rows, group), 3, 1.0)
    before, *others = reached
    changes = {name: max(float(np.linalg.norm(before[name] - after[name])) for after in others) for name in before}
    assert len(others) == len(set(rows.groups)) and max(changes.values()) <= 1 + 1e-6, changes
    assert changes["gram"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("fitter", [ridge, prototypes])
def test_each_release_is_noised_once_as_its_payment_says(fitter: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def recorded(draw: Any) -> Any:
        def drawing(size: Any, deviation: float, entropy: Any) -> Any:
            drawn.append(deviation)
            return draw(size, deviation, entropy)
        return drawing

    monkeypatch.setattr(fitter, "gaussian", recorded(gaussian))
    monkeypatch.setattr(fitter, "symmetric", recorded(symmetric), raising=False)
    head = fitter.fit(grouped(0), 3, 0.5)
    assert sorted(drawn) == pytest.approx(sorted(payment.noise for payment in head.payments))
    counts = np.array([fitter.fit(grouped(0), 3, 0.5).groups for _ in range(300)])
    assert counts.std() == pytest.approx(head.payments[0].noise, rel=0.2) and head.payments[0].what.startswith("number")
    right = np.array([paid_accuracy(head, grouped(0), 5.0).groups for _ in range(300)])
    assert right.std() == pytest.approx(np.sqrt(2) / 5.0, rel=0.2)  # the sum of two counts


def test_one_group_changes_the_counts_of_the_accuracy_by_at_most_1() -> None:
    """With a released head: the pair (correct, incorrect) of all groups, without its noise."""
    rows = grouped(0)
    head = ridge.fit(rows, 3, EXACT)

    def pair(some: Rows) -> Any:
        found = paid_accuracy(head, some, EXACT)
        return np.array([found.accuracy, 1 - found.accuracy]) * found.groups

    for group in set(rows.groups):
        assert np.linalg.norm(pair(rows) - pair(without(rows, group))) <= 1 + 1e-6


def test_noise_has_its_standard_deviation_and_no_seed() -> None:
    samples = gaussian((40_000,), 3.0)
    assert samples.std() == pytest.approx(3.0, rel=0.03) and abs(samples.mean()) < 0.1
    assert abs((np.abs(samples) < 3).mean() - 0.6827) < 0.015
    np.random.seed(0)
    first = gaussian((3,), 1.0)
    np.random.seed(0)
    assert not np.allclose(first, gaussian((3,), 1.0))


def test_noise_of_a_symmetric_matrix() -> None:
    noise = symmetric(200, 2.0)
    assert np.array_equal(noise, noise.T) and np.diag(noise).std() == pytest.approx(2.0, rel=0.2)
    assert noise[np.triu_indices(200, 1)].std() == pytest.approx(2.0 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("fitter", [ridge, prototypes])
def test_a_head_learns_and_noise_costs_accuracy(fitter: ModuleType) -> None:
    x, y = clouds(2400, 3, 24, 3.0)
    names = [str(place) for place in range(len(x))]
    train, test = Rows(x[:2000].astype(float), y[:2000], names[:2000]), x[2000:].astype(float)
    accuracy = {strength: float((fitter.fit(train, 3, strength).logits(test).argmax(axis=1) == y[2000:]).mean())
                for strength in (EXACT, 1.0, 0.001)}
    assert accuracy[EXACT] > 0.9 and accuracy[1.0] > 0.85 and accuracy[0.001] < 0.75


def test_the_layers_compute_what_was_fitted() -> None:
    rows = grouped(1)
    head = ridge.fit(rows, 3, 2.0)
    logits = np.asarray(head.model()(rows.x.astype(np.float32)))
    np.testing.assert_allclose(logits, head.logits(rows.x), atol=1e-3)


def test_the_projection_is_public() -> None:
    assert np.array_equal(projection(100, 64), projection(100, 64))
    assert np.array_equal(projection(20, 64), np.eye(20))


def test_every_flag_is_open_or_closed_and_none_is_both() -> None:
    flags = {field.name for config in (ImageConfig, TextConfig) for field in fields(config)}
    assert flags | {"backbone"} == set(OPEN) | set(CLOSED) and not set(OPEN) & set(CLOSED)
    defaults = {field.name: field.default for config in (ImageConfig, TextConfig) for field in fields(config)}
    assert not {name for name, (values, _) in CLOSED.items() if defaults[name] not in values}


@pytest.mark.parametrize(("private", "classes", "message"), [
    ("epsilon=0", "a,b", "from 0.001 to"), ("epsilon=inf", "a,b", "from 0.001 to"),
    ("epsilon=1e-9", "a,b", "from 0.001 to"), ("epsilon=nan", "a,b", "from 0.001 to"),
    ("epsilon=1,epsilon=9", "a,b", "twice"), ("epsilon=1,delta=2", "a,b", "between 0 and 1"),
    ("epsilon=1,delta=5e-324", "a,b", "between 0 and 1"),
    ("1", "a,b", "epsilon=1,delta=auto"), ("epsilon=1,sigma=2", "a,b", "epsilon=1,delta=auto"),
    ("epsilon=1", None, "`classes` is missing"), ("epsilon=1", "a,a", "each once"), ("epsilon=1", "a", "two names")])
def test_a_budget_that_cannot_be_used_is_refused(private: str, classes: str | None, message: str) -> None:
    with pytest.raises(tl.OptionError, match=message):
        PrivacyOptions.parse(private, classes)


def test_classes_are_in_the_form_in_which_labels_are_read() -> None:
    assert PrivacyOptions.parse("epsilon=1", "cafe\u0301, b\u200b").classes == ("caf\u00e9", "b")
    with pytest.raises(tl.OptionError, match="each once"):
        PrivacyOptions.parse("epsilon=1", "cafe\u0301,caf\u00e9")


@pytest.mark.parametrize(("name", "value"), [
    ("search", 3), ("target", "precision=0.9"), ("reject", "on"), ("if_better", True), ("near_duplicates", "group"),
    ("unfreeze", "1"), ("limit", 100), ("min_per_class", 5), ("split", "cv"), ("relabel", "t.csv"), ("head", "mlp"),
    ("tflite", "int8"), ("seeds", 3), ("strict", True), ("precision", "bfloat16"), ("multi_label", "on")])
def test_closed_arguments_are_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    arguments = {"data": str(tmp_path), "private": "epsilon=1", "classes": "a,b", "head": "best", name: value}
    with pytest.raises(tl.OptionError, match=f"`{name}`"):
        private_options(arguments)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    arguments = {"data": str(tmp_path / "t.csv"), "text_column": None, "label_column": None, "private": "epsilon=-1",
                 "classes": None, "head": "best", "target": "precision=0.9"}
    with pytest.raises(tl.OptionError) as caught:
        private_options(arguments)
    assert all(name in str(caught.value) for name in ("epsilon", "`classes`", "`target`", "`text_column`"))


def test_delta_is_below_one_over_the_groups_and_depends_on_their_power_of_ten_only() -> None:
    options = PrivacyOptions.parse("epsilon=1", "a,b")
    assert [options.delta_for(n) for n in (101, 705, 1000)] == pytest.approx([1e-4] * 3)
    assert all(options.delta_for(n) < 1 / n for n in (1, 9, 10, 11, 10_043))
    assert PrivacyOptions.parse("epsilon=1,delta=1e-7", "a,b").delta_for(10) == 1e-7


def test_more_rows_are_needed_for_more_classes_and_a_smaller_epsilon() -> None:
    few, many = (PrivacyOptions.parse("epsilon=1", names) for names in ("a,b", "a,b,c,d,e,f"))
    assert needed_groups(few, 1e-5) < needed_groups(many, 1e-5)
    assert needed_groups(few, 1e-5) < needed_groups(PrivacyOptions.parse("epsilon=0.5", "a,b"), 1e-5)
    assert [rounded(number) for number in (-3.0, 0.4, 1234.5)] == [0, 0, 1200]


def test_classes_are_those_that_are_given() -> None:
    examples = replace(made_examples(np.array([0, 1, 2, 1]), classes=["a", "b", "c"]), min_per_class=0)
    chosen = with_classes(examples, ("c", "missing", "b"))
    assert chosen.classes == ("c", "missing", "b") and chosen.targets.tolist() == [2, 0, 2]
    with pytest.raises(tl.DataError, match="no row"):
        with_classes(examples, ("x", "y"))
    with pytest.raises(tl.DataError, match="one label a row"):
        with_classes(replace(made_examples(np.array([[1, 1], [0, 1]])), min_per_class=0), ("class 0", "class 1"))
    with pytest.raises(tl.OptionError, match="`min_per_class`"):
        with_classes(replace(examples, min_per_class=10), ("a", "b"))


def test_a_group_that_shares_copies_with_two_others_leaves_them_as_they_are(tmp_path: Path) -> None:
    """Elsewhere, groups with a common copy are joined, so that one group would change the weights of others."""
    lines = ["x1,a,ann", "x2,a,ann", "x3,b,cid", "x4,a,cid"]

    def read(more: list[str]) -> Any:
        (tmp_path / "t.csv").write_text("\n".join(["text,label,group", *lines, *more]) + "\n")
        return read_labelled(str(tmp_path / "t.csv"), options=tl.ReadOptions(multi_label="off"))

    before, after = with_classes(read([]), ("a", "b")), with_classes(read(["x2,a,bob", "x3,b,bob"]), ("a", "b"))
    assert len(set(read(["x2,a,bob", "x3,b,bob"]).groups)) == 1  # joined
    assert tuple(after.groups) == (*before.groups, "bob", "bob") == ("ann", "ann", "cid", "cid", "bob", "bob")
    assert split_by_hash(after).split.part[:4].tolist() == split_by_hash(before).split.part.tolist()
    assert unit_of(before) == unit_of(after) == "all texts of one value of the group column"


def test_the_unit_follows_from_the_columns_and_not_from_the_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label,group\nx1,a,\nx2,b,\n")
    examples = with_classes(read_labelled(str(tmp_path / "t.csv")), ("a", "b"))
    assert "group column" in unit_of(examples) and tuple(examples.groups) == tuple(examples.ids)


def test_examples_whose_rows_depend_on_others_are_refused(tmp_path: Path) -> None:
    options, features = PrivacyOptions.parse("epsilon=2", "a,b"), private_features(tmp_path)
    for changed, message in ((in_folds(features.examples), "by the hash"),
                             (replace(features.examples, units=("another",) * len(features.examples)), "joined")):
        with pytest.raises(tl.OptionError, match=message):
            fit_private(replace(features, examples=changed), options)


def test_no_class_and_no_part_needs_rows(tmp_path: Path) -> None:
    """Else a run would end where one group is missing."""
    x, y = clouds(40, 2, 16, 3.0)
    options = PrivacyOptions.parse("epsilon=2,delta=1e-3", "a,b,c")
    examples = split_by_hash(made_examples(y, classes=["a", "b", "c"]))
    for part in (TEST, TRAIN):
        rows = np.flatnonzero(examples.split.part != part) if examples.split else y
        fitted = fit_private(made_features(tmp_path / str(part), x[rows], examples.take(rows)), options)
        assert fitted.head.kernel.shape[1] == 3 and np.isfinite(fitted.head.kernel).all()


def test_budgets_at_the_ends_of_the_ranges_are_kept() -> None:
    """The strength found is never above, and hardly below, what the budget allows."""
    for epsilon in (accounting.SMALLEST, 1.0, 1e6):
        for delta in (accounting.TINIEST, 1e-12, 0.999):
            strength = accounting.strength_of(epsilon, delta)
            assert accounting.delta_of(epsilon, strength) <= delta < accounting.delta_of(epsilon, strength * (1 + 1e-6))


def private_features(folder: Path) -> Any:
    x, y = clouds(600, 2, 16, 3.0)
    examples = tl.split(made_examples(y, classes=["a", "b"]), "holdout")
    return made_features(folder, x, examples)


def test_what_is_released_says_what_it_cost(tmp_path: Path) -> None:
    options = PrivacyOptions.parse("epsilon=2", "a,b")
    fitted = fit_private(private_features(tmp_path), options)
    private = fitted.record
    training = [payment.strength for payment in private.payments if payment.rows == "training"]
    assert np.sqrt(sum(part**2 for part in training)) == pytest.approx(private.strength)
    assert [payment.strength for payment in private.payments if payment.rows == "held-out"] == [private.strength]
    assert accounting.delta_of(2.0, private.strength) <= private.delta
    assert fitted.accuracy.accuracy > 0.8 and private.unit == "one image with its exact copies"
    assert fit_private(private_features(tmp_path), options, "prototype").head.name == "prototype"
    with pytest.raises(tl.OptionError, match="`head`"):
        fit_private(private_features(tmp_path), options, "mlp")
    with pytest.raises(tl.OptionError, match="other classes"):
        fit_private(private_features(tmp_path), PrivacyOptions.parse("epsilon=2", "b,a"))


def test_an_accuracy_that_noise_hides_is_null() -> None:
    rows = grouped(2)
    found = paid_accuracy(ridge.fit(rows, 3, EXACT), rows, 0.05)
    assert np.isnan(found.accuracy) and all(map(np.isnan, found.ci95))
    document = as_null({"accuracy": found.accuracy, "accuracy_ci95": found.ci95, "n": 3, "ece": np.nan})
    assert document == {"accuracy": None, "accuracy_ci95": [None, None], "n": 3, "ece": None}
    assert np.isnan(from_null(document)["accuracy"]) and np.isnan(from_null(document)["accuracy_ci95"]).all()


def test_attacks_find_a_planted_leak_and_nothing_in_noise() -> None:
    generator = np.random.default_rng(0)
    shape = (16, 2000)
    member = np.argsort(np.argsort(generator.random(shape), axis=0), axis=0) < 8
    among, level = generator.random(2000) < 0.5, generator.normal(size=2000)
    for leak, low, high in ((2.0, 0.5, 1.0), (0.0, -0.08, 0.08)):
        confidence = level + leak * member + 0.5 * generator.normal(size=shape)
        found = guesses(Shadows(member, confidence), level + leak * among + 0.5 * generator.normal(size=2000))
        value, ends = advantage(found.ratio, among)
        assert low <= value <= high and ends[0] < value < ends[1] + 1e-3
        assert advantage(found.loss, among)[0] <= value + 0.08  # the levels of groups hide the loss


def test_attacks_find_the_training_rows_of_a_head_without_noise() -> None:
    """As many features as training rows: the head without noise remembers them, the private one does not."""
    generator = np.random.default_rng(1)
    rows = Rows(generator.normal(size=(160, 60)), generator.integers(0, 2, size=160), [str(n) for n in range(160)])
    names, first = np.unique(np.asarray(rows.groups), return_index=True)
    member = np.arange(160)[first] < 80
    training = Rows(rows.x[:80], rows.y[:80], rows.groups[:80])
    found = {}
    for strength in (EXACT, 0.3):
        shadows = shadow_heads(rows, lambda some, s=strength: ridge.fit(some, 2, s).logits, 8)  # type: ignore[misc]
        logits = ridge.fit(training, 2, strength).logits(rows.x)
        found[strength] = advantage(guesses(shadows, confidences(logits, rows)).ratio, member)[0]
    assert found[EXACT] > 0.4 and found[0.3] < 0.3 < accounting.advantage_bound(8, 0)
