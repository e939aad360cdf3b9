"""Learning curves: whole clusters, rows that measure apart from rows that are fitted, fits, intervals and answers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from numpy.typing import NDArray
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.data.examples import TEST
from kerastl.report.learning_curve import learning_curve_section
from kerastl.studies.learning_curve.extrapolation import check, extrapolate, rows_until
from kerastl.studies.learning_curve.families import families, fitted
from kerastl.studies.learning_curve.measurement import measure
from kerastl.studies.learning_curve.of_run import learning_curve_of_run
from kerastl.studies.learning_curve.subsets import SPAN, deals, fewest_rows, sizes_of
from kerastl.training.options import DEFAULTS
from kerastl.versions.learning_curve import ClassCurve, LearningCurve

SIZES = np.array([30.0, 50, 80, 130, 220, 350, 560])


def features_of(folder: Path, n: int = 400, outputs: int = 3, apart: float = 2.0, *, targets: NDArray | None = None,
                seed: int = 0) -> tl.Features:
    """Clouds that overlap, cross-validated."""
    x, y = clouds(n, outputs, 24, apart, seed)
    return replace(made_features(folder, x, in_folds(made_examples(y if targets is None else targets))),
                   backbone=tl.load_backbone("tiny_net", "none"))


def replicates(truth: NDArray, noise: float = 0.004, count: int = 200, seed: int = 0) -> NDArray:
    """Error rates as measured and of bootstrap replicates, around the truth."""
    generator = np.random.default_rng(seed)
    measured = truth + generator.normal(size=len(truth)) * noise
    return np.concatenate([measured[None], measured + generator.normal(size=(count, len(truth))) * noise])


def test_sizes_are_geometric_and_need_enough_rows() -> None:
    sizes = sizes_of(705, 8)
    assert (len(sizes), sizes[0], sizes[-1]) == (7, 32, 564)
    ratios = np.array(sizes[1:]) / sizes[:-1]
    assert ratios.max() / ratios.min() < 1.05
    for classes in (2, 8, 100):
        least = fewest_rows(classes)
        assert sizes_of(least, classes)[-1] >= SPAN * sizes_of(least, classes)[0] * 0.99
        assert sizes_of(least - 2, classes) == []


def test_no_cluster_is_fitted_and_measured_and_subsets_are_nested_and_stratified() -> None:
    y = np.repeat([0, 0, 0, 1], 60)
    groups = [f"group {row // 3}" for row in range(len(y))]
    examples = made_examples(y, groups=groups)
    rows, names = np.arange(10, 240), np.array(groups)
    dealt = list(deals(examples, rows, [20, 60, 184], 7, seed=1))
    assert [deal.round for deal in dealt] == [0] * 5 + [1] * 2
    assert sorted(np.concatenate([deal.measuring for deal in dealt[:5]]).tolist()) == rows.tolist()
    for deal in dealt:
        assert set(deal.measuring) | set(deal.training[-1]) == set(rows)
        assert not set(names[deal.measuring]) & set(names[deal.training[-1]])
        for small, large in zip(deal.training, deal.training[1:], strict=False):
            assert set(small) < set(large)
        for size, training in zip((20, 60), deal.training, strict=False):
            assert abs(len(training) - size) <= 2
            assert abs((y[training] == 1).mean() - 0.25) < 3.5 / size  # a cluster has 3 rows
            assert all(np.isin(rows[names[rows] == names[row]], training).all() for row in training)
    again = list(deals(examples, rows, [20, 60, 184], 7, seed=1))
    assert all(np.array_equal(a.measuring, b.measuring) for a, b in zip(dealt, again, strict=True))


def test_small_subsets_of_sets_of_labels_are_not_those_of_rare_sets() -> None:
    """Nine rows in ten have the same set, each other row one of its own."""
    targets = np.zeros((300, 9), np.int64)
    targets[:, 0] = 1
    rare = np.arange(0, 300, 10)
    targets[rare] = [[0, *map(int, f"{row + 1:08b}")] for row in range(30)]
    [deal] = deals(made_examples(targets), np.arange(300), [20, 240], 1, seed=0)
    assert np.isin(deal.training[0], rare).mean() < 0.3


@pytest.mark.slow
def test_a_class_of_one_group_is_measured_without_it(tmp_path: Path) -> None:
    x, y = clouds(240, 3, 24, 3.0)
    groups = ["one" if label == 2 else f"row {row}" for row, label in enumerate(y)]
    features = replace(made_features(tmp_path, x, made_examples(y, groups=groups)),
                       backbone=tl.load_backbone("tiny_net", "none"))
    curve = tl.learning_curve(features, repeats=1)
    assert {one.name: one.recall for one in curve.classes}.get("class 2", 0.0) == 0.0 and curve.measured


@pytest.mark.parametrize("truth", [0.05 + 0.9 * (SIZES + 20) ** -0.5, 0.5 - 0.45 / (1 + (90 / SIZES) ** 1.2)])
def test_a_fit_finds_the_curve_that_it_was_made_from(truth: NDArray) -> None:
    """Each family fits its own curve and extrapolates it; a curve never rises, and never falls below 0."""
    weight, at = np.full(len(SIZES), 1 / len(SIZES)), np.array([1120.0, 2240.0])
    predicted = [fitted(shapes, SIZES, truth[None], weight, at)[0] for shapes in families(SIZES)]
    true = [0.05 + 0.9 * (at + 20) ** -0.5, 0.5 - 0.45 / (1 + (90 / at) ** 1.2)]
    assert min(np.abs(one - other).max() for one in predicted for other in true) < 0.01
    for shapes in families(SIZES):
        for errors in (truth[None], truth[None, ::-1], np.zeros((1, 7)), (truth - truth.min())[None]):
            curve = fitted(shapes, SIZES, errors, weight, np.geomspace(30, 5000, 20))[0]
            assert (np.diff(curve) <= 1e-12).all() and curve.min() >= 0


def test_the_hidden_size_is_hidden() -> None:
    truth = 0.05 + 0.9 * (SIZES + 20) ** -0.5
    errors = replicates(truth)
    checked = check(SIZES, errors)
    assert abs(checked.predicted - truth[-1]) < 3 * checked.standard_error < 0.1
    moved = errors.copy()
    moved[:, -1] += 0.1
    assert check(SIZES, moved).predicted == pytest.approx(checked.predicted, abs=0.02)


def test_intervals_hold_the_truth_and_the_rows_that_are_needed() -> None:
    """Over 40 noisy curves from one law, the error rate at twice the rows and the rows for a target."""
    at = np.geomspace(700, 2800, 81)

    def law(n: NDArray) -> NDArray:
        return 0.04 + 0.9 * (n + 20) ** -0.5

    held, reached = 0, 0
    for seed in range(40):
        errors = replicates(law(SIZES), seed=seed)
        extrapolation = extrapolate(SIZES, errors, check(SIZES, errors).shares, at)
        low, high = extrapolation.interval(40)
        held += low <= law(at[40:41])[0] <= high
        first, last = rows_until(extrapolation, float(law(np.array([1200.0]))[0]))
        reached += first <= 1250 and last >= 1150
    assert held >= 28 and reached >= 28


@pytest.mark.slow
def test_a_curve_of_features_answers(tmp_path: Path) -> None:
    features = features_of(tmp_path)
    curve = tl.learning_curve(features, repeats=1)
    assert [size.rows for size in curve.measured] == sizes_of(400, 3)
    assert curve.fits == 5 and len(curve.fitted) == 7 and curve.hidden
    assert all(low <= size.accuracy <= high for size in curve.measured for low, high in [size.accuracy_ci80])
    assert curve.predicted[-1].rows == 1600 and curve.at(1) and curve.at(2) and curve.at(4)
    assert curve.measured[0].accuracy < curve.measured[-1].accuracy
    assert {one.name for one in curve.classes} == set(features.examples.classes)
    assert curve.sentence and "tiny_net" in curve.scope
    assert LearningCurve.from_dict(json.loads(json.dumps(curve.to_dict()))) == curve
    assert tl.learning_curve(features, repeats=1) == replace(curve, seconds=pytest.approx(0, abs=60))  # type: ignore
    page = str(learning_curve_section(curve))
    assert "<svg" in page and curve.measured[-1].rows == 320


@pytest.mark.slow
def test_a_target_that_is_reached_one_that_is_not_and_one_that_is_too_far(tmp_path: Path) -> None:
    features = features_of(tmp_path)
    now = tl.learning_curve(features, repeats=1).measured[-1].accuracy
    reached = tl.learning_curve(features, repeats=1, target_accuracy=now - 0.15)
    assert reached.more_rows == (0, 0) and "is reached with the present 400 images" in reached.sentence
    far = tl.learning_curve(features, repeats=1, target_accuracy=0.9999)
    assert far.more_rows is None or far.more_rows == (None, None)
    assert "0" not in far.sentence.split(" more")[0] or "More than 1,200" in far.sentence


@pytest.mark.slow
def test_what_cannot_be_said_has_its_reason(tmp_path: Path) -> None:
    few = tl.learning_curve(features_of(tmp_path / "few", 60, 3))
    assert "too few images: 60" in few.sentence and not few.measured
    x, y = clouds(600, 2, 2, 1.2)  # two dimensions, which few rows are enough for
    plane = replace(made_features(tmp_path / "flat", x, in_folds(made_examples(y))),
                    backbone=tl.load_backbone("tiny_net", "none"))
    flat = tl.learning_curve(plane, repeats=1)
    assert flat.more_rows is None and "flat within noise" in flat.sentence and flat.predicted
    assert "How many more labels" in str(learning_curve_section(few))


@pytest.mark.parametrize("arguments", [{"target_accuracy": 90}, {"target_accuracy": 1.0}, {"repeats": 0},
                                       {"target_accuracy": "0.9"}])
def test_arguments_that_cannot_be_used(tmp_path: Path, arguments: dict) -> None:
    with pytest.raises(tl.OptionError, match=next(iter(arguments))):
        tl.learning_curve(features_of(tmp_path, 100), **arguments)


@pytest.mark.slow
def test_several_labels_per_row(tmp_path: Path) -> None:
    x, y = clouds(400, 3, 24, 2.5)
    targets = np.eye(3, dtype=np.int64)[y] | np.eye(3, dtype=np.int64)[(np.arange(400) // 7) % 3]
    curve = tl.learning_curve(features_of(tmp_path, targets=targets), repeats=1)
    assert curve.measured and "all its labels" in curve.scope and len(curve.classes) == 3


@pytest.mark.slow
def test_maps_are_averaged(tmp_path: Path) -> None:
    x, y = clouds(300, 2, 24, 2.0)
    maps = np.stack([x - 1, x + 1], axis=1)[:, :, None]  # [n, 2, 1, 24], whose means are the rows
    features = replace(made_features(tmp_path, maps, in_folds(made_examples(y))),
                       backbone=tl.load_backbone("tiny_net", "none"))
    curve, pooled = tl.learning_curve(features, repeats=1), tl.learning_curve(features_of(tmp_path, 300, 2), repeats=1)
    assert "averaged over places" in curve.scope
    assert [size.accuracy for size in curve.measured] == pytest.approx(
        [size.accuracy for size in pooled.measured], abs=0.02)


@pytest.mark.slow
def test_test_rows_of_a_hold_out_are_not_used(tmp_path: Path) -> None:
    """Their labels and features may be anything."""
    x, y = clouds(400, 3, 24, 2.0)
    split = held_out(400)
    backbone = tl.load_backbone("tiny_net", "none")
    spoilt_x, spoilt_y = x.copy(), y.copy()
    spoilt_x[split.part == TEST] = 1e6
    spoilt_y[split.part == TEST] = 0
    curves = [tl.learning_curve(replace(made_features(folder, rows, made_examples(targets, split=split)),
                                        backbone=backbone), repeats=1)
              for folder, rows, targets in ((tmp_path / "a", x, y), (tmp_path / "b", spoilt_x, spoilt_y))]
    assert curves[0].rows == int((split.part != TEST).sum())
    assert curves[0].measured == curves[1].measured


def test_each_head_measures_rows_that_it_has_not_seen(tmp_path: Path) -> None:
    """With labels at random, heads that had seen the rows would know them: 24 features of 40 rows."""
    generator = np.random.default_rng(0)
    features = features_of(tmp_path, 200, targets=generator.integers(0, 2, 200))
    measured = measure(features, np.arange(200), [40, 160], 5, DEFAULTS)
    assert measured.correct.mean() == pytest.approx(0.5, abs=0.12)
    errors, missed = measured.replicates(50, 2)
    assert errors[0] == pytest.approx(1 - measured.correct.mean(axis=(1, 2)))
    assert errors[1:].std(axis=0) == pytest.approx(np.sqrt(2 * 0.25 / 200), rel=0.6)
    assert missed.shape == (2, 51, 2)


def test_groups_widen_the_intervals(tmp_path: Path) -> None:
    """The same rows, each four times in its group, are no more evidence."""
    x, y = clouds(100, 2, 24, 1.5)
    four = np.repeat(np.arange(100), 4)
    backbone = tl.load_backbone("tiny_net", "none")
    widths = []
    for folder, groups in (("grouped", [f"{row}" for row in four]), ("alone", [f"{i}" for i in range(400)])):
        examples = in_folds(made_examples(y[four], groups=groups))
        features = replace(made_features(tmp_path / folder, x[four], examples), backbone=backbone)
        errors, _ = measure(features, np.arange(400), [320], 5, DEFAULTS).replicates(200, 2)
        widths.append(float(errors[1:, 0].std()))
    assert widths[0] > 1.3 * widths[1]


@pytest.mark.slow
def test_a_run_says_what_its_curve_stands_for_and_when_it_is_too_large(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    features = features_of(tmp_path, 300, 2)
    fitted_head = tl.fit(features, "prototype")
    trained = tl.TrainedModel(None, fitted_head, None)
    curve = learning_curve_of_run(features, trained)
    assert "exported head is prototype" in curve.exported and curve.fits == 5
    monkeypatch.setattr("kerastl.studies.learning_curve.of_run.CHEAP", 1000)
    assert "`kerastl curve`" in learning_curve_of_run(features, trained).sentence


@pytest.mark.slow
def test_the_verb_prints_and_writes_a_page(shell: Callable, tmp_path: Path) -> None:
    page, source = tmp_path / "curve.html", draw_folder(tmp_path / "drawn", 50)
    code, out, err = shell("curve", source, "--backbone", "tiny_net", "--weights", "none", "--html", page,
                           "--cache-dir", tmp_path, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["reason"] or found["more_rows"]
    assert str(found["rows"]) in page.read_text() and "How many more labels" in page.read_text()
    code, _, err = shell("curve", source, "--target-accuracy", "95")
    assert code == 2 and "--target-accuracy" in err
    code, out, _ = shell("curve", source, "--backbone", "tiny_net", "--weights", "none", "--cache-dir", tmp_path)
    assert code == 0 and "accuracy, measured" in out and "all predictions are correct" in out  # colours are easy


@pytest.mark.slow
def test_without_errors_nothing_is_extrapolated_and_the_interval_is_that_of_none(tmp_path: Path) -> None:
    features = features_of(tmp_path, 200, 2, 30.0)
    curve = tl.learning_curve(features, repeats=1)
    low, high = curve.measured[-1].accuracy_ci80
    assert high == 1 and low == pytest.approx(0.1 ** (1 / 200)) and not curve.predicted and not curve.twice
    assert "all predictions are correct, so that there are no errors to extrapolate" in curve.sentence
    reached = tl.learning_curve(features, repeats=1, target_accuracy=0.9).sentence
    assert "is reached with the present 200 images" in reached
    assert tl.learning_curve(features, repeats=1, target_accuracy=0.995).sentence.startswith("Cannot say")
    assert "<svg" in str(learning_curve_section(curve))


def test_a_class_gains_with_a_caution_where_all_together_do_not() -> None:
    one = ClassCurve("a", 50, 0.8, 0.04, (0.03, 0.06))
    flat = LearningCurve(rows=100, classes=(one,), reason="the curve is flat within noise")
    assert flat.class_sentence.endswith("other classes may lose as much.")
    assert "lose" not in replace(flat, reason="", more_rows=(10, 20)).class_sentence


def test_a_target_is_printed_as_it_was_requested() -> None:
    for target, text in ((0.9, "0.900"), (0.9995, "0.9995"), (0.999999, "0.999999")):
        assert LearningCurve(target_accuracy=target, target_requested=True).target == f"an accuracy of {text}"
