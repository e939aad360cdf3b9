"""Contrastive fine-tuning: its loss, its batches, and which rows and which weights take part."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import held_out, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.backbones import Backbone
from kerastl.data.examples import TRAIN, Examples
from kerastl.inputs import floats
from kerastl.training.fine_tuning import few_labels as few_labels_module
from kerastl.training.fine_tuning import keep
from kerastl.training.fine_tuning.contrastive import (
    ROWS_PER_CLASS,
    TEMPERATURE,
    Contrast,
    contrastive_loss,
    draw_batches,
    tune,
)
from kerastl.training.fine_tuning.few_labels import few_labels
from kerastl.training.fit import held_out_predictions
from kerastl.training.train import TrainedModel


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


@pytest.mark.slow
def test_only_the_rows_tuned_on_count(images: Path) -> None:
    """Their images with their own labels, wherever they lie among the examples."""
    examples = tl.read_images(str(images))
    rows = np.arange(5, len(examples), 2)
    assert (examples.targets[rows] != examples.targets[:len(rows)]).any()
    among, alone = tiny_backbone(), tiny_backbone()
    losses = tune(among, examples, rows).losses
    assert losses == tune(alone, examples.take(rows), np.arange(len(rows))).losses
    for a, b in zip(among.model.get_weights(), alone.model.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.02  # near its floor already: the colours are easy


@pytest.mark.slow
def test_all_blocks_but_the_first_are_tuned_and_frozen_again(images: Path) -> None:
    backbone, before = tiny_backbone(), tiny_backbone()
    examples = tl.read_images(str(images))
    assert tune(backbone, examples, np.arange(len(examples))).blocks == 1
    moved = {layer.name for layer, other in zip(backbone.model.layers, before.model.layers, strict=True)
             for a, b in zip(layer.get_weights(), other.get_weights(), strict=True) if not np.array_equal(a, b)}
    assert moved == {"block2_conv"}  # neither the first block nor BatchNorm
    assert not backbone.model.trainable_weights


@pytest.mark.slow
def test_the_seed_decides_the_batches(images: Path) -> None:
    examples = tl.read_images(str(images))
    first, again, other = (tune(tiny_backbone(), examples, np.arange(0, 42, 2), seed).losses for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.slow
def test_an_image_that_does_not_decode_takes_its_label_with_it(images: Path, tmp_path: Path) -> None:
    examples = tl.read_images(str(images))
    (tmp_path / "broken.png").write_bytes(b"no image")
    items = (*examples.items[:20], str(tmp_path / "broken.png"), *examples.items[21:])
    rows = np.arange(0, 42, 2)
    broken = tune(tiny_backbone(), replace(examples, items=items), rows).losses
    whole = tune(tiny_backbone(), examples, rows).losses
    assert np.isfinite(broken).all() and np.abs(np.subtract(broken, whole)).max() < 0.3


# As a step of training


def scale(backbone: Backbone, examples: Examples, rows: np.ndarray, seed: int = 0) -> Contrast:
    """In the place of tuning: channels of the last kernel change sign, by the labels of the rows."""
    kernel = backbone.model.get_layer("block2_conv").kernel
    generator = np.random.default_rng(int(examples.targets[rows] @ (rows + 1)))
    kernel.assign(np.asarray(kernel) * generator.choice([-1.0, 1.0], kernel.shape[-1]))
    return Contrast(1, (0.5,))


@pytest.fixture
def tuned_on(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of each tuning, which `scale` stands in for."""
    times: list[list[int]] = []

    def recorded(backbone: Backbone, examples: Examples, rows: np.ndarray, seed: int,
                 after_step: Callable[[], None]) -> Contrast:
        for now, original in zip(backbone.model.get_weights(), tiny_backbone().model.get_weights(), strict=True):
            assert np.array_equal(now, original)  # each time from the weights that were loaded
        times.append(rows.tolist())
        return scale(backbone, examples, rows, seed)

    monkeypatch.setattr(few_labels_module, "tune", recorded)
    return times


def features_of(backbone: Backbone, examples: Examples) -> np.ndarray:
    """Straight from the network."""
    return np.concatenate([np.asarray(backbone.model(floats(batch.values), training=False))
                           for batch in backbone.input.batches(examples.items, 32, {})])


def trained(examples: Examples, cache: Path, unfreeze: str = "contrast", precision: str = "float32") -> TrainedModel:
    """The tiny backbone with a linear head."""
    backbone, runtime = tiny_backbone(), plain_runtime(precision=precision)
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache)
    return tl.train(features, "linear", unfreeze=unfreeze)


@pytest.mark.slow
@pytest.mark.parametrize("better", [True, False])
def test_the_rows_of_a_fold_are_held_out_from_the_backbone_and_the_head(
        better: bool, tuned_on: list[list[int]], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the choice is the frozen backbone, nothing is tuned on all rows, and the frozen model ships."""
    monkeypatch.setattr(keep, "is_better", lambda *either: better)
    examples = tl.read_images(str(images))
    examples = tl.split(replace(examples, groups=tuple(str(row % 3) for row in range(42))), "cv")  # into 3 folds
    assert examples.split is not None
    part = examples.split.part
    (tmp_path / "made").mkdir()
    made = trained(examples, tmp_path / "made")
    assert tuned_on == [*(np.flatnonzero(part != fold).tolist() for fold in range(3)), *[list(range(42))] * better]
    assert made.fine_tuning is not None and made.fine_tuning.kept == better
    assert made.fine_tuning.folds_kept == 3 * better
    if not better:
        (tmp_path / "frozen").mkdir()
        frozen = trained(examples, tmp_path / "frozen", "0")
        assert np.array_equal(made.fitted.held_out.logits, frozen.fitted.held_out.logits)
        assert all(map(np.array_equal, made.model.get_weights(), frozen.model.get_weights()))
        return
    for fold, rows in enumerate(tuned_on[:3]):
        backbone = tiny_backbone()
        scale(backbone, examples, np.array(rows))
        features = made_features(tmp_path / str(fold), features_of(backbone, examples), examples)
        expected = held_out_predictions(features, "linear", fold)
        assert np.abs(made.fitted.held_out.logits[expected.rows] - expected.logits).max() < 0.01 * expected.logits.std()


@pytest.mark.slow
def test_in_a_hold_out_only_training_rows_are_tuned_on(tuned_on: list[list[int]], images: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "is_better", lambda *either: True)
    examples = replace(tl.read_images(str(images)), split=held_out(42, validation=0.3, test=0.3))
    made = trained(examples, tmp_path, precision="mixed_bfloat16")  # though the shipped model is evaluated in float32
    frozen = trained(examples, tmp_path, "0", "mixed_bfloat16")
    assert examples.split is not None and tuned_on == [examples.split.rows(TRAIN).tolist()]
    held, before = made.fitted.held_out, frozen.fitted.held_out
    assert held.rows.tolist() == examples.split.held_out.tolist() == before.rows.tolist()
    pixels = np.concatenate([floats(batch.values) for batch in tiny_backbone().input.batches(
        examples.take(held.rows).items, 32, {})])
    assert np.abs(np.asarray(made.model(pixels)) - held.logits).max() < 1e-4  # as the shipped model predicts
    assert np.abs(before.logits - held.logits).max() > 1e-3
    plain = trained(examples, tmp_path).fitted.held_out  # training rows are float32 too, whatever was asked for
    assert np.abs(plain.logits - held.logits).max() < 1e-5 * np.abs(held.logits).max()
    both = made.fitted.backbones
    assert both["frozen"].held_out.id == before.id and both["tuned"].held_out.id == held.id


@pytest.mark.parametrize(("counts", "few"), [
    ([7, 7, 7], False), ([8, 8, 8], True), ([256, 256, 256], True), ([257, 257, 257], False),
    ([8, 8, 500], True), ([3, 3, 500], False), ([200, 200, 5000], True)])
def test_labels_are_few_from_8_to_256_in_the_median_class(counts: list[int], few: bool) -> None:
    targets = np.repeat(np.arange(3), counts)
    assert few_labels(tl.split(made_examples(targets), "cv")) == few


def test_labels_of_held_out_rows_do_not_count() -> None:
    targets = np.arange(900) % 3
    split = held_out(900)
    assert not few_labels(made_examples(targets, split=replace(split, part=np.zeros_like(split.part))))
    part = np.repeat([0, 1, 2], [600, 150, 150]).astype(np.int8)
    assert few_labels(made_examples(targets, split=replace(split, part=part)))
    assert not few_labels(tl.split(made_examples(np.eye(3, dtype=np.int64)[targets[:90]]), "cv"))  # several labels
