"""What fine-tuning may be asked for: blocks thawed one by one, LoRA, mixed images, averaged weights, a rate found."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from test_fine_tune import CLOSE, Made
from test_text_models import made_texts, write_table
from text_folders import hugging_face_folder
from tiny import plain_runtime

import kerastl as tl
from kerastl.backbones import weights_hash
from kerastl.data.examples import TRAIN
from kerastl.errors import CheckFailed, OptionError
from kerastl.inputs import floats
from kerastl.modality import IMAGE, TEXT
from kerastl.model import blocks, parts_of
from kerastl.report.learning_rate_chart import learning_rate_chart
from kerastl.training.augmentation import augmentation_named
from kerastl.training.fine_tuning import fine_tune as fine_tuning
from kerastl.training.fine_tuning import learning_rate_finder as rates
from kerastl.training.fine_tuning.batches import training_data
from kerastl.training.fine_tuning.checkpoints import Checkpoints
from kerastl.training.fine_tuning.frozen import prove_frozen
from kerastl.training.fine_tuning.mixing import mixer
from kerastl.training.fine_tuning.plan import TuningOptions, plan_for
from kerastl.training.fine_tuning.result import LearningRateCurve
from kerastl.training.fine_tuning.trainee import make_trainee, weights_of

FOUND = LearningRateCurve(learning_rates=(1e-6, 1e-5), losses=(1.0, 0.9), suggested=7e-5)

@pytest.fixture(scope="module")
def close(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("close"), 40, CLOSE)


class Texts(Made):
    """The same on texts and a tiny BERT."""

    def __init__(self, folder: Path, cache: Path, **choices: Any) -> None:
        self.cache, self.runtime = cache, plain_runtime(**choices)
        self.backbone = tl.load_backbone("bert_base", str(folder / "bert"), modality="text")
        examples = tl.split(tl.read_texts(str(folder / "t.csv")), "holdout")
        self.features = tl.compute_features(examples, self.backbone, self.runtime, cache_dir=cache)
        self.examples = self.features.examples
        self.frozen = tl.fit(self.features)
        self.model = tl.splice(self.backbone, self.frozen.head)
        self.before = self.model.get_weights()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_table(folder / "t.csv", ("text", "label"), made_texts(60))
    hugging_face_folder(folder / "bert", "bert", variant="head")
    return folder


class Seen(Checkpoints):
    """Notes at each epoch's end the weights, in the model's layout; stops where told, as Ctrl-C does."""

    weights: list[list[Any]]
    stop: int | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.weights.append(weights_of(self.trainee))
        if epoch == self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def seen(monkeypatch) -> type[Seen]:
    monkeypatch.setattr(fine_tuning, "Checkpoints", Seen)
    Seen.weights, Seen.stop = [], None
    return Seen


# Gradual


def moved_layers(model: Any, before: list[Any], after: list[Any]) -> set[str]:
    return {weight.path.split("/")[0] for weight, old, new in zip(model.weights, before, after, strict=True)
            if not np.array_equal(old, new)}


@pytest.mark.slow
def test_blocks_thaw_one_an_epoch_from_the_top_also_after_a_stop(close: Path, tmp_path: Path, seen: type[Seen]) -> None:
    seen.stop = 0
    made = Made(close, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        made.tune(epochs=3, blocks=2, gradual=True)
    seen.stop = None
    made = Made(close, tmp_path)
    made.tune(epochs=3, blocks=2, gradual=True)
    steps = [made.before, *seen.weights]
    assert [moved_layers(made.model, old, new) for old, new in zip(steps, steps[1:], strict=False)] == [
        {"linear", "block2_conv"}, *[{"linear", "block2_conv", "block1_conv"}] * 2]


@pytest.mark.slow
def test_a_block_whose_turn_never_comes_is_proven_frozen(close: Path, tmp_path: Path, seen: type[Seen]) -> None:
    made = Made(close, tmp_path)
    tuned = made.tune(epochs=1, blocks=2, gradual=True)
    assert tuned.layers == ("block1_conv", "block2_conv") and tuned.plan.gradual
    assert moved_layers(made.model, made.before, seen.weights[0]) == {"linear", "block2_conv"}


# The proof


def test_equal_weights_are_proven_and_a_moved_one_is_named() -> None:
    paths = ["a/conv/kernel", "b/bn/moving_mean", "c/kernel"]
    before = [np.ones(3, np.float32)] * 3
    bit = [before[0], np.nextafter(before[0], 2, dtype=np.float32), before[0] + 1]
    prove_frozen(paths, before, bit, [False, True, True])
    with pytest.raises(CheckFailed, match="1 frozen weights changed .* in b/bn\n"):
        prove_frozen(paths, before, bit, [True, False, True])


def live(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, inputs, training=None, mask=None: call(self, inputs, training=True, mask=mask)


@pytest.mark.parametrize(("precision", "broken"), [
    ("float32", "statistics"), pytest.param("float32", "scale", marks=pytest.mark.slow),
    pytest.param("mixed_bfloat16", "statistics", marks=pytest.mark.slow),
    pytest.param("mixed_bfloat16", "scale", marks=pytest.mark.slow)])
def test_a_batch_norm_that_trains_fails_the_check(precision: str, broken: str, close: Path, tmp_path: Path, monkeypatch
                                                  ) -> None:
    """Its statistics move when it is called as in training, its scale and offset when it is left trainable."""
    made = Made(close, tmp_path, precision=precision)
    if broken == "statistics":
        norm = keras.layers.BatchNormalization
        monkeypatch.setattr(norm, "call", live(norm.call))
        monkeypatch.setattr(norm, "trainable", property(lambda self: True, lambda self, value: None))
    else:
        monkeypatch.setattr("kerastl.training.fine_tuning.trainee.unfreeze_last", thaw_all)
    with pytest.raises(CheckFailed, match="block2_bn"):
        made.tune(epochs=1)
    assert not list(tmp_path.glob("fine_tune/*/after-*"))  # nothing to go on from


def thaw_all(backbone: Any, n: int) -> None:
    for layer in backbone.model.layers:
        layer.trainable = True
    backbone.model.trainable = True


# LoRA


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_lora_trains_query_and_value_alone_and_leaves_the_layout(precision: str, texts: Path, tmp_path: Path) -> None:
    made = Texts(texts, tmp_path, precision=precision)
    paths, named = [weight.path for weight in made.model.weights], made.backbone.weights_hash
    made.model.set_weights([*made.before[:-2], *(-value for value in made.before[-2:])])  # so that any step helps
    made.before = made.model.get_weights()
    tuned = made.tune(epochs=2, blocks=1, lora=2, learning_rate=2e-3)
    assert tuned.kept and tuned.plan.lora == 2 and tuned.loss_after < tuned.loss_before
    assert [weight.path for weight in made.model.weights] == paths
    moved = {path for path, moved in made.moved().items() if moved}
    last = blocks(made.backbone)[-1][0].name
    backbone = {path for path in moved if not path.startswith("linear")}
    assert len(backbone) == 2 and all(f"{last}/" in path and path.endswith(("query/kernel", "value/kernel"))
                                      for path in backbone) and len(moved) == 4
    for path, old, new in zip(paths, made.before, made.model.get_weights(), strict=True):
        if path in backbone:
            change = (new - old).reshape(-1, new.shape[-1])
            assert np.linalg.matrix_rank(change, tol=1e-3 * np.linalg.norm(change)) <= 2
    assert weights_hash(made.backbone.model) != named
    made.model.set_weights(made.before)
    assert weights_hash(made.backbone.model) == named  # the same layout


@pytest.mark.slow
def test_merged_weights_answer_as_lora_does(texts: Path, tmp_path: Path) -> None:
    made = Texts(texts, tmp_path)
    plan = plan_for(TEXT, 90, TuningOptions(lora=3))
    trainee = make_trainee(made.model, made.backbone, 2, plan, made.runtime)
    assert len(trainee.adapted) == 4 and trainee.network is not made.model
    generator = np.random.default_rng(0)
    for part in trainee.adapted.values():
        part.lora_kernel_b.assign(generator.normal(size=part.lora_kernel_b.shape).astype(np.float32) * 0.3)
    tokens = next(made.backbone.input.single().batches(list(made.examples.items[:8]), 8, {}, in_order=True)).values
    plain, changed = (np.asarray(model(floats(tf.constant(tokens)))) for model in (made.model, trainee.network))
    assert np.abs(plain - changed).max() > 1e-2
    made.model.set_weights(weights_of(trainee))
    assert np.abs(np.asarray(made.model(floats(tf.constant(tokens)))) - changed).max() < 1e-5


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_lora_goes_on_where_it_stopped(precision: str, texts: Path, tmp_path: Path, seen: type[Seen]) -> None:
    """The factors themselves are kept: merged into their kernels, they would start anew from zero and never leave."""
    asked: dict[str, Any] = {"epochs": 3, "blocks": 2, "lora": 2, "learning_rate": 0.01}
    Texts(texts, tmp_path / "whole", precision=precision).tune(**asked)
    whole, seen.weights, seen.stop = seen.weights, [], 1
    with pytest.raises(KeyboardInterrupt):
        Texts(texts, tmp_path / "parts", precision=precision).tune(**asked)
    seen.stop = None
    tuned = Texts(texts, tmp_path / "parts", precision=precision).tune(**asked)
    assert [one["epoch"] for one in tuned.epochs] == [1, 2, 3] and len(seen.weights) == 3
    apart = max(np.abs(a - b).max() for a, b in zip(whole[2], seen.weights[2], strict=True))
    step = max(np.abs(a - b).max() for a, b in zip(whole[2], whole[1], strict=True))
    assert apart < step / 20


@pytest.mark.slow
def test_a_twin_of_texts_trains_the_last_block_alone(texts: Path, tmp_path: Path, seen: type[Seen]) -> None:
    made = Texts(texts, tmp_path, precision="mixed_bfloat16")
    made.tune(epochs=1, blocks=1)
    last = blocks(made.backbone)[-1][0].name
    assert moved_layers(made.model, made.before, seen.weights[0]) == {"linear", last}


def test_lora_needs_attention_among_what_is_unfrozen() -> None:
    from kerastl.training.fine_tuning.lora import adapt

    with pytest.raises(OptionError, match="query and value"):
        adapt([[keras.layers.Dense(3)]], 4)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_any_work(close: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"`lora` must be 0 for images.*got 4"):
        Made(close, tmp_path).tune(lora=4)
    with pytest.raises(OptionError, match="`mixing` must be auto or none for texts"):
        Texts(texts, tmp_path).tune(mixing="mixup")
    assert not (tmp_path / "fine_tune").exists()


# Mixing


def flat(n: int = 32, size: int = 64) -> tuple[Any, Any, Any]:
    """Images of one number each, n different ones; a class each; two weights."""
    level = np.arange(1, n + 1, dtype=np.float32)
    return (tf.constant(np.broadcast_to(level[:, None, None, None], (n, size, size, 3)).copy()),
            tf.constant(np.eye(n, dtype=np.float32)), tf.constant(np.where(level % 2, 1.0, 3.0).astype(np.float32)))


def shares(mix: str) -> tuple[Any, Any, Any, Any]:
    """By a map of tf.data: of each mixed image the share of every image, its targets and its weight; weights."""
    images, targets, weights = flat()
    data = tf.data.Dataset.from_tensors((images, targets, weights)).map(mixer(mix, 0))
    mixed, y, w = (np.asarray(one) for one in next(iter(data)))
    assert mixed.shape == images.shape
    return mixed, y, w, np.asarray(weights)


def loss_shares(y: Any, w: Any, weights: Any) -> Any:
    """Of each mixed row, by what share each row's own loss counts in its own: [n, n], rows sum to 1."""
    return y * w[:, None] / weights[None, :]


def test_mixup_mixes_images_targets_and_weights_by_one_share() -> None:
    mixed, y, w, weights = shares("mixup")
    share = loss_shares(y, w, weights)
    assert np.allclose(y.sum(axis=1), 1, atol=1e-5) and np.allclose(share.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(share @ np.arange(1, 33), mixed[:, 0, 0, 0], rtol=1e-4)
    assert np.allclose(mixed, mixed[:, :1, :1, :1])
    largest = share.max(axis=1)
    assert (largest < 0.99).sum() >= 4 and len(np.unique(largest[largest < 0.99].round(4))) >= 4  # each its own


def test_cutmix_pastes_a_rectangle_and_mixes_targets_by_its_area() -> None:
    mixed, y, w, weights = shares("cutmix")
    share = loss_shares(y, w, weights)
    found = np.stack([[(one == level).mean() for level in range(1, 33)] for one in mixed])
    assert np.allclose(found.sum(axis=1), 1) and (found.max(axis=1) < 0.9).sum() >= 10
    assert np.abs(found - share).max() < 2 / 64 + 1 / 64**2  # sides are not rounded to pixels in the targets
    for one in mixed:
        places = [np.nonzero(one[:, :, 0] == level) for level in np.unique(one)]
        assert len(places) <= 2 and any((np.ptp(ys) + 1) * (np.ptp(xs) + 1) == len(ys) for ys, xs in places)


def test_the_loss_of_a_mixed_row_is_that_of_both_by_share_and_weight() -> None:
    _, y, w, weights = shares("mixup")
    logits = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="none")
    each = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(loss_shares(y, w, weights) * weights[None, :] * each).sum(axis=1)
    assert np.allclose(np.asarray(loss(y, logits)) * w, expected, rtol=1e-4)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.slow
def test_images_are_mixed_in_training_alone(mix: str, close: Path, tmp_path: Path) -> None:
    made = Made(close, tmp_path)
    _, y, w = next(iter(training_data(made.backbone.input, made.examples, 32, made.frozen.settings,
                                       augmentation_named("standard"), mix, 0)))
    assert ((np.asarray(y) > 0.02) & (np.asarray(y) < 0.98)).any() and np.allclose(w, 1, atol=1e-5)
    tuned = made.tune(epochs=2, mixing=mix)
    assert tuned.plan.mixing == mix
    if tuned.kept:  # the loss of plain validation rows, which float32 gives again
        assert tuned.loss_after == pytest.approx(min(one["val_loss"] for one in tuned.epochs), rel=1e-4)


@pytest.mark.slow
def test_several_labels_mix_too(close: Path, tmp_path: Path) -> None:
    made = Made(close, tmp_path, several=True)
    assert np.isfinite(made.tune(epochs=1, mixing="mixup").loss_after)


# Averaged weights


@pytest.mark.parametrize("stop", [None, 2])
@pytest.mark.slow
def test_the_mean_of_the_last_epochs_is_kept_if_it_validates_better(stop: int | None, close: Path, tmp_path: Path,
                                                                    seen: type[Seen]) -> None:
    asked: dict[str, Any] = {"epochs": 4, "average_epochs": 3, "learning_rate": 0.02, "schedule": "one-cycle"}
    if stop is not None:
        seen.stop = stop
        with pytest.raises(KeyboardInterrupt):
            Made(close, tmp_path).tune(**asked)
        seen.stop = None
    made = Made(close, tmp_path)
    tuned = made.tune(**asked)
    means = [np.mean([epoch[i] for epoch in seen.weights[1:]], axis=0, dtype=np.float64)
             for i in range(len(made.before))]
    shipped = made.model.get_weights()
    found = linear_loss(made, means)
    assert tuned.average_loss == pytest.approx(found, rel=1e-3)
    best = min(one["val_loss"] for one in tuned.epochs)
    assert tuned.averaged_epochs == ((2, 3, 4) if found < min(best, tuned.loss_before) else ())
    assert tuned.loss_after == pytest.approx(min(found, best), rel=1e-3) or not tuned.kept
    if tuned.averaged_epochs:
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(shipped, means, strict=True))
        moved = {w.path.split("/")[0] for w, old, new in zip(made.model.weights, made.before, shipped, strict=True)
                 if not np.array_equal(old, new)}
        assert moved == {"linear", "block2_conv"}


def linear_loss(made: Made, weights: list[Any]) -> float:
    kept = made.model.get_weights()
    made.model.set_weights(weights)
    loss = made.loss()
    made.model.set_weights(kept)
    return loss


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.slow
def test_whichever_of_mean_and_best_epoch_validates_better_is_taken(better: bool, close: Path, tmp_path: Path,
                                                                    monkeypatch) -> None:
    """In turn one of them is spoilt."""
    made = Made(close, tmp_path)
    worse = [*made.before[:-1], made.before[-1] + np.float32([3, 0, 0])]
    monkeypatch.setattr(fine_tuning.Checkpoints, "best" if better else "average", lambda self: worse)
    tuned = made.tune(epochs=2, average_epochs=2)
    assert tuned.kept and tuned.averaged_epochs == ((1, 2) if better else ())
    assert tuned.loss_after == pytest.approx(made.loss(), rel=1e-4)
    assert (tuned.loss_after == tuned.average_loss) is better


# The rate


def test_a_rate_is_suggested_on_the_way_down() -> None:
    tried = rates.rates_tried()
    assert tried[0] == pytest.approx(1e-6) and tried[-1] == pytest.approx(1e-2) and len(tried) == rates.UPDATES
    valley = [1 + (math.log10(rate) + 3.5) ** 2 / 10 for rate in tried]  # lowest at 10 ** -3.5
    assert rates.suggest(tried, valley) == pytest.approx(10 ** -4.5, rel=0.2)
    assert rates.suggest(tried, np.linspace(1, 2, len(tried)).tolist()) is None
    assert rates.suggest(tried[:1], [1.0]) is None
    assert [float(rates.Ramp()(step)) for step in (0, 11, 47)] == pytest.approx([tried[i] for i in (0, 11, 47)],
                                                                               rel=1e-3)


def test_losses_are_smoothed_without_a_pull_to_nothing() -> None:
    assert rates.smooth([2.0] * 9) == pytest.approx([2.0] * 9)
    found = rates.smooth([1.0] * 20 + [2.0] * 20)
    assert 1 < found[21] < 1.5 and found[-1] > 1.95


@pytest.mark.slow
def test_the_search_reads_training_rows_alone_and_puts_all_weights_back(close: Path, tmp_path: Path, monkeypatch
                                                                        ) -> None:
    made = Made(close, tmp_path)
    read: list[int] = []
    values_of = rates.training_data.__globals__["values_of"]

    def noted(source: Any, examples: Any, rows: Any, *more: Any, **most: Any) -> Any:
        read.extend(rows.tolist())
        return values_of(source, examples, rows, *more, **most)

    monkeypatch.setitem(rates.training_data.__globals__, "values_of", noted)
    curve = rates.find_learning_rate(made.features, made.model, made.frozen, 2)
    assert set(read) <= set(made.examples.split.rows(TRAIN).tolist()) and len(set(read)) > 50
    assert not any(made.moved().values()) and not made.model.trainable_weights
    assert len(curve.learning_rates) == len(curve.losses) > 20 and np.isfinite(curve.losses).all()
    assert np.ptp(curve.losses) > 1e-3  # it did train


@pytest.mark.slow
def test_a_search_ends_where_the_loss_diverges(close: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rates, "HIGHEST", 1e3)
    made = Made(close, tmp_path)
    curve = rates.find_learning_rate(made.features, made.model, made.frozen, 2)
    assert len(curve.learning_rates) < rates.UPDATES and curve.losses[-1] > min(curve.losses) + 0.9
    assert not any(made.moved().values())


@pytest.mark.slow
def test_a_run_trains_at_the_rate_found_and_looks_once(close: Path, tmp_path: Path, seen: type[Seen], monkeypatch
                                                       ) -> None:
    looked = []

    def range_test(trainee: Any, *more: Any) -> LearningRateCurve:
        looked.append(trainee)
        return FOUND

    monkeypatch.setattr(fine_tuning, "range_test", range_test)
    seen.stop = 0
    with pytest.raises(KeyboardInterrupt):
        Made(close, tmp_path).tune(epochs=2, find_learning_rate=True)
    seen.stop = None
    tuned = Made(close, tmp_path).tune(epochs=2, find_learning_rate=True)
    assert len(looked) == 1 and len(tuned.epochs) == 2
    assert tuned.plan.learning_rate == 7e-5 and tuned.curve == FOUND


@pytest.mark.slow
def test_a_search_of_texts_in_parts_with_lora(texts: Path, tmp_path: Path, monkeypatch) -> None:
    """Each batch is trained in two parts; the search counts updates, not parts."""
    monkeypatch.setattr(fine_tuning, "_accumulate", lambda *args: 2)
    made = Texts(texts, tmp_path)
    tuned = made.tune(epochs=2, blocks=2, find_learning_rate=True, lora=2, average_epochs=2, gradual=True)
    assert tuned.plan.accumulate == 2 and tuned.curve and 20 < len(tuned.curve.learning_rates) <= rates.UPDATES
    assert json.dumps(tuned.to_dict())


@pytest.mark.slow
def test_xla_trains_with_all_of_it(texts: Path, tmp_path: Path) -> None:
    tuned = Texts(texts, tmp_path, xla="on").tune(epochs=2, blocks=2, gradual=True, lora=2, average_epochs=2)
    assert len(tuned.epochs) == 2 and np.isfinite(tuned.average_loss)


def test_the_chart_shows_the_curve_and_the_rate() -> None:
    tried = rates.rates_tried()
    losses = tuple(1 + i / 50 for i in range(len(tried)))
    curve = LearningRateCurve(learning_rates=tuple(tried), losses=losses, suggested=1e-4)
    root = ElementTree.fromstring(learning_rate_chart(curve))
    points = next(node for node in root.iter() if node.tag == "polyline").get("points").split()
    assert len(points) == len(tried)
    xs, ys = ([float(point.split(",")[axis]) for point in points] for axis in (0, 1))
    assert xs == sorted(xs) and ys == sorted(ys, reverse=True)  # up the page is less
    upright = next(node for node in root.iter("line") if node.get("class") == "ideal")
    assert float(upright.get("x1")) == pytest.approx((min(xs) + max(xs)) / 2, abs=0.2)  # the middle of 1e-6 to 1e-2
    assert "1e-04" in "".join(root.itertext())
    assert 'class="ideal"' not in learning_rate_chart(replace(curve, suggested=None))
    assert learning_rate_chart(None) == ""
    assert learning_rate_chart(LearningRateCurve(learning_rates=(1.0,), losses=(1.0,), suggested=None)) == ""


@pytest.mark.slow
def test_heads_batch_norm_keeps_its_statistics_too(close: Path, tmp_path: Path) -> None:
    made = Made(close, tmp_path)
    head = keras.Sequential([keras.Input((24,)), keras.layers.BatchNormalization(), keras.layers.Dense(3)], name="h")
    model = tl.splice(made.backbone, head)
    trainee = make_trainee(model, made.backbone, 1, plan_for(IMAGE, 90), made.runtime)
    norm = parts_of(model)[1].layers[0]
    assert not norm.trainable and head.layers[1].trainable
    frozen = {weight.path for weight, start in zip(trainee.weights, trainee.starts, strict=True) if start is None}
    assert {weight.path for weight in norm.weights} <= frozen
