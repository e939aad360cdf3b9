"""Tasks: each is consistent with itself in NumPy, Keras and the graph; and a third one is one file, known to no other.

The tests of temperatures and thresholds are with those of evaluation.
"""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
import kerastl.tasks
from kerastl.data.examples import enough
from kerastl.decision import Calibration, Predictions, numpy_backend, probabilities, tensorflow_backend
from kerastl.errors import DataError, OptionError
from kerastl.modality import TEXT
from kerastl.tasks import Task, task_named, task_of_labels, task_of_record, task_of_targets, tasks

CLASSES = ("low", "middle", "high")
DROPIN = Path(__file__).parent / "dropin/tasks"


@pytest.fixture
def ordinal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """The task in tests/dropin, beside ours while a test runs."""
    monkeypatch.setattr(kerastl.tasks, "__path__", [*kerastl.tasks.__path__, str(DROPIN)])
    tasks.cache_clear()
    yield task_named("ordinal")
    tasks.cache_clear()


def drawn(task: Task, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and targets that partly agree with them."""
    generator = np.random.default_rng(0)
    z = generator.normal(size=(n, 3)) * 2
    wanted = np.argmax(z + generator.normal(size=z.shape), axis=1)
    return z, task.targets_of([[int(c)] for c in wanted], 3)


@pytest.fixture(params=["single_label", "multi_label", "ordinal"])
def task(request: pytest.FixtureRequest, ordinal: Task) -> Task:
    return task_named(request.param)


# Every task


def test_targets_belong_to_one_task_and_say_their_classes(task: Task) -> None:
    targets = task.targets_of([[0], [2], [1]], 3)
    assert [other.name for other in tasks().values() if other.owns(targets)] == [task.name]
    assert task_of_targets(targets) is task
    assert [task.classes_of(target) for target in targets] == [[0], [2], [1]]
    assert [task.label(target, CLASSES) for target in targets] == ["low", "high", "middle"]
    truth = task.one_hot(targets, 3)
    assert truth.dtype == np.float32 and truth.shape == (3, 3) and truth[1, 2] == 1
    assert task.correct(targets, targets).tolist() == [True] * 3
    assert task.correct(targets[[0, 0, 2]], targets).tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["single_label", "multi_label"])
def test_rows_are_counted_and_kept_by_their_classes(name: str) -> None:
    task = task_named(name)
    targets = task.targets_of([[0], [2], [1], [2]], 4)
    assert task.counts(targets, 4).tolist() == [1, 1, 2, 0]
    rows, kept = task.select(targets, np.array([1, 2]), 4)
    assert rows.tolist() == [1, 2, 3] and [task.classes_of(target) for target in kept] == [[1], [0], [1]]


def test_the_loss_of_a_soft_target_is_the_mean_of_those_it_mixes(task: Task) -> None:
    z, targets = drawn(task)
    one, other = task.one_hot(targets, 3), task.one_hot(targets[::-1], 3)
    mixed = 0.3 * task.log_loss(z, one) + 0.7 * task.log_loss(z, other)
    assert np.allclose(task.log_loss(z, 0.3 * one + 0.7 * other), mixed, atol=1e-6)


def test_two_classes_are_needed_or_one_label_that_a_row_may_have() -> None:
    assert len(enough(made_examples(np.arange(40)[:, None] % 2))) == 40
    with pytest.raises(DataError):
        enough(made_examples(np.zeros(40, np.int64)))
    rare = np.stack([np.arange(40) % 2, np.arange(40) < 3], axis=1)  # a second label, of fewer than 10 rows
    assert enough(made_examples(rare)).classes == ("class 0",)
    for targets in (np.where(np.arange(40) < 3, 1, 0), rare[:, 1:]):
        with pytest.raises(DataError, match="too few rows"):
            enough(made_examples(targets))


def test_of_several_labels_each_is_one_that_reaches_a_half() -> None:
    task = task_named("multi_label")
    targets = task.targets_of([[2, 0], []], 3)
    assert targets.tolist() == [[1, 0, 1], [0, 0, 0]] and task.label(targets[0], CLASSES) == "low|high"
    p = np.array([[0.4, 0.5, 0.9]])
    assert task.predict(p, np.array(task.half(3).thresholds)).tolist() == [[0, 1, 1]]
    served = task.served_label(tf.constant(p), tf.constant(CLASSES), None, task.half(3))
    assert served.numpy().tolist() == [b"middle|high"]


def test_the_loss_is_that_of_keras_and_is_least_at_the_truth(task: Task) -> None:
    z, targets = drawn(task)
    truth = task.one_hot(targets, 3)
    loss = task.log_loss(z, truth)
    assert loss.shape == (60,) and (loss > 0).all()
    of_keras = float(task.keras_loss(0.0)(truth, z.astype(np.float32)))
    assert loss.mean() == pytest.approx(of_keras * (1 if task.exclusive else 3), rel=1e-5)  # Keras averages over labels
    summed = np.asarray(task.summed_loss()(truth, z.astype(np.float32)))  # that of each row, or their mean
    assert loss.mean() == pytest.approx(float(summed.mean()), rel=1e-5)
    assert (task.log_loss(40.0 * (truth - 0.5), truth) < 1e-6).all()
    p = task.probabilities(z)
    for column in range(3):  # the gradient of the loss, on which the convex solver relies
        moved = z.copy()
        moved[:, column] += 1e-6
        slope = (task.log_loss(moved, truth) - loss) / 1e-6
        assert np.allclose(slope, p[:, column] - truth[:, column], atol=1e-4)


def test_the_loss_comes_with_its_gradient_for_logits_of_any_number_of_axes(task: Task) -> None:
    z, targets = drawn(task)
    soft = 0.9 * task.one_hot(targets, 3) + 0.1 * task.even(3)
    several = np.stack([z, 30 * z, np.zeros_like(z)], axis=1)
    loss, gradient = task.loss_and_gradient(several, soft[:, None])
    single, of_single = task.loss_and_gradient(several.astype(np.float32), soft[:, None].astype(np.float32))
    assert single.dtype == of_single.dtype == np.float32 and np.allclose(single, loss, rtol=1e-4, atol=1e-4)
    for place in range(3):
        assert np.allclose(loss[:, place], task.log_loss(several[:, place], soft))
        assert np.allclose(gradient[:, place], task.activation(several[:, place], numpy_backend()) - soft)
    assert (several[:, 0] == z).all()


def test_probabilities_are_the_same_in_numpy_and_tensorflow_and_can_be_inverted(task: Task) -> None:
    z, _ = drawn(task)
    for calibration in (Calibration(1.7), Calibration(0.6, bias=(0.3, -1.2, 2.0))):
        ours = task.probabilities(z, calibration)
        assert ours.shape == z.shape and (ours > 0).all() and (ours < 1).all()
        graph = probabilities(tf.constant(z, tf.float32), calibration, task.activation, tensorflow_backend())
        assert np.allclose(ours, graph, atol=1e-6)
        assert np.allclose(ours, probabilities(z, calibration, task.activation, numpy_backend()))
        assert np.allclose(ours, task.probabilities(z / calibration.temperature + np.array(calibration.bias or 0)))
        assert np.allclose(task.probabilities(task.logits_of(ours)), ours, atol=1e-6)
    certain = np.array([[1.0, 0.0, 0.0]])
    assert np.isfinite(task.logits_of(certain)).all()


def test_the_served_label_is_the_predicted_one(task: Task) -> None:
    z, targets = drawn(task)
    fitted = task.calibrations["temperature + bias per class"](z, task.one_hot(targets, 3))
    p = task.probabilities(z, fitted)
    calibration = replace(fitted, thresholds=task.thresholds(p, task.one_hot(targets, 3)))
    predicted = task.predict(p, np.array(calibration.thresholds))
    labels = [task.label(target, CLASSES) for target in predicted]
    names = tf.constant(CLASSES)
    by_score = tf.gather(names, tf.argsort(tf.constant(p), axis=1, direction="DESCENDING"))
    served = task.served_label(tf.constant(p), names, by_score, calibration)
    scores = tf.sort(tf.constant(p), axis=1, direction="DESCENDING")
    assert np.array_equal(task.served_score(tf.constant(p), scores, calibration), p.max(axis=1))
    assert [label.decode() for label in served.numpy()] == labels
    assert 0.4 < task.correct(predicted, targets).mean() < 1 and len(set(labels)) >= 3


def test_confident_logits_of_the_truth_predict_it(task: Task) -> None:
    _, targets = drawn(task)
    truth = task.one_hot(targets, 3)
    half = task.half(3)
    assert half.temperature == 1 and all(threshold == 0.5 for threshold in half.thresholds)
    p = task.probabilities(20.0 * (truth - 0.5))
    predicted = task.predict(p, np.array(half.thresholds))
    assert task.correct(predicted, targets).all() and task.owns(predicted)
    confidence, correct = task.claims(p, truth)
    assert confidence.shape == correct.shape and set(np.unique(correct)) <= {0.0, 1.0}
    assert task.surprise(p, truth).shape == (len(targets),)
    confusion = task.confusion(targets, predicted, 3)
    assert confusion.sum() in (0, len(targets)) and (confusion == np.diag(np.diag(confusion))).all()


def test_scikit_learn_fits_its_targets(task: Task) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = clouds(90, 3, 4, 6.0)
    targets = task.targets_of([[int(c)] for c in y], 3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        model = task.estimator(LogisticRegression()).fit(x, targets)
    assert task.correct(model.predict(x), targets).mean() > 0.85


def test_reprs_are_short(task: Task) -> None:
    assert repr(task) == f"Task({task.name})"


# Records


def test_a_record_names_its_task_also_one_of_version_0_1() -> None:
    assert task_of_record({"task": "multi_label"}).name == "multi_label"
    assert task_of_record({"multi_label": True}).name == "multi_label"
    assert task_of_record({"multi_label": False}).name == "single_label"
    with pytest.raises(OptionError, match="unknown task 'single'"):
        task_of_record({"task": "single"})
    with pytest.raises(ValueError, match=r"no task has targets of shape \(2, 2, 2\)"):
        task_of_targets(np.zeros((2, 2, 2)))


# A third task


@pytest.mark.parametrize(("head", "mode"), [
    ("linear", "cv"), ("linear", "holdout"), pytest.param("mlp", "holdout", marks=pytest.mark.slow)])
def test_a_third_task_trains_and_is_evaluated_without_a_change_elsewhere(head: str, mode: str, ordinal: Task,
                                                                        tmp_path: Path) -> None:
    x, y = clouds(240, 3, 6, 5.0)
    examples = replace(made_examples(y, classes=CLASSES), targets=ordinal.targets_of([[int(c)] for c in y], 3))
    assert examples.task is ordinal and examples.label_of(1) == "middle"
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(240))
    fitted = tl.fit(made_features(tmp_path, x, examples), head)
    evaluation = tl.evaluate(examples, fitted)
    assert evaluation.accuracy > 0.9 and evaluation.n == (240 if mode == "cv" else 48)
    assert evaluation.confusion_matrix.shape == (3, 3) and evaluation.confusion_matrix.trace() > 0.9 * evaluation.n
    table = evaluation.predictions()
    assert set(table["predicted"]) == set(CLASSES) and table["label"][:3] == [
        CLASSES[y[row]] for row in examples.split.held_out[:3]]
    assert all(mistake.actual != mistake.predicted for mistake in evaluation.mistakes)
    record = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert record["calibration"]["temperature"] > 0 and task_of_record({"task": "ordinal"}) is ordinal


def test_the_numbers_of_labels_decide_the_task_of_a_source(ordinal: Task) -> None:
    for counts, name in (([1, 1, 0], "single_label"), ([1, 2], "multi_label"), ([0, 3], "multi_label")):
        assert task_of_labels(counts).name == name
    assert ordinal is task_named("ordinal")  # no source has it by itself


def test_a_third_task_has_a_baseline(ordinal: Task) -> None:
    y = np.arange(120) % 3
    examples = replace(made_examples(y, classes=CLASSES), modality=TEXT, items=tuple(
        f"{('poor', 'fair', 'good')[c]} film {i % 7}" for i, c in enumerate(y)),
        targets=ordinal.targets_of([[int(c)] for c in y], 3))
    examples = in_folds(examples)
    logits = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    evaluation = tl.evaluate(examples, Predictions(np.arange(120), logits))
    baseline = tl.baseline(examples, evaluation)
    assert baseline.accuracy == 1.0 and baseline.verdict == "hurt" and evaluation.accuracy < 0.7
    assert evaluation.calibration != Calibration(1.0) and evaluation.calibration_choice.trials
