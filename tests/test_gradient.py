"""Heads trained by gradient descent: weights and targets of the right rows, smoothing, several labels, the scaling."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray
from tiny import clouds, held_out, in_folds, made_examples, made_features, plain_runtime

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.features.compute import Features
from kerastl.heads import resolve_head
from kerastl.stats import log_loss
from kerastl.tasks import task_named
from kerastl.training import scaling
from kerastl.training.fitters import RowsFit, batches, convex, gradient
from kerastl.training.options import TrainingOptions

HEAD = "shallow:rate=0.02"


def descend(features: Features, rows: NDArray[np.intp], *, head: str = HEAD, epochs: int = 6, seed: int = 0,
            label_smoothing: float = 0.0) -> RowsFit:
    options = TrainingOptions(head_batch_size=16, label_smoothing=label_smoothing)
    return gradient.descend(resolve_head(head), features.with_seed(seed), rows, None, options, epochs=epochs)


@pytest.mark.slow
def test_weights_and_targets_are_those_of_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three labels in five are wrong, and only the weights show which."""
    x, y = clouds(240, 2, 8, 6.0)
    wrong = np.arange(240) % 5 < 3
    weights = np.where(wrong, 0.0, 2.5).astype(np.float32)
    monkeypatch.setattr(gradient, "row_weights", lambda examples, rows, class_weights: weights[rows])
    features = made_features(tmp_path, x, made_examples(np.where(wrong, 1 - y, y)))
    fitted = descend(features, np.arange(239, 19, -1))
    assert len(fitted.curve) == 6 == fitted.epochs
    assert (np.asarray(fitted.model(x)).argmax(axis=1) == y).mean() > 0.95


def test_an_epoch_takes_every_row(tmp_path: Path) -> None:
    """While nearly nothing is learned, an epoch's loss is the mean over all rows, the last small batch included."""
    x, y = clouds(31, 2, 8, 30.0)
    features = made_features(tmp_path, x, made_examples(y))
    fitted = descend(features, np.arange(31), head="shallow:rate=0.000001", epochs=1)
    loss = log_loss(np.asarray(fitted.model(x)), np.eye(2)[y], task_named("single_label"))
    assert fitted.curve[0]["loss"] == pytest.approx(loss, rel=1e-3)


@pytest.mark.slow
def test_the_validation_loss_is_that_of_every_validation_row(tmp_path: Path) -> None:
    x, y = clouds(60, 2, 8, 30.0)
    rows, validation = np.arange(20), np.arange(20, 51)  # not a whole number of batches
    features = made_features(tmp_path, x, made_examples(y))
    fitted = gradient.descend(resolve_head(HEAD), features, rows, validation, TrainingOptions(head_batch_size=16),
                              epochs=1)
    loss = log_loss(np.asarray(fitted.model(x[validation])), np.eye(2)[y[validation]], task_named("single_label"))
    assert fitted.curve[0]["val_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "patience"), [(16, 15), (4, 10)])  # 30 steps of two an epoch; 10 epochs of eight
def test_training_stops_10_epochs_and_30_steps_after_the_best_one_and_keeps_its_weights(
        batch: int, patience: int, tmp_path: Path) -> None:
    x, y = clouds(60, 2, 8, 1.0)
    y[:30] = np.random.default_rng(0).permutation(y[:30])  # nothing to learn that holds for other rows
    rows, validation = np.arange(30), np.arange(30, 60)
    features = made_features(tmp_path, x, made_examples(y))
    fitted = gradient.descend(resolve_head("shallow:rate=0.05"), features, rows, validation,
                              TrainingOptions(head_batch_size=batch))
    losses = [epoch["val_loss"] for epoch in fitted.curve]
    assert fitted.epochs == int(np.argmin(losses)) + 1 and len(losses) == fitted.epochs + patience
    loss = log_loss(np.asarray(fitted.model(x[validation])), np.eye(2)[y[validation]], task_named("single_label"))
    assert loss == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.slow
def test_a_head_trains_in_float32_unless_another_precision_was_asked_for(tmp_path: Path) -> None:
    x, y = clouds(60, 2, 8, 2.0)
    features = made_features(tmp_path, x, made_examples(y))

    def losses(precision: str, explicit: bool) -> list[float]:
        runtime = replace(plain_runtime(), precision=precision, explicit_precision=explicit)
        fitted = gradient.descend(resolve_head(HEAD), replace(features, runtime=runtime), np.arange(60), None,
                                  TrainingOptions(), epochs=2)
        assert fitted.model.dtype_policy.name == "float32"
        return [epoch["loss"] for epoch in fitted.curve]

    plain = losses("float32", True)
    assert losses("mixed_bfloat16", False) == plain  # chosen for the backbone
    assert losses("mixed_bfloat16", True) != plain


@pytest.mark.slow
def test_a_head_predicts_smoothed_targets(tmp_path: Path) -> None:
    x, y = clouds(240, 3, 8, 9.0)
    fitted = descend(made_features(tmp_path, x, made_examples(y)), np.arange(240), label_smoothing=0.3)
    p = scipy.special.softmax(np.asarray(fitted.model(x)), axis=1)
    assert (p.argmax(axis=1) == y).mean() > 0.95 and p.max(axis=1).mean() == pytest.approx(0.8, abs=0.07)


@pytest.mark.slow
def test_a_head_predicts_smoothed_targets_of_several_labels(tmp_path: Path) -> None:
    x, y = clouds(240, 4, 8, 9.0)
    targets = np.stack([y >= 2, y % 2], axis=1).astype(np.int64)
    fitted = descend(made_features(tmp_path, x, made_examples(targets)), np.arange(240), label_smoothing=0.3)
    p = scipy.special.expit(np.asarray(fitted.model(x)))
    assert ((p > 0.5) == targets).mean() > 0.95 and p[targets == 1].mean() == pytest.approx(0.85, abs=0.06)


@pytest.mark.slow
def test_each_of_several_labels_is_learned(tmp_path: Path) -> None:
    x, y = clouds(240, 4, 8, 8.0)
    targets = np.stack([y >= 2, y % 2], axis=1).astype(np.int64)
    fitted = descend(made_features(tmp_path, x, made_examples(targets)), np.arange(240))
    assert ((np.asarray(fitted.model(x)) > 0) == targets).mean() > 0.95


@pytest.mark.slow
def test_the_scaling_is_folded_into_a_convex_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a small scale far from 0 are learned, and the shipped head has the loss of its best epoch."""
    monkeypatch.setattr(convex, "free_memory", lambda: 0)
    x, y = clouds(240, 2, 8, 12.0)
    x = x * np.logspace(-2, -1, 8, dtype=np.float32) + 1
    examples = made_examples(y, split=held_out(240, validation=0.3))
    features = made_features(tmp_path, x, examples)
    fitted = tl.fit(features, options=TrainingOptions(10, head_batch_size=8))
    assert fitted.settings["solver"] == "AdamW" and fitted.validation is not None
    best = min(fitted.curve, key=lambda epoch: epoch["val_loss"])
    assert fitted.settings["epochs"] == best["epoch"]
    assert fitted.validation.rows.tolist() == examples.split.rows(VALIDATION).tolist()
    loss = log_loss(fitted.validation.logits, examples.one_hot(fitted.validation.rows), examples.task)
    assert loss == pytest.approx(best["val_loss"], rel=1e-3) and loss < 0.6


def test_the_mean_and_the_scale_are_those_of_the_rows_read_block_by_block(tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "BLOCK", 16)
    x = clouds(60, 2, 4, 3.0)[0] * np.array([1, 5, 0.1, 2], np.float32) + 30
    rows = np.arange(59, 4, -1)
    mean, scale = scaling.mean_and_scale(made_features(tmp_path, x, made_examples(np.arange(60) % 2)), rows)
    variance = x[rows].var(axis=0)
    assert mean == pytest.approx(x[rows].mean(axis=0), rel=1e-5)
    assert scale == pytest.approx(np.sqrt(variance + variance.mean()), rel=1e-4)


@pytest.mark.slow
def test_validation_rows_have_no_part_in_the_scaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convex, "free_memory", lambda: 0)
    x, y = clouds(120, 2, 4, 3.0)
    examples = made_examples(y, split=held_out(120))
    losses = []
    for name, factor in (("a", 1), ("b", 1000)):
        other = x.copy()
        other[examples.split.part == VALIDATION] *= factor
        fitted = tl.fit(made_features(tmp_path / name, other, examples),
                        options=TrainingOptions(2))
        losses.append([epoch["loss"] for epoch in fitted.curve])
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_the_order_of_rows_follows_from_the_seed(tmp_path: Path) -> None:
    x, y = clouds(64, 2, 4, 1.0)
    features = made_features(tmp_path, x, made_examples(y))

    def losses(seed: int, order: int) -> list[float]:
        rows = np.random.default_rng(order).permutation(64)
        return [epoch["loss"] for epoch in descend(features, rows, epochs=2, seed=seed).curve]

    assert losses(0, 0) == losses(0, 0)
    assert losses(0, 0) != losses(0, 1)  # the same start and the same rows, dealt into other batches
    assert losses(0, 0) != losses(1, 0)


@pytest.mark.slow
def test_the_heads_of_folds_are_not_taken_for_one_function_that_is_traced_again(tmp_path: Path) -> None:
    """Real retracing is still reported. The count of TensorFlow is global, so this runs in a process of its own."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import tensorflow as tf
from tiny import clouds, in_folds, made_examples, made_features, plain_runtime
import kerastl as tl
x, y = clouds(60, 3, 4, 2.0)
features = made_features(Path({str(tmp_path)!r}), x, in_folds(made_examples(y)))
for epochs in (1, 1):
    tl.fit(features, "mlp", options=tl.TrainingOptions(epochs))
print("BETWEEN", file=sys.stderr, flush=True)
for n in range(6):
    tf.function(lambda value: value + 1)(n)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    before, _, after = done.stderr.partition("BETWEEN")
    assert done.returncode == 0 and "retracing" not in before and "retracing" in after, done.stderr


@pytest.mark.slow
def test_rows_are_dealt_into_other_batches_than_they_come_in(tmp_path: Path) -> None:
    x, y = clouds(64, 2, 4, 1.0)
    features = made_features(tmp_path, x, made_examples(y))
    rows = np.arange(64)
    turned = rows.reshape(4, 16)[:, ::-1].ravel()  # in batches of 16 as they come, these are the same batches
    losses = [descend(features, order, epochs=2).curve[-1]["loss"] for order in (rows, turned)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_the_heads_of_folds_are_those_of_models_that_are_compiled_anew(tmp_path: Path) -> None:
    """Weights, dropout and the optimizer start again for each fold, though it is one compiled model."""
    x, y = clouds(60, 3, 6, 2.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    head, options = resolve_head("mlp"), TrainingOptions(3, head_batch_size=16)
    jobs = [(features, np.flatnonzero(features.examples.split.part != fold)) for fold in range(3)]
    for (_, rows), together in zip(jobs, gradient.FITTER.fits(head, jobs, options), strict=True):
        alone = gradient.descend(head, features, rows, None, options,
                                 epochs=together.epochs if rows is jobs[-1][1] else None)
        assert together.curve == alone.curve and together.epochs == alone.epochs
        for a, b in zip(together.model.get_weights(), alone.model.get_weights(), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.slow
def test_the_training_step_is_traced_once_for_all_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(60, 3, 6, 2.0)
    traced = []
    step = keras.Model.train_step

    def counted(self: keras.Model, data: object) -> object:
        traced.append(self)
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    tl.fit(made_features(tmp_path, x, in_folds(made_examples(y))), "mlp", options=TrainingOptions(2))
    once = len(traced)
    descend(made_features(tmp_path, x, made_examples(y)), np.arange(60), head="mlp", epochs=2)
    assert once == len(traced) - once > 0


@pytest.mark.parametrize("seed", [None, 5])
def test_rows_that_are_read_once_come_in_the_batches_of_rows_that_are_read_from_disk(
        seed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(31, 2, 4, 1.0)
    features, rows = made_features(tmp_path, x, made_examples(y)), np.arange(30, 4, -1)
    weights, moments = np.linspace(0, 1, 26, dtype=np.float32), (np.ones(4, np.float32), np.full(4, 3, np.float32))
    found = []
    for limit in (10**6, 0):
        monkeypatch.setattr(batches, "IN_MEMORY", limit)
        some = batches.batches_of(resolve_head("mlp"), features, rows, weights, 8, moments, seed).take(9)
        found.append([[array.numpy() for array in batch] for batch in some])
    assert [len(batch[0]) for batch in found[0]] == [8, 8, 8, 2, 8, 8, 8, 2, 8]  # two epochs and a batch
    for ours, theirs in zip(*found, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert np.array_equal(found[0][0][1], found[0][4][1]) == (seed is None)
