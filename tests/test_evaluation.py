"""Figures of a model: against scikit-learn, against hand-worked examples, in simulation, and at the extremes."""

import json
import math
import re
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import TEST, VALIDATION, Examples, Split
from kerastl.data.split import folds
from kerastl.decision import Calibration, Predictions, calibrated
from kerastl.errors import OptionError
from kerastl.evaluation.calibration import calibrate
from kerastl.evaluation.calibration_error import ece
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.evaluation.result import Evaluation
from kerastl.stats import wilson_interval
from kerastl.tasks import Task, task_named
from kerastl.tasks.multi_label import fit_thresholds

KINDS = pytest.mark.parametrize("several", [False, True], ids=["single", "several labels"])


def task(several: bool) -> Task:
    return task_named("multi_label" if several else "single_label")


def probabilities(z: np.ndarray, several: bool) -> np.ndarray:
    return task(several).probabilities(z)


def fit_temperature(z: np.ndarray, truth: np.ndarray, several: bool) -> float:
    return task(several).calibrations["temperature"](z, truth).temperature


def fold_calibrations(z: np.ndarray, examples: Examples) -> list[tuple[np.ndarray, Calibration]]:
    """The rows of each fold, and the calibration that the rows of the others choose."""
    rows = np.arange(len(z))
    parts = [examples.split.part == fold for fold in range(5)]
    return [(here, calibrate(examples, Predictions(rows[~here], z[~here]))) for here in parts]


def drawn(n: int, classes: int, several: bool, sharp: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and the targets drawn from what they claim; `sharp` times as sure as is right."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(n, classes)) * 2
    p = probabilities(z, several)
    if several:
        targets = (generator.uniform(size=p.shape) < p).astype(np.int64)
    else:
        targets = (p.cumsum(axis=1) < generator.uniform(size=(n, 1))).sum(axis=1).clip(0, classes - 1)
    return (z * sharp).astype(np.float32), targets


def exact_loss(z: np.ndarray, examples: Examples, rows: np.ndarray) -> float:
    y = examples.one_hot(rows).astype(np.float64)
    z = z.astype(np.float64)
    if not examples.task.exclusive:
        return float((np.logaddexp(0, z) - y * z).sum(axis=1).mean())
    return float((scipy.special.logsumexp(z, axis=1) - (y * z).sum(axis=1)).mean())


def judged_in_folds(z: np.ndarray, targets: np.ndarray, **more: object) -> tuple[Examples, Evaluation]:
    examples = in_folds(made_examples(targets, classes=[f"class {c}" for c in range(z.shape[1])]))
    return examples, tl.evaluate(examples, Predictions(np.arange(len(z)), z), **more)


# Against scikit-learn


@KINDS
def test_figures_are_scikit_learns(several: bool) -> None:
    z, targets = drawn(400, 5, several, sharp=0.7)
    examples, found = judged_in_folds(z, targets)
    p = probabilities(z.astype(np.float64), several)
    said = p.argmax(axis=1)
    if several:
        said = np.zeros_like(targets)
        for here, fitted in fold_calibrations(z, examples):
            said[here] = probabilities(calibrated(z[here], fitted), True) >= fitted.thresholds
    assert 0.2 < found.accuracy < 0.9 and found.n == 400
    assert found.accuracy == pytest.approx(metrics.accuracy_score(targets, said))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(targets, said, average="macro"))
    each = metrics.precision_recall_fscore_support(targets, said)
    for place, one in enumerate(found.classes):
        assert one.name == f"class {place}"
        assert (one.precision, one.recall, one.f1, one.support) == pytest.approx(tuple(part[place] for part in each))
    if several:
        assert found.confusion == ()
        assert found.log_loss == pytest.approx(sum(metrics.log_loss(targets[:, c], p[:, c]) for c in range(5)))
    else:
        assert np.array_equal(found.confusion, metrics.confusion_matrix(targets, said))
        assert found.log_loss == pytest.approx(metrics.log_loss(targets, p))


def test_only_judged_rows_count() -> None:
    z, targets = drawn(200, 3, False)
    examples = made_examples(targets, split=held_out(200))
    test = examples.split.rows(TEST)
    chosen = Predictions(examples.split.rows(VALIDATION), z[examples.split.rows(VALIDATION)])
    found = tl.evaluate(examples, Predictions(test, z[test]), chosen)
    assert found.n == len(test) == sum(one.support for one in found.classes) == np.sum(found.confusion) == 40
    assert found.accuracy == pytest.approx((z[test].argmax(axis=1) == targets[test]).mean())
    assert {one.row for one in found.mistakes} <= set(test.tolist())
    assert found.mistakes and all((one.origin, one.actual) == (f"row {one.row}", f"class {targets[one.row]}")
                                  for one in found.mistakes)


def test_a_class_absent_from_the_judged_rows_counts_for_nothing() -> None:
    z, targets = drawn(100, 4, False)
    kept = np.flatnonzero(targets != 2)
    examples = made_examples(targets[kept], classes=[f"class {c}" for c in range(4)])
    found = evaluate_probabilities(examples, probabilities(z[kept].astype(np.float64), False).astype(np.float32))
    assert (z[kept].argmax(axis=1) == 2).any()  # though it is predicted
    assert len(found.classes) == 4 and found.classes[2].support == 0 and found.classes[2].recall == 0
    assert sum(found.confusion[2]) == 0 and sum(line[2] for line in found.confusion) > 0
    said = z[kept].argmax(axis=1)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(targets[kept], said, labels=[0, 1, 3], average="macro"))


@KINDS
def test_the_interval_of_an_evaluation_is_that_of_the_held_out_rows_in_their_groups(several: bool) -> None:
    z, targets = drawn(400, 3, several)
    hit = ((z >= 0) == targets).all(axis=1) if several else z.argmax(axis=1) == targets
    groups = [str(place // 10) for place in hit.argsort(kind="stable").argsort()]  # correct or not together
    examples = made_examples(targets, groups=groups, split=held_out(400, test=0.3))
    test, validation = examples.split.held_out, examples.split.rows(VALIDATION)
    result = tl.evaluate(examples, Predictions(test, z[test]), Predictions(validation, z[validation]))
    expected = wilson_interval(np.array(result.correct), [groups[row] for row in test])
    assert result.accuracy_ci95 == expected.ends
    assert result.interval == expected.method and "groups" in expected.method
    alone = wilson_interval(np.array(result.correct), range(len(test)))
    assert expected.high - expected.low > 1.1 * (alone.high - alone.low)


# Calibration


def test_calibration_error_by_hand() -> None:
    """Two in the bin from 7/15 (confidence 0.51, half right), one from 13/15 (0.9, right), two in the last (0.975)."""
    confidence, right = np.array([0.5, 0.52, 0.9, 0.95, 1.0]), np.array([1.0, 0, 1, 1, 0])
    assert ece(confidence, right) == pytest.approx((2 * 0.01 + 1 * 0.1 + 2 * 0.475) / 5)
    assert ece(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0 and ece(np.array([1.0]), np.array([0.0])) == 1


@pytest.mark.slow
@KINDS
def test_calibration_error_tells_honest_answers_from_sure_ones(several: bool) -> None:
    honest, sure = (judged_in_folds(*drawn(3000, 4, several, sharp))[1] for sharp in (1.0, 3.0))
    assert honest.ece < 0.03 and sure.ece > 0.08 and sure.ece_calibrated < 0.03
    assert honest.calibration.temperature == 1 and honest.calibration_choice.chosen == "none"
    assert sure.calibration_choice.chosen == "temperature"
    assert sure.calibration.temperature == pytest.approx(3, abs=0.3)
    for found in (honest, sure):
        bins = found.reliability
        assert sum(one.n for one in bins) == 3000 * (4 if several else 1)
        assert all(one.low - 1e-9 <= one.confidence <= one.high + 1e-9 for one in bins)
        gap = sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / sum(one.n for one in bins)
        assert found.ece_calibrated == pytest.approx(gap)


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("sharp", [0.3, 1.0, 6.0])
def test_a_temperature_is_where_the_loss_is_least_and_changes_no_answer(several: bool, sharp: float) -> None:
    z, targets = drawn(2000, 3, several, sharp)
    examples, rows = made_examples(targets), np.arange(2000)
    t = fit_temperature(z, examples.one_hot(rows), several)
    tried = [exact_loss(z / s, examples, rows) for s in np.geomspace(0.05, 20, 200)]
    assert exact_loss(z / t, examples, rows) < min(tried) + 1e-3 and max(tried) > min(tried) + 0.05
    assert t == pytest.approx(sharp, rel=0.1)
    plain, scaled = probabilities(z.astype(np.float64), several), probabilities(z / t, several)
    assert np.array_equal(plain.argmax(axis=1), scaled.argmax(axis=1))
    assert np.array_equal(plain >= 0.5, scaled >= 0.5) or not several


@KINDS
def test_a_few_rows_that_are_all_right_do_not_make_it_certain(several: bool) -> None:
    found = {}
    for n in (12, 1200):
        targets = np.arange(n) % 3
        z = (np.eye(3)[targets] * 3).astype(np.float32) - (1.5 if several else 0)
        examples = made_examples(np.eye(3)[targets] if several else targets)
        found[n] = fit_temperature(z, examples.one_hot(np.arange(n)), several)
    assert 1 > found[12] > 1.5 * found[1200] and found[12] > 0.3


@KINDS
def test_one_very_sure_mistake_is_not_lost_in_fitting_the_temperature(several: bool) -> None:
    z = np.tile([1.0, 0.0], (101, 1)) if not several else np.full((101, 2), 1.0)
    z[0] = [-60, 0] if not several else [-60, 1]
    examples = made_examples(np.zeros(101, int) if not several else np.ones((101, 2), int), classes="ab")
    t = fit_temperature(z, examples.one_hot(np.arange(101)), several)
    assert t > 1.1
    assert exact_loss(z / t, examples, np.arange(101)) < exact_loss(z, examples, np.arange(101))


def test_each_fold_has_a_calibration_that_the_others_chose_and_fitted() -> None:
    z, targets = drawn(250, 3, False, 4.0)
    examples = in_folds(made_examples(targets))
    z[examples.split.part == 2] *= 5  # so that it matters whether a fold's own rows took part
    found = tl.evaluate(examples, Predictions(np.arange(250), z))
    scaled = z.astype(np.float64)
    own = scaled.copy()
    for here, fitted in fold_calibrations(z, examples):
        scaled[here] = calibrated(scaled[here], fitted)
        own[here] /= fit_temperature(z[here], examples.one_hot(np.flatnonzero(here)), False)
    rows = np.arange(250)
    assert found.calibration_choice.chosen == "temperature" and len(found.calibration_choice.of_folds) == 5
    assert found.log_loss_calibrated == pytest.approx(exact_loss(scaled, examples, rows), rel=1e-6)
    assert exact_loss(own, examples, rows) < found.log_loss_calibrated - 0.05
    assert found.calibration.temperature == pytest.approx(fit_temperature(z, examples.one_hot(rows), False))


def test_validation_rows_alone_fit_the_temperature_of_a_hold_out() -> None:
    z, targets = drawn(500, 3, False, 4.0)
    examples = made_examples(targets, split=held_out(500, validation=0.4, test=0.4))
    validation, test = examples.split.rows(VALIDATION), examples.split.rows(TEST)
    chosen = Predictions(validation, z[validation])
    found = tl.evaluate(examples, Predictions(test, z[test]), chosen)
    temperature = found.calibration.temperature
    assert temperature == fit_temperature(z[validation], examples.one_hot(validation), False)
    assert found.calibration.bias == () and found.calibration_choice.rows == len(validation)
    assert tl.evaluate(examples, Predictions(test, -z[test]), chosen).calibration.temperature == temperature
    assert found.log_loss_calibrated == pytest.approx(exact_loss(z[test] / temperature, examples, test), rel=1e-6)
    assert found.log_loss_calibrated < found.log_loss
    folds = replace(examples, split=in_folds(made_examples(targets)).split)  # also where there are folds
    assert tl.evaluate(folds, Predictions(test, z[test]), chosen).log_loss_calibrated == found.log_loss_calibrated


@KINDS
def test_probabilities_of_an_exported_model_are_judged_as_they_are(several: bool) -> None:
    z, targets = drawn(300, 4, several, 1.5)
    examples = made_examples(targets)
    found = evaluate_probabilities(examples, probabilities(z.astype(np.float64), several).astype(np.float32))
    _, wanted = judged_in_folds(z, targets)
    assert found.calibration.temperature == 1 and found.log_loss == found.log_loss_calibrated
    said = (z >= 0).astype(int) if several else z.argmax(axis=1)  # of several labels, those over a half
    assert found.accuracy == pytest.approx(metrics.accuracy_score(targets, said))
    assert several or np.array_equal(found.confusion, metrics.confusion_matrix(targets, said))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(targets, said, average="macro"))
    assert found.log_loss == pytest.approx(wanted.log_loss, rel=1e-4)
    assert found.ece == pytest.approx(wanted.ece, abs=1e-4)
    sure = evaluate_probabilities(examples, np.eye(4, dtype=np.float32)[np.arange(300) % 4])  # zeros and ones
    assert math.isfinite(sure.log_loss) and sure.log_loss > 5


def best_f1(p: np.ndarray, truth: np.ndarray) -> float:
    return max(metrics.f1_score(truth, p >= at, zero_division=0) for at in [0, *np.unique(p), 2])


def test_a_threshold_has_the_best_f1_of_all() -> None:
    generator = np.random.default_rng(0)
    for n in (10, 30, 200):
        p = generator.integers(0, 20, (n, 3)) / 20  # many are equal
        truth = (generator.uniform(size=(n, 3)) < 0.3 + p / 2).astype(int)
        truth[:10] = 1
        for c, at in enumerate(fit_thresholds(p, truth)):
            given = metrics.f1_score(truth[:, c], p[:, c] >= at)
            assert given == pytest.approx(best_f1(p[:, c], truth[:, c]))


def test_a_threshold_lies_halfway_between_two_probabilities() -> None:
    p = np.repeat([[0.9], [0.8], [0.4], [0.1]], 10, axis=0)
    assert fit_thresholds(p, (p > 0.5).astype(int)) == pytest.approx((0.6,))
    assert fit_thresholds(p, np.ones((40, 1), int)) == pytest.approx((0.05,))


def test_the_threshold_of_a_rare_label_is_low_and_of_a_class_of_few_rows_a_half() -> None:
    generator = np.random.default_rng(1)
    score = generator.normal(-3, 1.5, (3000, 2))
    p = probabilities(score, True)
    truth = (generator.uniform(size=p.shape) < p).astype(int)
    truth[:, 1] = 0
    truth[:9, 1] = 1
    rare, few = fit_thresholds(p, truth)
    assert 0.1 < rare < 0.45 and few == 0.5


def test_a_probability_that_just_reaches_its_threshold_is_enough() -> None:
    p = np.tile(np.array([[0.5, 0.02]], np.float32), (9, 1))
    found = evaluate_probabilities(made_examples(np.tile([[1, 0]], (9, 1))), p)
    assert found.calibration.thresholds == (0.5, 0.5) and found.accuracy == 1
    z = np.tile(np.array([[0.0, -4.0]], np.float32), (9, 1))  # too few rows for another threshold than a half
    assert judged_in_folds(z, np.tile([[1, 0]], (9, 1)))[1].calibration.thresholds == (0.5, 0.5)


def test_probabilities_of_an_exported_model_are_evaluated_with_its_thresholds() -> None:
    z, targets = drawn(300, 3, True)
    p, thresholds = probabilities(z.astype(np.float64), True).astype(np.float32), (0.2, 0.5, 0.9)
    found = evaluate_probabilities(made_examples(targets), p, thresholds)
    predicted = p >= np.array(thresholds)
    assert found.accuracy == metrics.accuracy_score(targets, predicted) != metrics.accuracy_score(targets, p >= 0.5)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(targets, predicted, average="macro"))


def test_thresholds_come_from_validation_rows_alone() -> None:
    z, targets = drawn(400, 3, True)
    examples = made_examples(targets, split=held_out(400))
    test, validation = examples.split.rows(TEST), examples.split.rows(VALIDATION)
    chosen = Predictions(validation, z[validation])
    found = tl.evaluate(examples, Predictions(test, z[test]), chosen)
    assert found.calibration == calibrate(examples, chosen)
    assert tl.evaluate(examples, Predictions(test, -z[test]), chosen).calibration == found.calibration


# Mistakes and extremes


def test_worst_mistakes_come_first_and_are_mistakes() -> None:
    z, targets = drawn(200, 3, False)
    examples, found = judged_in_folds(z, targets, worst=10)
    wrong = {row for row in range(200) if z[row].argmax() != targets[row]}
    assert len(wrong) > 20 and len(found.mistakes) == 10
    sure = [one.probability for one in found.mistakes]
    assert sure == sorted(sure, reverse=True)
    for one in found.mistakes:
        assert one.row in wrong and one.origin == f"row {one.row}"
        assert (one.actual, one.predicted) == (f"class {targets[one.row]}", f"class {z[one.row].argmax()}")
    everything = judged_in_folds(z, targets, worst=999)[1].mistakes
    assert {one.row for one in everything} == wrong and everything[:10] == found.mistakes


def test_mistakes_with_several_labels_name_whole_sets() -> None:
    z = np.array([[9, 9], [-9, -9], [9, -9], [1, -1]], np.float32)
    examples = replace(made_examples(np.array([[1, 1], [1, 1], [0, 0], [0, 1]]), classes="ab"))
    found = evaluate_probabilities(examples, probabilities(z.astype(np.float64), True).astype(np.float32))
    assert found.accuracy == 0.25
    assert {(one.row, one.actual, one.predicted) for one in found.mistakes} == {
        (1, "a|b", "(none)"), (2, "(none)", "a"), (3, "b", "a")}
    assert found.mistakes[-1].row == 3
    assert found.mistakes[-1].probability == pytest.approx(scipy.special.expit(1), abs=1e-3)


@KINDS
@pytest.mark.parametrize("right", [True, False], ids=["perfect", "all wrong"])
def test_the_extremes(several: bool, right: bool) -> None:
    targets = np.arange(60) % 3
    z = (np.eye(3)[targets] * 8 - 4) * (1 if right else -1)
    _, found = judged_in_folds(z.astype(np.float32), np.eye(3, dtype=int)[targets] if several else targets)
    assert found.accuracy == float(right)
    # where every score is wrong, giving all labels has the best F1 there is: a third is right, and none is missed
    assert found.macro_f1 == pytest.approx(0.5 if several and not right else float(right))
    low, high = found.accuracy_ci95
    assert (high == 1 and 0.9 < low < 1) if right else (low == 0 and 0 < high < 0.1)
    assert found.calibration.temperature < 1 if right else found.calibration.temperature > 4
    assert len(found.mistakes) == (0 if right else 24)
    assert found.log_loss_calibrated < found.log_loss
    assert found.ece < 0.05 if right else found.ece > 0.4


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=120)
@given(st.data())
def test_any_logits_give_finite_figures_in_range(data: st.DataObject) -> None:
    n, classes = data.draw(st.integers(1, 25)), data.draw(st.integers(2, 5))
    several, cv = data.draw(st.booleans()), data.draw(st.booleans())
    shape, highest = ((n, classes), 1) if several else (n, classes - 1)
    targets = data.draw(arrays(np.int64, shape, elements=st.integers(0, highest)))
    z = data.draw(arrays(np.float32, (n, classes), elements=st.floats(-1e4, 1e4, width=32)))
    groups = data.draw(st.none() | st.lists(st.sampled_from("abcdef"), min_size=n, max_size=n))
    examples = made_examples(targets, groups=groups, classes=[f"c{i}" for i in range(classes)])
    examples = replace(examples, split=Split("cv", "a test's own", folds(examples, 5))) if cv else examples
    answers = Predictions(np.arange(n), z)
    found = tl.evaluate(examples, answers, None if cv else answers)
    for value in (found.accuracy, found.macro_f1, found.ece, found.ece_calibrated, *found.accuracy_ci95,
                  *(x for one in found.classes for x in (one.precision, one.recall, one.f1)),
                  *(x for one in found.reliability for x in (one.confidence, one.accuracy)),
                  *(one.probability for one in found.mistakes)):
        assert 0 <= value <= 1
    low, high = found.accuracy_ci95
    assert low <= found.accuracy <= high and low < high
    assert 0.05 * 0.99 <= found.calibration.temperature <= 20 * 1.01
    assert found.log_loss >= 0 and found.log_loss_calibrated >= 0
    assert found.n == n and sum(one.n for one in found.reliability) == n * (classes if several else 1)
    scaled = calibrated(z.astype(np.float64), found.calibration)
    before, after = (exact_loss(logits, examples, np.arange(n)) for logits in (z, scaled))
    assert after <= before * 1.001 + 1e-6
    losses = {trial.name: trial.log_loss for trial in found.calibration_choice.trials}
    assert losses == {} or losses[found.calibration_choice.chosen] <= losses["none"]
    for (low, high), value in ((found.ece_ci95, found.ece), (found.ece_calibrated_ci95, found.ece_calibrated)):
        assert 0 <= low <= value <= high <= 1
    for value, ends in ((found.roc_auc, found.roc_auc_ci95), (found.balanced_accuracy, found.balanced_accuracy_ci95),
                        (found.average_precision, found.average_precision_ci95)):
        assert value is None or 0 <= ends[0] <= value <= ends[1] <= 1
    json.dumps(found.to_dict(), allow_nan=False)


# What an evaluation offers


def fitted(validation: Predictions | None, held: Predictions) -> SimpleNamespace:
    return SimpleNamespace(held_out=held, validation=validation)


def test_a_fitted_head_is_evaluated_as_its_predictions_are() -> None:
    z, targets = drawn(300, 3, False, 4.0)
    examples = made_examples(targets, split=held_out(300))
    test, validation = (Predictions(rows, z[rows]) for rows in map(examples.split.rows, (TEST, VALIDATION)))
    found = tl.evaluate(examples, fitted(validation, test))
    assert found.to_dict() == tl.evaluate(examples, test, validation).to_dict()
    assert found.calibration != tl.evaluate(examples, test).calibration
    everything = Predictions(np.arange(300), z)
    assert tl.evaluate(in_folds(examples), fitted(None, everything)).n == 300


def test_an_evaluation_remembers_the_predictions_it_was_computed_from() -> None:
    z, targets = drawn(100, 3, False)
    _, found = judged_in_folds(z, targets)
    assert found.predictions_id == Predictions(np.arange(100), z).id
    other = z.copy()
    other[7, 1] += 1e-6
    ids = {Predictions(rows, logits).id for rows, logits in (
        (np.arange(100), z), (np.arange(100), other), (np.arange(1, 101), z), (np.arange(100), z[::-1]))}
    assert len(ids) == 4


@KINDS
def test_held_out_predictions_come_as_a_table(several: bool) -> None:
    z, targets = drawn(200, 3, several)
    examples, found = judged_in_folds(z, targets)
    table = found.predictions()
    assert list(table) == ["id", "origin", "label", "predicted", "probability"]
    assert table["id"] == list(examples.ids) and table["origin"][3] == "row 3"
    assert table["label"] == [examples.label_of(row) for row in range(200)]
    assert [a == b for a, b in zip(table["label"], table["predicted"], strict=True)] == list(found.correct)
    assert 0 < min(table["probability"]) and max(table["probability"]) <= 1
    if several:
        assert table["predicted"][0] == "|".join(
            name for name, held in zip(examples.classes, found.held_out.predicted[0], strict=True) if held)
    else:
        confidence = np.array(table["probability"])
        assert confidence.min() > 1 / 3 and confidence.mean() == pytest.approx(found.accuracy, abs=0.07)
        worst = found.mistakes[0]
        assert table["probability"][worst.row] == pytest.approx(worst.probability)


def test_the_table_of_a_hold_out_is_of_its_test_rows() -> None:
    z, targets = drawn(100, 3, False)
    examples = made_examples(targets, split=held_out(100))
    test = examples.split.rows(TEST)
    found = tl.evaluate(examples, Predictions(test, z[test]))
    table = found.predictions()
    assert table["origin"] == [f"row {row}" for row in test] and table["id"] == [examples.ids[row] for row in test]
    assert table["label"] == [f"class {targets[row]}" for row in test]


def test_confusions_are_an_array_with_class_names() -> None:
    z, targets = drawn(400, 4, False)
    _, found = judged_in_folds(z, targets)
    matrix = found.confusion_matrix
    assert matrix.shape == (4, 4) and matrix.sum() == 400
    assert matrix.tolist() == [list(line) for line in found.confusion]
    assert matrix[1, 2] == ((targets == 1) & (z.argmax(axis=1) == 2)).sum() != matrix[2, 1]
    assert found.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert judged_in_folds(*drawn(100, 3, True))[1].confusion_matrix.shape == (0, 0)


def test_frames_need_pandas_and_say_so() -> None:
    _, found = judged_in_folds(*drawn(100, 3, False))
    if find_spec("pandas"):
        assert found.to_frame().loc["class 1", "class 2"] == found.confusion[1][2]
        assert found.predictions_frame().shape == (100, 5)
        return
    for frame, instead in ((found.to_frame, "confusion_matrix"), (found.predictions_frame, r"predictions\(\)")):
        with pytest.raises(OptionError, match=rf"pandas is not installed(.|\n)*pip install pandas, or use .*{instead}"):
            frame()


def test_reprs_are_short() -> None:
    z, targets = drawn(100, 3, False)
    _, found = judged_in_folds(z, targets)
    assert re.fullmatch(r"Evaluation\(100 held-out rows, accuracy 0\.\d{3} \(95% CI 0\.\d{3} to 0\.\d{3}\), "
                        r"calibration error 0\.\d{3}\)", repr(found))
    assert repr(Predictions(np.arange(100), z)) == "Predictions(100 rows x 3 classes)"


def test_the_record_has_the_keys_that_it_always_had() -> None:
    record = judged_in_folds(*drawn(100, 3, False))[1].to_dict()
    assert list(record) == [
        "n", "accuracy", "accuracy_ci95", "interval", "macro_f1", "log_loss", "log_loss_calibrated", "ece",
        "ece_calibrated", "calibration", "classes", "confusion", "reliability", "mistakes", "ece_ci95",
        "ece_calibrated_ci95", "ece_by_chance", "calibration_choice", "balanced_accuracy", "balanced_accuracy_ci95",
        "roc_auc", "roc_auc_ci95", "average_precision", "average_precision_ci95", "target"]
    assert list(record["mistakes"][0]) == ["row", "origin", "true", "given", "probability"]
    assert list(record["calibration"]) == ["temperature", "thresholds", "bias"]
    assert list(record["classes"][0]) == ["name", "precision", "recall", "f1", "support", "roc_auc", "roc_auc_ci95",
                                          "average_precision", "average_precision_ci95", "precision_ci95",
                                          "recall_ci95"]
