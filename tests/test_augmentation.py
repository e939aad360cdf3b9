"""Augmentation: what presets do to images, how auto tests the flip, and where it acts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from numpy.typing import NDArray
from PIL import Image
from test_fine_tune import CLOSE, Made
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.data.examples import TRAIN, VALIDATION
from kerastl.errors import OptionError
from kerastl.model import splice
from kerastl.report.augmentation import COPIES, augmentation_context
from kerastl.training.augmentation import (
    CHOICES,
    PRESETS,
    WORSE,
    Augmentation,
    MirrorTest,
    Operation,
    augmentation_named,
    automatic,
    counted,
)
from kerastl.training.fine_tuning.augment import augmenter, layer_of
from kerastl.training.fine_tuning.batches import training_data
from kerastl.training.fine_tuning.mirror import mirror_test
from kerastl.training.fine_tuning.result import FineTuneResult

SIDE = 24


def noise(n: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (n, SIDE, SIDE, 3)).astype(np.float32)


def graph(preset: str, seed: int = 0) -> Any:
    """As the data pipeline runs it: for batches of any size."""
    augment = augmenter(augmentation_named(preset), seed)
    return tf.function(lambda images, number: augment(images, number), input_signature=[
        tf.TensorSpec([None, SIDE, SIDE, 3]), tf.TensorSpec([], tf.int64)])


@pytest.mark.slow
@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_keeps_shape_type_and_range_and_the_same_seed_gives_the_same(preset: str) -> None:
    x, augment = noise(), graph(preset)
    first, again, other = (augment(x, number).numpy() for number in (0, 0, 1))
    assert first.shape == x.shape and first.dtype == np.float32 and np.isfinite(first).all()
    assert 0 <= first.min() and first.max() <= 255
    assert np.array_equal(first, again)  # by the number of the batch, whatever came before
    assert augment(x[:1], 0).shape == (1, SIDE, SIDE, 3)  # a last batch of one
    acts = preset != "none"
    assert np.array_equal(first, other) is not acts and np.array_equal(first, x) is not acts
    if acts:
        changed = np.abs(first - x).max(axis=(1, 2, 3)) > 1
        assert changed.mean() > 0.8
        assert np.array_equal(graph(preset)(x, 1), other)
        assert not np.array_equal(graph(preset, 1)(x, 1), other)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "mirrored"), [("light", 0.0), ("standard", 0.5), ("strong", 0.5)])
def test_images_are_mirrored_by_the_presets_that_say_so(preset: str, mirrored: float) -> None:
    x = np.zeros((200, SIDE, SIDE, 3), np.float32)
    x[:, :, SIDE // 2:] = 120.0  # dark on the left, not so dark on the right
    y = graph(preset)(x, 3).numpy().mean(axis=(1, 3))
    flipped = (y[:, :SIDE // 2].mean(axis=1) > y[:, SIDE // 2:].mean(axis=1)).mean()
    assert augmentation_named(preset).flips is (mirrored > 0)
    assert abs(flipped - mirrored) < 0.12  # solarisation, of strong, swaps a few more


def exactly(name: str, amount: float, unit: str = "percent") -> Any:
    return layer_of(Operation(name, amount, amount, unit), 0)


def test_the_recorded_amounts_are_those_of_the_layers() -> None:
    x = noise(2)
    turned = np.asarray(exactly("rotation", 90, "degrees")(x, training=True))
    assert min(np.abs(turned - np.rot90(x, k, axes=(1, 2))).max() for k in (1, 3)) < 1
    moved = np.asarray(exactly("shift", 25)(x, training=True))
    assert np.abs(moved[:, 6:, 6:] - x[:, :-6, :-6]).max() < 0.1  # a quarter of 24 pixels, down and to the right
    grey = np.full((1, SIDE, SIDE, 3), 100.0, np.float32)
    assert np.asarray(exactly("brightness", 20)(grey, training=True)).mean() == pytest.approx(151, abs=0.1)
    assert set(np.unique(np.asarray(exactly("posterisation to", 4, "bits")(x, training=True)) % 16)) == {0.0}
    light = np.asarray(exactly("solarisation above", 100)(noise(), training=True))
    for image, original in zip(light, noise(), strict=True):
        inverted = np.abs(image - original) > 0.01
        assert np.allclose(image[inverted], 255 - original[inverted], atol=0.01)
        assert original[inverted].min() >= original[~inverted].max() - 1.5  # above a threshold


def test_every_operation_of_every_preset_has_a_layer_and_words() -> None:
    for operations, _, pool in PRESETS.values():
        for operation in (*operations, *pool):
            assert layer_of(operation, 0) is not None and operation.name in str(operation)
    assert str(augmentation_named("light")).startswith("rotation by up to 5 degrees, shift by up to 5 percent")
    assert "RandAugment (2 of 11 operations" in str(augmentation_named("strong"))
    assert str(augmentation_named("none")) == "none" and CHOICES == ("auto", *PRESETS)
    with pytest.raises(OptionError, match="did you mean 'light'"):
        augmentation_named("lights")


# The mirror test


def made_test(**changed: float) -> MirrorTest:
    return replace(MirrorTest(100, 0.9, 0.9, 0.005, 0.3, 0.3, 0.005, 2.0), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("changed", "flips"), [
    ({}, True), ({"mirrored_accuracy": 0.95, "mirrored_log_loss": 0.2}, True),
    ({"mirrored_accuracy": 0.89}, True), ({"mirrored_accuracy": 0.88}, False),  # by more than the limit, with its error
    ({"mirrored_log_loss": 0.31}, True), ({"mirrored_log_loss": 0.32}, False),
    ({"log_loss_error": 2 * WORSE}, False), ({"accuracy_error": 2 * WORSE}, False),  # too few images to tell
    ({"constant_log_loss": 0.3}, False),  # nothing was learned
])
def test_the_flip_is_used_only_where_it_is_shown_to_do_no_harm(changed: dict[str, float], flips: bool) -> None:
    test = made_test(**changed)
    chosen = automatic(test)
    assert test.flips is flips and chosen.flips is flips and chosen.preset == "standard"
    assert chosen.reason.startswith(f"auto: standard {'with' if flips else 'without'} the flip, because ")
    assert test.sentence in chosen.reason and "100 training images" in test.sentence
    assert len(chosen.operations) == len(augmentation_named("standard").operations) - (not flips)
    assert Augmentation.from_dict(chosen.to_dict()) == chosen


def test_without_a_test_there_is_no_flip_and_folds_are_counted() -> None:
    chosen = automatic(None)
    assert not chosen.flips and "fewer than 30 training images" in chosen.reason
    folds = [automatic(made_test()), chosen, None]
    assert counted(chosen, folds) == replace(chosen, flips_in_folds=1) and counted(None, folds) is None


def draw_ramps(folder: Path, n: int = 40) -> Path:
    """Two classes of noisy images whose left or right side is bright: mirror images of each other."""
    for side in range(2):
        for i in range(n):
            generator = np.random.default_rng(1000 * side + i)
            ramp = np.linspace(40, 215, 32)[None, :, None] + generator.normal(0, 15, (32, 32, 3))
            stripes = np.where(ramp > generator.uniform(100, 155), 255 - ramp / 2, ramp)[:, ::-1 if side else 1]
            path = folder / ("falling" if side else "rising") / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(stripes, 0, 255).astype(np.uint8)).save(path)
    return folder


def features_of(folder: Path, cache: Path, several: bool = False) -> tl.Features:
    examples = tl.read_images(str(folder))
    if several:
        examples = replace(examples, targets=examples.one_hot().astype(np.int64))
    return tl.compute_features(tl.split(examples, "holdout"), tiny_backbone(), plain_runtime(), cache_dir=cache)


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_classes_that_are_mirror_images_of_each_other_are_found(several: bool, tmp_path: Path) -> None:
    ramps = mirror_test(features_of(draw_ramps(tmp_path / "ramps"), tmp_path, several))
    assert ramps is not None and ramps.informative and not ramps.flips
    assert ramps.accuracy > 0.9 and ramps.mirrored_accuracy < 0.3
    colours = mirror_test(features_of(draw_folder(tmp_path / "colours", 60), tmp_path, several))
    assert colours is not None and colours.flips and colours.accuracy > 0.9


@pytest.mark.slow
def test_the_mirror_test_sees_training_rows_only_and_is_cached(tmp_path: Path) -> None:
    features = features_of(draw_ramps(tmp_path / "ramps"), tmp_path)
    first = mirror_test(features)
    part = features.examples.split.part
    swapped = features.examples.targets.copy()
    swapped[part != TRAIN] = 1 - swapped[part != TRAIN]  # labels of other rows
    relabelled = replace(features, examples=replace(features.examples, targets=swapped))
    assert first is not None and first.n == (part == TRAIN).sum() and mirror_test(relabelled) == first
    for path in (tmp_path / "ramps").rglob("*.png"):
        path.unlink()
    assert mirror_test(features) == first
    few = replace(features, examples=features.examples.take(np.flatnonzero(part == TRAIN)[:20]))
    assert mirror_test(few) is None


# In training


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("close")
    return Made(draw_folder(folder / "images", 40, CLOSE), folder)


def batches_of(made: Made, preset: str, n: int, first: int = 0) -> list[NDArray[np.float32]]:
    data = training_data(made.backbone.input, made.examples, 32, made.frozen.settings, augmentation_named(preset),
                         "none", 0, first)
    return [np.asarray(values) for values, _, _ in data.take(n)]


@pytest.mark.slow
def test_training_batches_are_augmented_and_go_on_as_they_would_have(made: Made) -> None:
    steps = -(-len(made.examples.split.rows(TRAIN)) // 32)
    plain, augmented = (batches_of(made, preset, 2 * steps) for preset in ("none", "strong"))
    for before, after in zip(plain, augmented, strict=True):
        assert after.dtype == np.float32 and after.shape == before.shape and not np.array_equal(before, after)
        assert 0 <= after.min() and after.max() <= 255
    again = batches_of(made, "strong", steps, first=1)  # of a run that was stopped after one epoch
    assert all(map(np.array_equal, again, augmented[steps:]))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["none", "light", "strong"])
def test_validation_images_are_plain_whatever_the_preset(preset: str, tmp_path: Path, made: Made) -> None:
    own = Made(Path(made.examples.source), tmp_path)
    tuned = own.tune(augment=preset)
    assert tuned.augmentation == augmentation_named(preset) and tuned.plan.augment == preset
    assert tuned.loss_before == pytest.approx(own.loss_before, rel=1e-4)
    if tuned.kept:
        assert tuned.loss_after == pytest.approx(own.loss(), rel=1e-4)


@pytest.mark.slow
def test_auto_is_recorded_with_its_figures_and_xla_trains_too(tmp_path: Path, made: Made) -> None:
    own = Made(Path(made.examples.source), tmp_path, xla="on")
    tuned = own.tune(epochs=1)
    chosen = tuned.augmentation
    assert chosen is not None and chosen.mirror is not None and chosen.mirror.sentence in chosen.reason
    document = tuned.to_dict()
    assert document["augmentation"]["operations"][-1] == {"name": "zoom", "low": -10, "high": 10, "unit": "percent",
                                                          "share": 1.0}
    assert FineTuneResult.from_dict(document) == tuned
    del document["augmentation"]
    del document["plan"]["augment"], document["plan"]["gamma"]  # as earlier versions wrote it
    assert FineTuneResult.from_dict(document).augmentation is None


@pytest.mark.slow
def test_each_fold_chooses_by_its_own_training_images(tmp_path: Path) -> None:
    examples = tl.split(tl.read_images(str(draw_ramps(tmp_path / "ramps"))), "cv")
    features = tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=tmp_path)
    trained = tl.train(features, "linear", unfreeze=1, options=tl.TrainingOptions(1))
    assert trained.fine_tuning is not None
    chosen = trained.fine_tuning.augmentation
    assert chosen is not None and chosen.flips_in_folds == 0 and not chosen.flips


@pytest.mark.slow
def test_the_report_shows_what_was_done(tmp_path: Path, made: Made) -> None:
    trained = tl.train(made.features, "linear", unfreeze=1, options=tl.TrainingOptions(
        1, fine_tuning=tl.TuningOptions(augment="strong")))
    evaluation = tl.evaluate(made.features.examples, trained.fitted)
    record = tl.write_version(tl.target(str(tmp_path), "m", "none"), trained, features=made.features,
                              evaluation=evaluation)
    page = (Path(record.path) / "report.html").read_text()
    assert "Augmentation in fine-tuning" in page and "RandAugment draws 2 of these" in page
    assert "Augmentation in fine-tuning: flip of 50% of the images" in (Path(record.path) / "MODEL_CARD.md").read_text(
        ).replace("\\", "")
    assert tl.RunRecord.read(Path(record.path)).fine_tuning.augmentation == augmentation_named("strong")
    shown = augmentation_context(record, made.features.examples)["augmented"]
    assert len(shown) == 3 and all(len(set(row["images"])) == 1 + COPIES for row in shown)  # a row for each class
    gone = replace(made.features.examples, items=tuple(f"{item}.gone" for item in made.features.examples.items))
    assert augmentation_context(record, gone)["augmented"] == []
    frozen = replace(record, fine_tuning=None)
    assert augmentation_context(frozen, gone) == {"augmentation": None, "augmented": []}


@pytest.mark.slow
def test_the_model_itself_augments_nothing(made: Made) -> None:
    """What is exported and evaluated has no layer of augmentation in it."""
    names = {type(layer).__name__ for layer in splice(made.backbone, made.frozen.head)._flatten_layers()}
    assert not any(name.startswith("Random") for name in names)
    assert len(made.examples.split.rows(VALIDATION))
