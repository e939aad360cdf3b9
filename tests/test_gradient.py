"""Heads trained by gradient descent: weights and targets of the right rows, smoothing, several labels, the scaling."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray
from tiny import clouds, held_out, made_examples, made_features, plain_runtime

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.heads import head_of
from kerastl.training import fit as fitting
from kerastl.training.fitters.convex import log_loss
from kerastl.training.fitters.gradient import Trained, train_by_gradient

HEAD = "shallow:rate=0.02"


def descended(folder: Path, x: NDArray[np.float32], targets: NDArray[np.int64], rows: NDArray[np.intp],
              weight: NDArray[np.float32], label_smoothing: float = 0.0) -> Trained:
    return train_by_gradient(head_of(HEAD), made_features(folder, x, made_examples(targets)), rows, None, weight,
                             plain_runtime(), epochs=6, batch_size=16, label_smoothing=label_smoothing)


def test_weights_and_targets_are_those_of_their_rows(tmp_path: Path) -> None:
    """Three labels in five are wrong, and only their weights tell."""
    x, y = clouds(240, 2, 8, 6.0)
    wrong = np.arange(240) % 5 < 3
    rows = np.arange(239, 19, -1)
    weight = np.where(wrong, 0.0, 2.5).astype(np.float32)
    made = descended(tmp_path, x, np.where(wrong, 1 - y, y), rows, weight[rows])
    assert len(made.history) == 6 == made.epochs
    assert (np.asarray(made.head(x)).argmax(axis=1) == y).mean() > 0.95


def test_every_row_has_its_turn_in_an_epoch(tmp_path: Path) -> None:
    """While nearly nothing is learned, an epoch's loss is the mean over all rows, the last small batch included."""
    x, y = clouds(31, 2, 8, 30.0)
    features = made_features(tmp_path, x, made_examples(y))
    made = train_by_gradient(head_of("shallow:rate=0.000001"), features, np.arange(31), None, np.ones(31, np.float32),
                             plain_runtime(), epochs=1, batch_size=16)
    losses = [log_loss(np.asarray(made.head(x[[row]])), np.eye(2, dtype=np.float32)[[y[row]]], False)
              for row in range(31)]
    assert made.history[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-3)


def test_smoothed_targets_are_what_a_head_gives(tmp_path: Path) -> None:
    x, y = clouds(240, 3, 8, 9.0)
    made = descended(tmp_path, x, y, np.arange(240), np.ones(240, np.float32), label_smoothing=0.3)
    p = scipy.special.softmax(np.asarray(made.head(x)), axis=1)
    assert (p.argmax(axis=1) == y).mean() > 0.95 and p.max(axis=1).mean() == pytest.approx(0.8, abs=0.07)


def test_several_labels_are_learned_each(tmp_path: Path) -> None:
    x, y = clouds(240, 4, 8, 8.0)
    targets = np.stack([y >= 2, y % 2], axis=1).astype(np.int64)
    made = descended(tmp_path, x, targets, np.arange(240), np.ones(240, np.float32))
    assert ((np.asarray(made.head(x)) > 0) == targets).mean() > 0.95


def test_the_scaling_is_folded_into_a_convex_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a small scale far from 0 are learned, and the head that ships has the loss of its best epoch."""
    monkeypatch.setattr(fitting, "free_memory", lambda: 0)
    x, y = clouds(240, 2, 8, 12.0)
    x = x * np.logspace(-2, -1, 8, dtype=np.float32) + 1
    examples = made_examples(y, split=held_out(240, validation=0.3))
    features = made_features(tmp_path, x, examples)
    fitted = tl.fit(features, runtime=plain_runtime(), epochs=10, batch_size=8)
    assert fitted.settings["solver"] == "AdamW" and fitted.validation is not None
    best = min(fitted.curve, key=lambda one: one["val_loss"])
    assert fitted.settings["epochs"] == best["epoch"]
    assert fitted.validation.rows.tolist() == examples.split.rows(VALIDATION).tolist()
    loss = log_loss(fitted.validation.logits, examples.one_hot(fitted.validation.rows), False)
    assert loss == pytest.approx(best["val_loss"], rel=1e-3) and loss < 0.6


def test_rows_that_choose_have_no_part_in_the_scaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "free_memory", lambda: 0)
    x, y = clouds(120, 2, 4, 3.0)
    examples = made_examples(y, split=held_out(120))
    losses = []
    for name, factor in (("a", 1), ("b", 1000)):
        other = x.copy()
        other[examples.split.part == VALIDATION] *= factor
        fitted = tl.fit(made_features(tmp_path / name, other, examples), runtime=plain_runtime(), epochs=2)
        losses.append([one["loss"] for one in fitted.curve])
    assert losses[0] == losses[1]


def test_the_order_of_rows_follows_from_the_seed(tmp_path: Path) -> None:
    x, y = clouds(64, 2, 4, 1.0)
    features = made_features(tmp_path, x, made_examples(y))

    def losses(seed: int, order: int) -> list[float]:
        runtime = replace(plain_runtime(), seed=seed)
        rows = np.random.default_rng(order).permutation(64)
        made = train_by_gradient(head_of(HEAD), features, rows, None, np.ones(64, np.float32), runtime, epochs=2,
                                 batch_size=16)
        return [one["loss"] for one in made.history]

    assert losses(0, 0) == losses(0, 0)
    assert losses(0, 0) != losses(0, 1)  # the same start and the same rows, dealt into other batches
    assert losses(0, 0) != losses(1, 0)
