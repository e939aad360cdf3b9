"""The focal loss: its formula, where it is used, and which heads refuse it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from scipy.special import expit, softmax
from test_fine_tune import CLOSE, Made
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.errors import OptionError
from kerastl.tasks import task_named
from kerastl.tasks._focal import of_classes, of_labels
from kerastl.training.options import GAMMA, TrainingOptions, option_faults

FOCAL = TrainingOptions(3, loss="focal")


def drawn(n: int = 40, classes: int = 4) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.normal(0, 3, (n, classes)).astype(np.float32), generator.integers(0, classes, n)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_classes_is_its_formula(gamma: float, smoothing: float) -> None:
    z, y = drawn()
    truth = np.eye(4, dtype=np.float32)[y]
    soft, p = truth * (1 - smoothing) + smoothing / 4, softmax(z.astype(np.float64), axis=1)
    expected = -(soft * (1 - p) ** gamma * np.log(p)).sum(axis=1)
    assert np.allclose(of_classes(gamma, smoothing)(truth, z), expected, rtol=1e-4, atol=1e-6)
    if not smoothing:  # the usual form, of the true class alone
        of_truth = p[np.arange(40), y]
        assert np.allclose(expected, -(1 - of_truth) ** gamma * np.log(of_truth))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_several_labels_is_its_formula(gamma: float, smoothing: float) -> None:
    z, y = drawn()
    truth = (z + np.random.default_rng(1).normal(0, 3, z.shape) > 0).astype(np.float32)
    soft, p = truth * (1 - smoothing) + smoothing / 2, expit(z.astype(np.float64))
    each = -soft * (1 - p) ** gamma * np.log(p) - (1 - soft) * p ** gamma * np.log(1 - p)
    assert np.allclose(of_labels(gamma, smoothing)(truth, z), each.sum(axis=1), rtol=1e-4, atol=1e-6)
    assert np.allclose(of_labels(gamma, smoothing, summed=False)(truth, z), each.mean(axis=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["single_label", "multi_label"])
def test_gamma_0_is_the_cross_entropy(name: str) -> None:
    task, (z, y) = task_named(name), drawn()
    truth = np.eye(4, dtype=np.float32)[y]
    own = of_classes if task.exclusive else of_labels
    assert np.allclose(own(0.0)(truth, z), task.log_loss(z.astype(np.float64), truth), rtol=1e-5, atol=1e-6)
    for smoothing in (0.0, 0.1):
        mean = own(0.0, smoothing) if task.exclusive else of_labels(0.0, smoothing, summed=False)
        assert float(np.mean(mean(truth, z))) == pytest.approx(float(task.keras_loss(smoothing)(truth, z)), rel=1e-5)
    assert np.asarray(task.summed_loss(2.0)(truth, z)).sum() < np.asarray(task.summed_loss(0.0)(truth, z)).sum() * 40


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_most_confident_mistakes_keep_their_gradient(gamma: float) -> None:
    """Keras' own loss clips probabilities, and has none there."""
    truth = np.eye(2, dtype=np.float32)
    for own in (of_classes(gamma), of_labels(gamma)):
        for z, least in ((-100 * (truth - 0.5), 0.9), (100 * (truth - 0.5), 0.0)):
            logits = tf.constant(z, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(logits)
                loss = tf.reduce_sum(own(truth, logits))
            gradient = np.asarray(tape.gradient(loss, logits))
            assert np.isfinite(gradient).all() and np.abs(gradient).max() >= least


@pytest.mark.parametrize("head", ["linear", "plain", "joint", "best", "prototype"])
def test_heads_that_are_solved_refuse_it_in_one_sentence(head: str, tmp_path: Path) -> None:
    x, y = clouds(90, 3, 6, 4.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    how = "computed without a loss" if head == "prototype" else "solved with cross-entropy"
    with pytest.raises(OptionError) as refused:
        tl.fit(features, head, options=FOCAL)
    assert str(refused.value).partition("\n")[0].startswith(
        f"`loss` is 'focal', but the head {head} is {how}; choose a head that is trained by gradient descent, such as "
        "mlp, or fine-tune blocks (`unfreeze`)")


def test_unknown_losses_are_refused_and_auto_is_cross_entropy() -> None:
    assert option_faults(TrainingOptions(loss="hinge")) == [
        "`loss` must be one of auto, cross-entropy, focal (got hinge)"]
    assert TrainingOptions().gamma == 0 and FOCAL.gamma == GAMMA == 2 and FOCAL.with_cross_entropy().gamma == 0


@pytest.mark.parametrize("several", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_head_that_descends_minimises_it_and_records_gamma(several: bool, tmp_path: Path) -> None:
    x, y = clouds(150, 3, 6, 3.0)
    targets = np.eye(3, dtype=np.int64)[y] if several else y
    features = made_features(tmp_path, x, made_examples(targets, split=held_out(len(y))))
    own, usual = (tl.fit(features, "mlp:hidden=16", options=options) for options in (FOCAL, TrainingOptions(3)))
    assert own.settings["loss"] == "focal" and own.settings["gamma"] == 2 and "loss" not in usual.settings
    assert own.curve[0]["loss"] < usual.curve[0]["loss"]  # (1 - p) ** 2 is below 1
    assert not np.array_equal(own.held_out.logits, usual.held_out.logits)
    calibrated = tl.evaluate(features.examples, own.held_out, own.validation)
    assert calibrated.log_loss_calibrated <= calibrated.log_loss + 0.05


@pytest.mark.slow
def test_fine_tuning_minimises_it_after_a_solved_head_and_compares_calibrated_losses(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Made(draw_folder(tmp_path / "images", 40, CLOSE), tmp_path)
    trained = tl.train(made.features, "linear", unfreeze=1, options=TrainingOptions(2, loss="focal"))
    result = trained.fine_tuning
    assert result is not None and result.plan is not None and result.plan.gamma == 2
    assert "the head linear, which it starts from, is solved with cross-entropy" in capsys.readouterr().out
    assert max(epoch["val_loss"] for epoch in result.epochs) < result.loss_before  # another unit
    assert result.kept is (result.loss_after < result.loss_before)
