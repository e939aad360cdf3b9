"""Tuning by contrast: its loss, its batches, and that it draws the rows of a class together."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerastl.training.fine_tuning.contrastive import ROWS_PER_CLASS, TEMPERATURE, contrastive_loss, draw_batches


def by_hand(features: np.ndarray, labels: np.ndarray) -> float:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total, counted = 0.0, 0
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if j != i]
        likes = [j for j in others if labels[j] == labels[i]]
        if not likes:
            continue
        scores = {j: float(unit[i] @ unit[j]) / TEMPERATURE for j in others}
        norm = np.log(sum(np.exp(score) for score in scores.values()))
        total += -np.mean([scores[j] - norm for j in likes])
        counted += 1
    return total / counted


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 2], [0] * 6])
def test_the_loss_is_that_of_the_paper(labels: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    found = float(contrastive_loss(tf.constant(features), tf.constant(labels)))
    assert found == pytest.approx(by_hand(features, np.array(labels)), rel=1e-4)


def test_rows_without_a_like_give_no_loss_and_no_gradient() -> None:
    features = tf.Variable(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = contrastive_loss(features, tf.constant([0, 1, 2]))
    assert float(loss) == 0 and np.abs(tape.gradient(loss, features)).max() == 0


@settings(derandomize=True, deadline=None, database=None, max_examples=50)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=300), st.integers(0, 5))
def test_batches_hold_several_of_each_class_that_is_there(labels: list[int], seed: int) -> None:
    targets = np.array(labels)
    batches = draw_batches(targets, 20, 32, seed)
    assert len(batches) == 20
    several = len(np.unique(targets)) > 1
    for batch in batches:
        assert len(batch) == min(32, len(targets))
        counts = np.unique(targets[batch], return_counts=True)[1]
        if len(targets) >= 32 and several:
            assert counts.min() >= ROWS_PER_CLASS and len(counts) > 1
    assert [b.tolist() for b in batches] == [b.tolist() for b in draw_batches(targets, 20, 32, seed)]


def test_every_row_has_its_turn() -> None:
    targets = np.arange(60) % 2
    seen = np.concatenate(draw_batches(targets, 4, 32, 0))
    assert len(np.unique(seen)) == 60
