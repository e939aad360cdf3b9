"""Calibrations that mean what they say, metrics with their intervals against scikit-learn, and thresholds for a
target."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import TEST, VALIDATION, Examples
from kerastl.decision import Calibration, Predictions, calibrated
from kerastl.errors import OptionError
from kerastl.evaluation.calibration import calibrate
from kerastl.evaluation.calibration_error import calibration_error
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.evaluation.ranking import average_precision, roc_auc
from kerastl.evaluation.result import Evaluation
from kerastl.evaluation.targets import DecisionTarget
from kerastl.export.served import served_outputs
from kerastl.report.calibration import calibration_chosen, ece_in_words
from kerastl.shell.recipes import recipes
from kerastl.tasks import task_named

RATIO = 12
ALONE = np.arange(10_000)


def weighted(n: int, classes: int = 2, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """Rows of which the first class has 12 times as many as each other, and held-out logits of a classifier whose
    classes were weighted evenly: its probabilities claim that the rare classes are frequent."""
    generator = np.random.default_rng(seed)
    share = np.array([RATIO] + [1] * (classes - 1)) / (RATIO + classes - 1)
    y = generator.choice(classes, n, p=share)
    x = generator.normal(size=(classes, 8))[y] + 1.5 * generator.normal(size=(n, 8))
    examples = in_folds(made_examples(y, classes=[f"class {c}" for c in range(classes)]))
    z = np.zeros((n, classes), np.float32)
    for fold in range(5):
        here = examples.split.part == fold
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(x[~here], y[~here])
        z[here] = np.log(model.predict_proba(x[here]).clip(1e-12))
    return examples, z


def evaluated(examples: Examples, z: np.ndarray, **more: object) -> Evaluation:
    return tl.evaluate(examples, Predictions(np.arange(len(z)), z), **more)


def several(n: int, shift: float, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """Rows with several labels drawn from their probabilities, and logits that are off by a shift for each label."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-1, 2, size=(n, 3))
    targets = (generator.random(z.shape) < task_named("multi_label").probabilities(z)).astype(int)
    return in_folds(made_examples(targets, classes="abc")), (z + shift * np.array([1, -1, 0])).astype(np.float32)


# Calibration


@pytest.mark.slow
@pytest.mark.parametrize(("n", "classes"), [(700, 2), (2000, 2), (1500, 5)])
def test_the_mean_probability_of_a_rare_class_is_its_share_though_classes_were_weighted(n: int, classes: int) -> None:
    examples, z = weighted(n, classes)
    share = examples.one_hot().mean(axis=0)
    before, result = examples.task.probabilities(z).mean(axis=0), evaluated(examples, z)
    after = examples.task.probabilities(result.held_out.logits).mean(axis=0)
    assert before[0] < share[0] - 0.1
    assert np.abs(after - share).max() < 0.01
    assert result.log_loss_calibrated < 0.75 * result.log_loss
    assert result.ece_calibrated <= max(0.03, result.ece_by_chance[1])
    shipped = examples.task.probabilities(z, result.calibration).mean(axis=0)
    assert np.abs(shipped - share).max() < 0.01 and len(result.calibration.bias) == classes
    temperature = examples.task.calibrations["temperature"](z, examples.one_hot())
    assert np.abs(examples.task.probabilities(z, temperature).mean(axis=0) - share).max() > 0.05  # cannot do it


@pytest.mark.slow
def test_the_shares_alone_are_corrected_where_a_class_has_too_few_rows_for_a_bias_of_its_own() -> None:
    result = evaluated(*weighted(1500, 5))
    assert result.calibration_choice.chosen == "temperature + class shares"
    assert set(result.calibration_choice.of_folds) == {"temperature + class shares"}


def test_a_bias_of_every_class_is_fitted_where_it_is_needed() -> None:
    generator = np.random.default_rng(1)
    z = generator.normal(size=(3000, 3)) * 2
    y = (examples_p(z).cumsum(axis=1) < generator.random((3000, 1))).sum(axis=1)
    result = evaluated(in_folds(made_examples(y)), (z + [1.5, 0, -1.5]).astype(np.float32))  # shares are about equal
    assert result.calibration_choice.chosen == "temperature + bias per class"
    assert np.array(result.calibration.bias) == pytest.approx(np.array([-1.5, 0, 1.5]), abs=0.25)


def examples_p(z: np.ndarray) -> np.ndarray:
    return task_named("single_label").probabilities(z)


def test_labels_of_a_row_with_several_have_a_bias_each() -> None:
    examples, z = several(2000, 1.2)
    result = evaluated(examples, z)
    assert result.calibration_choice.chosen == "temperature + bias per class"
    assert np.array(result.calibration.bias) == pytest.approx(np.array([-1.2, 1.2, 0]), abs=0.3)
    assert result.ece > 0.05 and result.ece_calibrated < 0.03
    assert evaluated(*several(2000, 0.0)).calibration_choice.chosen == "none"


def test_where_logits_are_right_already_nothing_is_changed() -> None:
    generator = np.random.default_rng(0)
    z = generator.normal(size=(800, 4)) * 2
    y = (examples_p(z).cumsum(axis=1) < generator.random((800, 1))).sum(axis=1)
    result = evaluated(in_folds(made_examples(y)), z.astype(np.float32))
    assert result.calibration == Calibration(1.0) and result.calibration_choice.chosen == "none"
    assert result.log_loss == result.log_loss_calibrated and result.ece == result.ece_calibrated
    assert result.ece_calibrated <= result.ece_by_chance[1] and "No miscalibration" in ece_in_words(result)
    assert "not worse than the best" in calibration_chosen(result.calibration_choice)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.integers(0, 999), st.integers(2, 4), st.integers(20, 120), st.floats(0.3, 3), st.floats(-2, 2), st.booleans())
def test_what_ships_is_never_worse_than_none(seed: int, classes: int, n: int, sharp: float, shift: float, many: bool
                                             ) -> None:
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(n, classes)) * 2
    targets = (generator.random(z.shape) < 0.5).astype(int) if many else np.argmax(
        z + generator.gumbel(size=z.shape), axis=1)
    examples = in_folds(made_examples(targets, classes="abcd"[:classes]))
    result = evaluated(examples, (z * sharp + shift * np.arange(classes)).astype(np.float32))
    losses = {trial.name: trial.log_loss for trial in result.calibration_choice.trials}
    assert losses[result.calibration_choice.chosen] <= losses["none"] == pytest.approx(result.log_loss, rel=1e-6)


@pytest.mark.slow
def test_the_choice_for_a_fold_does_not_see_its_rows() -> None:
    examples, z = weighted(700)
    here = examples.split.part == 3
    spoilt = z.copy()
    spoilt[here] = 50 * np.random.default_rng(0).normal(size=spoilt[here].shape)
    first, second = (evaluated(examples, logits) for logits in (z, spoilt))
    of_others = calibrate(examples, Predictions(np.flatnonzero(~here), z[~here]))
    expected = examples.task.probabilities(spoilt[here], of_others)
    assert np.allclose(examples.task.probabilities(second.held_out.logits[here]), expected)
    assert not np.allclose(first.held_out.logits[~here], second.held_out.logits[~here])


def test_a_single_cluster_can_choose_nothing() -> None:
    y = np.arange(30) % 2
    examples = made_examples(y, groups=["a"] * 30, split=held_out(30))
    rows = Predictions(np.arange(30), (10 * np.eye(2)[1 - y]).astype(np.float32))
    result = tl.evaluate(examples, rows, rows)
    assert result.calibration == Calibration(1.0) and result.calibration_choice.trials == ()
    assert "too few rows" in calibration_chosen(result.calibration_choice)


def ready(n: int, classes: int, seed: int) -> tuple[Examples, np.ndarray]:
    """Logits that are right already, of n validation rows and 500 others, in this order."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, n + 500)
    z = 1.5 * (np.eye(classes)[y] * 1.5 + generator.normal(size=(len(y), classes)))
    return made_examples(y, classes="abcdefgh"[:classes]), z.astype(np.float32)


@pytest.mark.parametrize(("n", "most"), [(5, 0.0), (9, 0.0), (12, 0.12), (25, 0.12)])
def test_few_validation_rows_do_not_calibrate_to_their_own_chances(n: int, most: float) -> None:
    losses = []
    for seed in range(12):
        examples, z = ready(n, 4, seed)
        calibration = calibrate(examples, Predictions(np.arange(n), z[:n]))
        assert calibration.bias == ()
        truth = examples.one_hot(np.arange(n, len(z)))
        losses.append(float((examples.task.log_loss(calibrated(z[n:].astype(float), calibration), truth)
                             - examples.task.log_loss(z[n:].astype(float), truth)).mean()))
    assert max(losses) <= most and np.mean(losses) <= most / 6


@pytest.mark.parametrize(("n", "classes", "left"), [
    (8, 2, ()), (25, 2, ("none", "temperature")), (60, 8, ("none", "temperature", "temperature + class shares"))])
def test_what_is_not_fitted_on_few_rows_is_said(n: int, classes: int, left: tuple[str, ...]) -> None:
    examples, z = ready(n, classes, 0)
    result = tl.evaluate(examples, Predictions(np.arange(n, len(z)), z[n:]), Predictions(np.arange(n), z[:n]))
    choice = result.calibration_choice
    assert tuple(trial.name for trial in choice.trials) == left and not choice.complete
    assert "too few rows" in choice.reason and "too few rows" in calibration_chosen(choice)


# Calibration error


def test_the_interval_of_an_error_covers_it_and_widens_with_clusters() -> None:
    generator = np.random.default_rng(0)
    p = generator.uniform(0.4, 1, 400)
    correct = (generator.random(400) < p - 0.1).astype(float)
    alone = calibration_error(p, correct, ALONE[:400])
    assert alone.ci95[0] > 0.03 and alone.ci95[0] < alone.ece < alone.ci95[1] < alone.ece + 0.08
    assert alone.by_chance[0] < alone.by_chance[1] < alone.ece  # a tenth too confident is more than chance
    copies = calibration_error(np.tile(p, 5), np.tile(correct, 5), np.tile(ALONE[:400], 5))
    assert copies.ece == pytest.approx(alone.ece)
    assert copies.ci95 == pytest.approx(alone.ci95) and copies.by_chance == pytest.approx(alone.by_chance)
    independent = calibration_error(np.tile(p, 5), np.tile(correct, 5), ALONE[:2000])
    assert independent.by_chance[0] < 0.6 * alone.by_chance[0]


@pytest.mark.slow
def test_the_error_of_a_calibrated_model_exceeds_that_by_chance_in_one_case_of_twenty() -> None:
    exceeds = []
    for seed in range(120):
        generator = np.random.default_rng(seed)
        p = generator.uniform(0.3, 1, 150)
        error = calibration_error(p, (generator.random(150) < p).astype(float), ALONE[:150])
        exceeds.append(error.ece > error.by_chance[1])
    assert 0.01 < np.mean(exceeds) < 0.12


# Metrics


@pytest.mark.slow
@pytest.mark.parametrize("levels", [0, 7], ids=["all different", "many equal"])
def test_ranking_is_scikit_learns_and_its_interval_that_of_a_bootstrap(levels: int) -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(500) < 0.2
    scores = generator.normal(size=500) + 1.2 * positive
    scores = np.digitize(scores, np.linspace(-2, 3, levels)) / levels if levels else scores
    cluster = np.repeat(np.arange(250), 2)
    for measure, theirs in ((roc_auc, metrics.roc_auc_score), (average_precision, metrics.average_precision_score)):
        statistic = measure(scores, positive, cluster)
        assert statistic.value == pytest.approx(theirs(positive, scores))
        assert statistic.influence.sum() == pytest.approx(0, abs=1e-9)
        drawn = []
        for _ in range(300):
            rows = (2 * generator.integers(0, 250, 250)[:, None] + [0, 1]).ravel()
            drawn.append(theirs(positive[rows], scores[rows]))
        low, high = statistic.interval(cluster).ends
        assert (high - low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.25)
        step = np.ones(500)
        step[7] += 1e-6  # the influence is the derivative by the weight of a row
        slope = (theirs(positive, scores, sample_weight=step) - theirs(positive, scores)) / 1e-6
        assert statistic.influence[7] == pytest.approx(slope, abs=1e-4)


def test_perfect_ranking_has_an_interval_that_does_not_vanish() -> None:
    positive = np.arange(60) < 10
    perfect = roc_auc(-np.arange(60.0), positive, ALONE[:60])
    low, high = perfect.interval(ALONE[:60]).ends
    assert perfect.value == high == 1 and 0.65 < low < 0.8  # 10 rows of the class
    assert roc_auc(np.zeros(3), np.array([True] * 3), ALONE[:3]) is None
    assert average_precision(np.zeros(3), np.array([False] * 3), ALONE[:3]) is None


@pytest.mark.parametrize("many", [False, True], ids=["single", "several labels"])
def test_the_metrics_of_an_evaluation_are_scikit_learns(many: bool) -> None:
    examples, z = several(600, 0.5) if many else weighted(600, 3)
    result = evaluated(examples, z)
    truth, p = examples.one_hot(), examples.task.probabilities(result.held_out.logits)
    assert result.roc_auc == pytest.approx(metrics.roc_auc_score(truth, p, average="macro"))
    assert result.average_precision == pytest.approx(metrics.average_precision_score(truth, p, average="macro"))
    each = metrics.average_precision_score(truth, p, average=None)
    assert [scores.average_precision for scores in result.classes] == pytest.approx(each.tolist())
    told = examples.task.one_hot(result.held_out.predicted, 3)
    balanced = np.mean([metrics.balanced_accuracy_score(truth[:, c], told[:, c]) for c in range(3)]) if many else \
        metrics.balanced_accuracy_score(examples.targets, result.held_out.predicted)
    assert result.balanced_accuracy == pytest.approx(balanced)
    assert result.balanced_accuracy_ci95[0] < balanced < result.balanced_accuracy_ci95[1]


def test_a_class_without_rows_has_no_ranking_and_is_named() -> None:
    from kerastl.report.calibration import unranked

    z = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    examples = in_folds(made_examples(np.arange(60) % 2, classes=["a", "b", "none"]))
    result = evaluated(examples, z)
    assert result.classes[2].roc_auc is None and result.roc_auc is not None
    assert "not defined for none:" in unranked(result)


# Targets


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "expected"), [
    ("precision=0.9", lambda e: e.target.classes[0].value > 0.8),
    ("recall=0.9", lambda e: 0.82 < e.target.classes[0].value < 0.97),
    ("recall=0.9@class 0", lambda e: e.target.classes[0].name == "class 0")])
def test_a_target_is_reached_on_rows_that_did_not_choose(asked: str, expected: object) -> None:
    examples, z = weighted(3000)
    result = evaluated(examples, z, target=asked)
    (reached,) = result.target.classes
    assert expected(result) and reached.value_ci95[0] < reached.value < reached.value_ci95[1]
    number = examples.classes.index(reached.name)
    told, true = np.asarray(result.held_out.predicted) == number, examples.targets == number
    assert reached.precision == pytest.approx(metrics.precision_score(true, told))
    assert reached.recall == pytest.approx(metrics.recall_score(true, told))
    assert reached.n == (told if "precision" in asked else true).sum() and reached.reachable
    assert result.target.asked == (asked if "@" in asked else f"{asked}@class 1")  # the rarer class
    assert sum(result.calibration.thresholds) == pytest.approx(1)
    plain = evaluated(examples, z)
    assert result.correct != plain.correct == result.correct_without_target
    assert result.log_loss_calibrated == plain.log_loss_calibrated and result.ece == plain.ece  # scores are the same


@pytest.mark.slow
def test_costs_decide_by_the_calibrated_probability_and_are_lower_than_without() -> None:
    result = evaluated(*weighted(3000), target="cost=5:1")
    (reached,) = result.target.classes
    assert reached.threshold == pytest.approx(1 / 6) and reached.value < reached.plain


def test_a_precision_that_cannot_be_reached_is_said_with_the_best_there_is() -> None:
    generator = np.random.default_rng(0)
    examples = in_folds(made_examples(np.arange(400) % 2))
    result = evaluated(examples, generator.normal(size=(400, 2)).astype(np.float32), target="precision=0.99")
    (reached,) = result.target.classes
    assert not reached.reachable and 0.4 < reached.best < 0.99
    assert f"CANNOT BE REACHED on the rows that choose the threshold; the best is {reached.best:.3f}" in (
        reached.sentence)


def test_thresholds_for_a_target_come_from_validation_rows_alone() -> None:
    examples, z = weighted(2000)
    examples = replace(examples, split=held_out(2000, validation=0.4, test=0.3))
    test, validation = (Predictions(rows, z[rows]) for rows in map(examples.split.rows, (TEST, VALIDATION)))
    result = tl.evaluate(examples, test, validation, target="recall=0.9")
    assert result.target.classes[0].recall != pytest.approx(0.9, abs=1e-6)
    turned = tl.evaluate(examples, replace(test, logits=-test.logits), validation, target="recall=0.9")
    assert turned.calibration == result.calibration
    assert turned.target.classes[0].value < 0.5 < result.target.classes[0].value


@pytest.mark.slow
def test_of_several_labels_each_has_its_threshold_or_the_one_that_is_named() -> None:
    examples, z = several(3000, 0.0)
    plain, every, one = (evaluated(examples, z, **more) for more in (
        {}, {"target": "precision=0.9"}, {"target": "precision=0.9@b"}))
    assert [reached.name for reached in every.target.classes] == ["a", "b", "c"]
    assert all(reached.value == pytest.approx(0.9, abs=0.05) for reached in every.target.classes)
    assert [reached.name for reached in one.target.classes] == ["b"]
    assert one.calibration.thresholds[1] == every.calibration.thresholds[1] != plain.calibration.thresholds[1]
    assert one.calibration.thresholds[::2] == plain.calibration.thresholds[::2]


def test_a_label_of_few_rows_keeps_a_half_and_that_is_said() -> None:
    z = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    targets = np.zeros((50, 2), int)
    targets[:25, 0] = 1
    targets[:3, 1] = 1
    result = evaluated(in_folds(made_examples(targets, classes="ab")), z, target="recall=0.8")
    assert result.calibration.thresholds[1] == 0.5 and "too few to choose" in result.target.classes[1].sentence


@pytest.mark.parametrize("text", ["", "precision", "precision=2", "recall=0", "recall=nan", "recall=0.9@", "f1=0.5",
                                  "cost=5", "cost=0:1", "cost=1:2:3", "precision=0.5:0.5", "cost=a:b", "recall=-1"])
def test_a_target_that_cannot_be_read_is_refused_in_one_message(text: str) -> None:
    with pytest.raises(OptionError, match=r"`target` is .*\n.*expected: precision=0.95, recall=0.9 or cost=5:1"):
        DecisionTarget.parse(text)


def test_a_target_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(OptionError, match=r"two classes, or several labels per row \(got 3 classes"):
        evaluated(*weighted(300, 3), target="recall=0.9")
    with pytest.raises(OptionError, match="names the class 'spam'(.|\n)*class 0, class 1"):
        evaluated(*weighted(300), target="recall=0.9@spam")


@pytest.mark.parametrize("name", ["side_blend_images", "inception_v3_images"])
def test_a_recipe_with_its_own_steps_refuses_it_before_the_features(name: str, shell: Callable[..., Any], images: Path,
                                                                    tmp_path: Path) -> None:
    code, _, err = shell("run", name, "--data", images, "--name", "m", "--out", tmp_path, "--weights", "none",
                         "--target", "recall=0.9")
    assert code == 2 and "--target needs two classes" in err and "features" not in err


def test_every_recipe_that_evaluates_for_a_target_checks_it_first() -> None:
    asking = [text for path in recipes().values() if "target=config.target" in (text := path.read_text())]
    assert len(asking) > 3
    for text in asking:
        assert 0 < text.find("tl.check_target(examples, config.target)") < text.find("tl.load_backbone(")


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True], ids=["two classes", "several labels"])
def test_the_graph_gives_the_labels_that_were_evaluated(many: bool) -> None:
    examples, z = several(500, 0.8) if many else weighted(900)
    result = evaluated(examples, z, target="recall=0.9")
    task, calibration = examples.task, result.calibration
    outputs = served_outputs(examples.classes, task, calibration)({"logits": z})
    p = task.probabilities(z, calibration)
    predicted = task.predict(p, np.array(calibration.thresholds))
    assert [label.decode() for label in outputs["label"]] == [task.label(row, examples.classes) for row in predicted]
    assert np.allclose(outputs["probabilities"], p, atol=1e-6)
    if not many:
        assert np.allclose(outputs["score"], p[np.arange(len(p)), predicted], atol=1e-6)
        assert (outputs["label"] != outputs["top_labels"][:, 0]).any()  # the most probable one is not always it
    again = evaluate_probabilities(examples, outputs["probabilities"], calibration.thresholds,
                                   target=result.target.asked)
    assert np.array_equal(again.held_out.predicted, predicted)
    assert again.target.classes[0].threshold == result.target.classes[0].threshold


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp32", "fp16", "dynamic", "int8"])
def test_a_tflite_file_applies_bias_and_thresholds(kind: str) -> None:
    import keras

    from kerastl.export import tflite

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Rescaling(1 / 32, -4), keras.layers.Flatten(),
                              keras.layers.Dense(64, "relu"), keras.layers.Dense(2)])
    calibration = Calibration(0.7, (0.8, 0.2), (0.9, -0.9))
    task, spec = task_named("single_label"), tf.TensorSpec([1, 4, 4, 3], tf.uint8, name="images")
    x = np.random.default_rng(0).integers(0, 256, (100, 1, 4, 4, 3), np.uint8)
    ((_, content),) = tflite.convert(model, spec, calibration, task.activation, [kind], list(x))
    run = tflite.Interpreter(content)
    outputs = [run(row) for row in x]
    p = task.probabilities(model.predict(x[:, 0].astype(np.float32), verbose=0), calibration)
    expected = task.predict(p, np.array(calibration.thresholds))
    told = np.stack([row["predicted"] for row in outputs])
    assert np.abs(np.stack([row["probabilities"] for row in outputs]) - p).max() < {"fp32": 1e-5, "fp16": 1e-2}.get(
        kind, 0.1)
    assert set(told.ravel().tolist()) == {0.0, 1.0}
    assert (told.argmax(axis=1) == expected).mean() >= {"fp32": 1.0, "fp16": 0.98}.get(kind, 0.9)
    assert (expected != p.argmax(axis=1)).sum() > 3
