"""Heads of every kind: what each learns that a linear head on the mean cannot, what is computed, what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray
from tiny import KEY, clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.backbones import NO_POOLING
from kerastl.errors import OptionError
from kerastl.features.cache import Space
from kerastl.features.compute import Features
from kerastl.heads import ROW, heads, resolve_head
from kerastl.model import raw_branch_of, raw_of
from kerastl.training import scaling
from kerastl.training.fit import FittedHead
from kerastl.training.options import TrainingOptions

SIDE, LENGTH, DIM = 5, 9, 8
TRANSFORMER = "transformer:width=32,rate=0.003,dropout=0.1"


def accuracy(fitted: FittedHead, features: Features) -> float:
    return float((fitted.held_out.logits.argmax(axis=1) == features.examples.targets[fitted.held_out.rows]).mean())


def placed_features(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> Features:
    """Features of maps or token states in a real cache, as they are kept."""
    examples = made_examples(y, split=held_out(len(y)))
    space = Space(folder, replace(KEY, pooling=NO_POOLING, shape=x.shape[1:], dtype="float16"))
    space.append(examples.ids, x)
    shape = x.shape[1:] if x.ndim == 4 else (None, x.shape[2])
    return replace(made_features(folder / "plain", x, examples), shape=shape, space=space, held_out_space=space)


def maps_told_by_place(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Two marks on noise, side by side. Class 1: the first is right of the second. Their mean is the same."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(0, 0.1, (n, SIDE, SIDE, DIM)).astype(np.float32), np.arange(n) % 2
    for i in range(n):
        row, left = generator.integers(SIDE), generator.integers(SIDE - 1)
        x[i, row, left, y[i]] += 2
        x[i, row, left + 1, 1 - y[i]] += 2
    return x, y


def maps_told_by_side(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One mark on noise. Class 1: it is in the right half. The mean is the same."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(0, 0.1, (n, SIDE, SIDE, DIM)).astype(np.float32), np.arange(n) % 2
    for i in range(n):
        x[i, generator.integers(SIDE), generator.integers(2) + (y[i] * (SIDE - 2)), 0] += 2
    return x, y


def states_told_by_order(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tokens of different number, whose states say also where they stand, as a backbone's do. Class 1: the one mark
    comes before the other. Their mean is the same."""
    generator = np.random.default_rng(0)
    x, y = np.zeros((n, LENGTH, DIM), np.float32), np.arange(n) % 2
    for i in range(n):
        length = generator.integers(4, LENGTH + 1)
        x[i, :length] = generator.normal(0, 0.1, (length, DIM))
        x[i, :length, 2] += np.linspace(-1, 1, LENGTH)[:length]
        first, second = sorted(generator.choice(length, 2, replace=False))
        x[i, first, y[i]] += 2
        x[i, second, 1 - y[i]] += 2
    return x, y


def states_told_by_company(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Class 1: one token has both of two features; class 0: two tokens have one each. Their mean is the same."""
    generator = np.random.default_rng(0)
    x, y = np.zeros((n, LENGTH, DIM), np.float32), np.arange(n) % 2
    for i in range(n):
        length = generator.integers(4, LENGTH + 1)
        x[i, :length] = generator.normal(0, 0.1, (length, DIM))
        first, second = generator.choice(length, 2, replace=False)
        x[i, first, 0] += 2
        x[i, first if y[i] else second, 1] += 2
    return x, y


@pytest.mark.slow
@pytest.mark.parametrize(("head", "made"), [
    ("resnet:width=16,blocks=1", maps_told_by_place), (TRANSFORMER, maps_told_by_side),
    (TRANSFORMER, states_told_by_order), (TRANSFORMER, states_told_by_company),
])
def test_a_head_on_places_learns_what_the_mean_does_not_tell(head: str, made: Any, tmp_path: Path) -> None:
    x, y = made(600)
    features = placed_features(tmp_path / "places", x, y)
    fitted = tl.fit(features, head, options=TrainingOptions(60, head_batch_size=32))
    mean = made_features(tmp_path / "mean", x.reshape(len(x), -1, DIM).mean(axis=1), features.examples)
    assert accuracy(tl.fit(mean, "linear"), mean) < 0.65
    assert accuracy(fitted, features) > 0.8


@pytest.mark.parametrize("head", ["resnet", "transformer"])
def test_what_trains_on_maps_answers_the_same_alone_and_among_others(head: str) -> None:
    """No number of a map depends on the maps beside it, in training neither."""
    keras.utils.set_random_seed(0)
    model = resolve_head(f"{head}:dropout=0").build((SIDE, SIDE, DIM), 3)
    x = np.random.default_rng(0).normal(size=(4, SIDE, SIDE, DIM)).astype(np.float32)
    training, judging = np.asarray(model(x, training=True)), np.asarray(model(x, training=False))
    assert judging.std() > 1e-3 and np.abs(training - judging).max() < 1e-5
    assert np.abs(np.asarray(model(x[:1])) - judging[:1]).max() < 1e-5


def test_maps_have_positions_and_token_states_bring_their_own() -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(1, SIDE * SIDE, DIM)).astype(np.float32)
    turned = x[:, ::-1]
    for shape, moves in (((SIDE, SIDE, DIM), True), ((None, DIM), False)):
        model = resolve_head("transformer").build(shape, 3)
        a, b = (np.asarray(model(rows.reshape(1, SIDE, SIDE, DIM) if moves else rows)) for rows in (x, turned))
        assert (np.abs(a - b).max() > 1e-4) == moves


def test_blocks_and_layers_are_as_many_as_asked_for() -> None:
    for asked, wanted in (("resnet:blocks=3", 3), ("transformer:layers=2", 2)):
        names = [layer.name for layer in resolve_head(asked).build((SIDE, SIDE, DIM), 2).layers]
        assert len({name.partition("_")[0] for name in names if name.startswith("block")}) == wanted


def test_features_and_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match=r"maps of images[\s\S]*transformer or attention"):
        resolve_head("resnet").build((None, DIM), 2)
    with pytest.raises(OptionError, match="a multiple of 16"):
        resolve_head("resnet:width=20").build((SIDE, SIDE, DIM), 2)
    with pytest.raises(OptionError, match="a multiple of the number of attention heads"):
        resolve_head("transformer:width=32,heads=5").build((None, DIM), 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", heads())
def test_a_spliced_model_is_the_backbone_then_the_head(name: str) -> None:
    taken = "mean" if heads()[name].takes == ROW else NO_POOLING
    backbone = tl.load_backbone("tiny_net", "none", pooling=taken)
    backbone.model.trainable = True  # so that it is splicing that freezes it
    raw = raw_of(backbone) if heads()[name].takes_raw else None
    head = resolve_head(name).build(backbone.shape, 3, raw)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    features = backbone.model(images, training=False)
    given = [features, raw_branch_of(backbone)(images)] if raw else features
    wanted = np.asarray(head(given, training=False))
    whole = tl.splice(backbone, head)
    assert backbone.model.weights and not backbone.model.trainable_weights
    assert {w.path for w in whole.trainable_weights} == {w.path for w in head.trainable_weights}
    assert wanted.std() > 0 and np.abs(np.asarray(whole(images, training=False)) - wanted).max() < 1e-4


# Cosines


@pytest.mark.slow
def test_cosines_heed_directions_and_not_lengths(tmp_path: Path) -> None:
    x, y = clouds(240, 4, 12, 4.0)
    examples = made_examples(y, split=held_out(len(y)))
    lengths = np.exp(np.random.default_rng(1).normal(0, 2, (len(x), 1))).astype(np.float32)
    features = made_features(tmp_path, x * lengths, examples)
    fitted = tl.fit(features, "cosine:rate=0.02,scale=5", options=TrainingOptions(25))
    assert accuracy(fitted, features) > 0.9
    a, b = (np.asarray(fitted.head(rows)) for rows in (x[:5], 7 * x[:5]))
    assert np.abs(a - b).max() < 1e-4
    kernel, scale = fitted.head.get_weights()
    assert np.abs(np.linalg.norm(kernel, axis=0) - 1).max() < 1e-5  # held to length 1 while training, too
    assert abs(float(scale.item()) - 5) > 0.1  # learned
    unit = x[:5] / np.linalg.norm(x[:5], axis=1, keepdims=True)
    assert np.abs(unit @ kernel * scale.item() - a).max() < 1e-4


# Class means


def nearest(x: NDArray[Any], y: NDArray[Any], other: NDArray[Any], classes: int) -> NDArray[Any]:
    """Minus the squared distances to the class means, of features over their deviation and that of all."""
    scale = np.sqrt(x.var(axis=0) + x.var(axis=0).mean())
    means = np.stack([x[y == c].mean(axis=0) for c in range(classes)])
    return -(((other[:, None] - means) / scale) ** 2).sum(axis=2)


@pytest.mark.parametrize("mode", ["holdout", "cv"])
def test_class_means_answer_as_distances_do(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "BLOCK", 37)  # several to a pass
    x, y = clouds(300, 4, 20, 2.5)
    x = x * np.logspace(-1, 1, 20, dtype=np.float32) + 7
    examples = made_examples(y, split=held_out(len(y)))
    features = made_features(tmp_path, x, in_folds(examples) if mode == "cv" else examples)
    fitted = tl.fit(features, "prototype")
    split = features.examples.split
    assert split is not None
    train = split.part != 0 if mode == "cv" else np.isin(np.arange(len(x)), split.rows(0))
    rows = np.flatnonzero(split.part == 0) if mode == "cv" else split.held_out
    wanted = nearest(x[train], y[train], x[rows], 4)
    given = fitted.held_out.logits[np.isin(fitted.held_out.rows, rows)]
    temperature = ((wanted - wanted.mean(axis=1, keepdims=True)) / (given - given.mean(axis=1, keepdims=True)))
    assert temperature.std() < 0.01 * temperature.mean() and 0.1 < temperature.mean() < 10
    assert accuracy(fitted, features) > 0.6 and fitted.settings["solver"] == "class means"


def test_the_temperature_is_the_best_on_rows_held_out_and_test_rows_move_nothing(tmp_path: Path) -> None:
    x, y = clouds(400, 3, 10, 1.5)
    examples = made_examples(y, split=held_out(len(y)))
    features = made_features(tmp_path / "a", x, examples)
    fitted = tl.fit(features, "prototype")
    assert fitted.validation is not None
    logits, truth = fitted.validation.logits.astype(float), y[fitted.validation.rows]

    def loss(factor: float) -> float:
        return -float(scipy.special.log_softmax(logits * factor, axis=1)[np.arange(len(truth)), truth].mean())

    assert loss(1.0) < min(loss(0.5), loss(2.0))
    assert examples.split is not None
    x[examples.split.held_out] += 100
    other = tl.fit(made_features(tmp_path / "b", x, examples), "prototype")
    assert all(np.array_equal(a, b) for a, b in zip(fitted.head.get_weights(), other.head.get_weights(), strict=True))


def test_class_means_of_several_labels_are_with_against_without(tmp_path: Path) -> None:
    x, y = clouds(400, 4, 12, 4.0)
    several = np.stack([y > 1, y % 2], axis=1).astype(np.int64)
    features = made_features(tmp_path, x, made_examples(several, split=held_out(len(y))))
    judged = tl.fit(features, "prototype").held_out
    assert ((judged.logits > 0) == several[judged.rows]).mean() > 0.9


def test_a_class_that_no_training_row_has_is_never_said(tmp_path: Path) -> None:
    x, y = clouds(300, 3, 12, 6.0)
    split = held_out(len(y))
    split.part[y == 2] = np.where(np.arange((y == 2).sum()) % 2, 2, 1)  # validation and test only
    features = made_features(tmp_path, x, made_examples(y, split=split))
    fitted = tl.fit(features, "prototype")
    assert np.isfinite(fitted.held_out.logits).all() and set(fitted.held_out.logits.argmax(axis=1)) == {0, 1}


def test_far_classes_do_not_make_large_logits(tmp_path: Path) -> None:
    x, y = clouds(300, 3, 12, 300.0)
    features = made_features(tmp_path, x, made_examples(y, split=held_out(len(y))))
    fitted = tl.fit(features, "prototype")
    assert accuracy(fitted, features) == 1 and np.abs(fitted.held_out.logits).max() < 30


def test_class_means_know_no_weights_and_no_smoothing(tmp_path: Path) -> None:
    x, y = clouds(60, 3, 6, 4.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    for wrong in (TrainingOptions(class_weights="balanced"), TrainingOptions(label_smoothing=0.1)):
        with pytest.raises(OptionError, match="computed without a loss"):
            tl.fit(features, "prototype", options=wrong)
    with pytest.raises(OptionError, match="unknown setting of prototype"):
        resolve_head("prototype:rate=0.1")
