"""The doctor: a model broken in each of the ways it knows is found, and what is broken named; a sound one passes."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import COLOURS
from text_folders import hugging_face_folder
from tiny import clouds, tiny_backbone

import kerastl as tl
from kerastl.data.read import read_labelled
from kerastl.doctor.examine import examine
from kerastl.doctor.inputs import input_range, input_tokens
from kerastl.doctor.network import batch_norm, frozen, one_step, precision, steady
from kerastl.doctor.patient import Patient
from kerastl.doctor.predictions import learns, shifted
from kerastl.heads import resolve_head
from kerastl.model import splice, unfreeze
from kerastl.tasks import task_named

Shell = Callable[..., tuple[int, str, str]]
LINEAR, LAYERS = resolve_head("linear").build, keras.layers
NOISE = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
CLASSES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def real() -> Any:
    """EfficientNet-Lite0 with its ImageNet weights."""
    return tl.load_backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def coloured(real: Any, images: Path) -> Any:
    """Noisy images of three colours, as the network takes them, [15, 224, 224, 3] uint8."""
    return next(real.input.batches([str(path) for path in sorted(images.rglob("*.png"))[::3]], 15, {})).values


def rescaled(model: Any, scale: float, offset: float) -> Any:
    """The same network with another scaling inside."""
    twin = keras.models.clone_model(model, clone_function=lambda layer: LAYERS.Rescaling(
        scale, offset) if layer.name == "scale" else layer.__class__.from_config(layer.get_config()))
    twin.set_weights(model.get_weights())
    return twin


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "offset", "word"), [
    (1 / 128, -127 / 128, ""),
    (1 / 255 / 128, -127 / 128, "scaled twice, or given in [0, 1]"),  # images in [0, 1] before it scales
    (1 / 127.5 / 128, -128 / 128, "scaled twice, or given in [0, 1]"),  # in [-1, 1]
    (1 / 128**2, -(127 / 128 + 127) / 128, "scaled twice"), (1.0, 0.0, "not scaled"), (1.0, -117.0, "not scaled")])
def test_a_wrong_range_is_found_and_the_right_one_is_not(scale: float, offset: float, word: str, real: Any,
                                                         coloured: Any) -> None:
    found = input_range(rescaled(real.model, scale, offset), coloured)
    assert found.ok is (not word) and word in found.finding and "stem_bn" in found.finding


@pytest.mark.slow
def test_other_images_are_no_wrong_range(real: Any, coloured: Any) -> None:
    low_contrast = (127 + (coloured.astype(np.float32) - 127) * 0.25).astype(np.uint8)
    for images in (coloured[..., ::-1], 255 - coloured, low_contrast, coloured[:1]):
        assert input_range(real.model, images).ok


@pytest.mark.slow
def test_it_cannot_tell_a_range_without_statistics_or_contrast(real: Any) -> None:
    images = keras.Input((32, 32, 3))
    bare = keras.Model(images, LAYERS.GlobalAveragePooling2D()(LAYERS.Conv2D(4, 3)(images)))
    for model, values, why in ((bare, NOISE, "no BatchNorm"), (tiny_backbone().model, NOISE, "random"),
                               (real.model, np.full((4, 224, 224, 3), 255, np.uint8), "blank")):
        found = input_range(model, values)
        assert found.ok is None and why in found.finding


def spliced() -> tuple[Any, Any]:
    """A sound model on the tiny backbone, and the backbone."""
    backbone = tiny_backbone()
    return splice(backbone, LINEAR(backbone.shape, 3)), backbone


def step_of(model: Any) -> Any:
    return one_step(model, NOISE, np.eye(3, dtype=np.float32)[np.arange(8) % 3])


def test_live_batch_norm_is_found_and_everything_is_put_back() -> None:
    model, backbone = spliced()
    step = step_of(model)
    assert step.head_moved and not step.moved
    assert batch_norm(backbone.model, step).ok and frozen(backbone.model, step).ok
    backbone.model.trainable = True
    for layer in backbone.model.layers:
        layer.trainable = layer.name == "block2_bn"
    before = [weight.tobytes() for weight in model.get_weights()]
    step = step_of(model)
    found = batch_norm(backbone.model, step)
    assert found.ok is False and "1 layer " in found.finding and "block2_bn" in found.finding
    assert batch_norm(backbone.model, replace(step, moved=())).ok is False  # its flag alone tells
    assert [path for path in step.moved if "moving" in path] and frozen(backbone.model, step).ok
    assert [weight.tobytes() for weight in model.get_weights()] == before


class Counting(LAYERS.Layer):
    """Keeps a running mean of its own, frozen or not."""

    def build(self, shape: Any) -> None:
        self.mean = self.add_weight(shape=(), trainable=False, name="mean")

    def call(self, x: Any, training: Any = None) -> Any:
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x))
        return x - self.mean


def with_layer(layer: Any, head: Any = None) -> Any:
    """A sound model but for one layer on its backbone's features."""
    backbone = tiny_backbone()
    odd = keras.Model(backbone.model.input, layer(backbone.model.output), name="odd")
    return splice(replace(backbone, model=odd), head or LINEAR(backbone.shape, 3))


def test_statistics_that_move_though_frozen_are_found_by_the_step() -> None:
    model = with_layer(Counting(name="counting"))
    found = batch_norm(model.layers[1], step_of(model))
    assert found.ok is False and "counting" in found.finding


def test_unfrozen_weights_are_found_by_name() -> None:
    model, backbone = spliced()
    unfreeze(backbone, 1)
    step = step_of(model)
    found = frozen(backbone.model, step)
    assert found.ok is False and "block2_conv" in found.finding
    assert "2 weights" in found.finding and "changed 2" in found.finding
    assert batch_norm(backbone.model, step).ok


class Shaky(LAYERS.Layer):
    """Noise at all times: of the batch as a whole, or of each row and the same each time."""

    def __init__(self, rows: bool, **more: Any) -> None:
        super().__init__(**more)
        self.rows = rows

    def call(self, x: Any) -> Any:
        if self.rows:
            return x + tf.random.stateless_normal(tf.shape(x), (1, 2))
        return x * tf.random.uniform((), 0.5, 1.5)


@pytest.mark.parametrize("rows", [True, False])
def test_what_acts_at_random_outside_training_is_named(rows: bool) -> None:
    found = steady(with_layer(Shaky(rows, name="shaky")), NOISE)
    assert found.ok is False and "shaky" in found.finding


def test_what_acts_in_training_only_is_sound() -> None:
    assert steady(with_layer(LAYERS.GaussianNoise(0.5)), NOISE).ok
    assert steady(splice(tiny_backbone(), resolve_head("mlp").build((24,), 3)), NOISE).ok


def half_heads() -> dict[str, Any]:
    features = keras.Input((24,))
    wide = LAYERS.Dense(3, dtype="float16", name="narrow")(features)
    return {
        "narrow": keras.Model(features, LAYERS.Activation("linear", dtype="float32")(wide)),
        "soft": keras.Sequential([features, LAYERS.Dense(3), LAYERS.Softmax(dtype="bfloat16", name="soft")]),
        "sigma": keras.Sequential([features, LAYERS.Dense(3), LAYERS.Activation("sigmoid", dtype="float16",
                                                                                name="sigma"), LAYERS.Rescaling(1.0)]),
        "softmax": keras.Model(features, keras.ops.cast(keras.ops.softmax(keras.ops.cast(
            LAYERS.Dense(3)(features), "float16")), "float32")),
    }


@pytest.mark.parametrize("name", half_heads())
def test_half_precision_at_the_end_is_found_by_name(name: str) -> None:
    found = precision(splice(tiny_backbone(), half_heads()[name]))
    assert found.ok is False and name in found.finding and "float16" in found.finding


def test_half_precision_before_the_end_is_sound() -> None:
    head = keras.Sequential([keras.Input((24,)), LAYERS.Dense(8, activation="relu", dtype="bfloat16"),
                             LAYERS.Dense(3, activation="softmax", dtype="float32")])
    assert precision(splice(tiny_backbone(), head)).ok


def answers(labels: Any, right: float, seed: int = 0) -> Any:
    """Logits that are right for this share of the rows, and anything on the others."""
    generator = np.random.default_rng(seed)
    said = np.where(generator.random(len(labels)) < right, labels, generator.integers(0, 4, len(labels)))
    return np.eye(4, dtype=np.float32)[said]


def test_shifted_and_swapped_labels_are_named() -> None:
    labels = np.random.default_rng(1).integers(0, 4, 120)
    logits = answers(labels, 0.6)
    assert shifted(logits, labels, CLASSES).ok
    found = shifted(logits, (labels + 3) % 4, CLASSES)
    assert found.ok is False and "shifted by 3" in found.finding
    swapped = np.array([1, 0, 2, 3])[labels]
    found = shifted(answers(labels, 0.9), swapped, CLASSES)
    assert found.ok is False and "a is labelled b, b is labelled a" in found.finding


def test_noise_is_not_taken_for_a_shift() -> None:
    wrong = 0
    for seed in range(300):
        labels = np.random.default_rng((5, seed)).integers(0, 4, 60)
        wrong += shifted(answers(labels, 0.0, seed), labels, CLASSES).ok is False
    assert wrong <= 2  # one in a thousand is allowed
    assert shifted(answers(labels[:19], 1.0), labels[:19], CLASSES).ok is None
    assert shifted(answers(labels, 1.0), np.eye(4, dtype=np.int64)[labels], CLASSES).ok is None


def rows(n: int = 40) -> tuple[Any, Any]:
    x, y = clouds(n, 3, 24, apart=4.0)
    return x, np.eye(3, dtype=np.float32)[y]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "mlp", "shallow"])
def test_a_sound_head_learns_and_stays_as_it_is(head: str) -> None:
    model = resolve_head(head).build((24,), 3)
    before = [weight.tobytes() for weight in model.get_weights()]
    assert learns(model, *rows()).ok
    assert learns(LINEAR((24,), 3), 1e-5 * rows()[0], rows()[1]).ok  # of one layer, at any scale
    assert [weight.tobytes() for weight in model.get_weights()] == before


@pytest.mark.slow
def test_a_frozen_head_is_thawed_in_its_copy_alone() -> None:
    head = resolve_head("mlp").build((24,), 3)
    for layer in head.layers:
        layer.trainable = False
    assert learns(head, *rows()).ok and step_of(splice(tiny_backbone(), head)).head_moved
    assert not head.trainable_weights


@pytest.mark.slow
def test_a_head_that_does_not_learn_is_told_why() -> None:
    x, y = rows()
    dead = keras.Sequential([keras.Input((24,)), LAYERS.Dense(
        8, activation="relu", bias_initializer=keras.initializers.Constant(-1e4), name="hidden"), LAYERS.Dense(3)])
    for head, features, targets, rate, why in (
            (LINEAR((24,), 3), x, y, 1e-7, "too slowly"),
            (resolve_head("shallow").build((24,), 3), x, y, 1e4, "rate is too high"),
            (dead, x, y, 1e-3, "no unit of hidden"), (LINEAR((24,), 3), np.ones_like(x), y, 1e-3, "are equal"),
            (LINEAR((24,), 3), x, np.eye(3, dtype=np.float32)[np.zeros(40, int)], 1e-3, "the same label"),
            (LINEAR((24,), 3), x * np.float32("nan"), y, 1e-3, "not finite")):
        found = learns(head, features, targets, rate=rate)
        assert found.ok is False and why in found.finding, found


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny BERT with a vocabulary of its own."""
    return tl.load_backbone("bert_base", str(hugging_face_folder(tmp_path_factory.mktemp("b") / "bert", "bert")))


def tokens_of(backbone: Any) -> Any:
    return next(backbone.input.batches(["a good film", "an awful, dull film it is", "so"], 3, {}, in_order=True)).values


@pytest.mark.slow
def test_tokens_of_another_vocabulary_are_found(bert: Any) -> None:
    tokenizer, tokens = bert.input.tokenizer, tokens_of(bert)
    assert input_tokens(bert.model, tokens, tokenizer, tokenizer.fingerprint, 64).ok
    beyond = replace(tokenizer, pieces=tokenizer.pieces + ("more",) * 500)
    other = replace(tokenizer, pieces=tokenizer.pieces[:-2] + tokenizer.pieces[-2:][::-1])
    unmasked = replace(tokenizer, pad=tokenizer.unknown)
    for taken, wanted, why in ((beyond, None, "the embedding has"), (other, tokenizer.fingerprint, "not that of"),
                               (unmasked, None, "not masked")):
        found = input_tokens(bert.model, tokens, taken, wanted, 64)
        assert found.ok is False and why in found.finding
    assert input_tokens(bert.model, tokens + 5000, tokenizer, None, 64).ok is False


@pytest.mark.slow
def test_a_sound_model_of_real_weights_passes_all(real: Any, images: Path, tmp_path: Path) -> None:
    examples = tl.split(read_labelled("image", str(images)), "cv")
    runtime = tl.apply_runtime("float32", "off", 0)
    features = tl.compute_features(examples, real, runtime, cache_dir=tmp_path)
    trained = tl.train(features)
    found = examine(Patient(trained.model, real.input, examples, task_named("single_label"), True))
    assert [one.ok for one in found] == [True] * 7, found


@pytest.mark.slow
def test_the_verb_passes_a_sound_model_and_names_what_is_wrong(shell: Shell, trained: Path, images: Path,
                                                               tmp_path: Path) -> None:
    code, out, err = shell("doctor", trained, "--json")
    found = json.loads(out)
    assert code == 0 and found["wrong"] == [] and found["rows"] == 42, err
    assert [one["ok"] for one in found["findings"]] == [None] + 6 * [True]  # random weights have no range
    turned = tmp_path / "turned"
    names = list(COLOURS)
    for i, name in enumerate(names):
        shutil.copytree(images / name, turned / names[(i + 1) % 3])
    code, out, _ = shell("doctor", trained, "--data", turned)
    assert code == 1 and "labels are shifted by" in out and "problems: labels" in out.splitlines()[-1]


@pytest.mark.slow
def test_the_verb_finds_what_was_saved_unfrozen_and_does_without_data(shell: Shell, trained: Path, tmp_path: Path
                                                                      ) -> None:
    broken = shutil.copytree(trained, tmp_path / "1")
    model = keras.models.load_model(broken / "model.keras", compile=False)
    model.layers[1].trainable = True
    model.save(broken / "model.keras")
    run = json.loads((broken / "run.json").read_text())
    run["config"]["data"] = str(tmp_path / "gone")
    (broken / "run.json").write_text(json.dumps(run))
    code, out, _ = shell("doctor", broken, "--json")
    found = json.loads(out)
    assert code == 1 and found["wrong"] == ["batch norm", "frozen weights"] and found["rows"] == 0
    unseen = {one["name"]: one["word"] for one in found["findings"] if one["ok"] is None}
    assert set(unseen) == {"input range", "labels", "head learns"} and "no data" in unseen["labels"]


@pytest.mark.slow
def test_the_verb_takes_recipes_and_refuses_bad_use(shell: Shell, trained: Path, images: Path) -> None:
    code, out, err = shell("doctor", "tiny_images", "--data", images, "--weights", "none", "--head", "mlp", "--json")
    found = {one["name"]: one["ok"] for one in json.loads(out)["findings"]}
    assert code == 0 and found["head learns"] and found["labels"] is None, err
    for words, why in ((("tiny_images",), "is a recipe"), (("no_such",), "no_such"),
                       ((trained, "--head", "mlp"), "is a model"),
                       ((trained, "--data", "nowhere"), "nowhere")):
        code, _, err = shell("doctor", *words)
        assert code == 2 and why in err, err


@pytest.mark.slow
def test_a_sound_text_model_passes(shell: Shell, tmp_path: Path) -> None:
    from test_text_models import made_texts, write_table

    folder = hugging_face_folder(tmp_path / "bert", "bert")
    data = write_table(tmp_path / "t.csv", ("text", "label"), made_texts(20))
    code, _, err = shell("run", "bert_text", "--data", data, "--name", "m", "--out", tmp_path, "--weights", folder,
                         "--unfreeze", "0", "--tflite", "none")
    assert code == 0, err
    code, out, err = shell("doctor", tmp_path / "m", "--json")
    assert code == 0 and [one["ok"] for one in json.loads(out)["findings"]] == [True] * 7, (out, err)
