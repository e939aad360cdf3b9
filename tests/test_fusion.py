"""Two backbones as one, a+b: their features, their blocks, what is exported, the heads that know the parts."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from test_sweep import answers_the_same_after_loading
from tiny import held_out, made_examples, made_features, plain_runtime

import kerastl as tl
from kerastl.backbones import NO_POOLING, Backbone, spec_of
from kerastl.decision import Calibration
from kerastl.errors import OptionError
from kerastl.export.tflite import Interpreter, convert
from kerastl.heads import resolve_head
from kerastl.model import blocks, unfreeze
from kerastl.tasks import task_named
from kerastl.training.fitters.solver import solve
from kerastl.training.options import TrainingOptions
from kerastl.training.scaling import scale_of

Shell = Callable[..., tuple[int, str, str]]
PAIR = "tiny_net+tiny_net24"


@pytest.fixture(scope="module")
def pair() -> Backbone:
    """32 and 24 pixels, 24 and 20 features, both random."""
    return tl.load_backbone(PAIR, "none")


def noise(size: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (n, size, size, 3)).astype(np.float32)


def features_of(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    return np.asarray(backbone.model(images, training=False))


def test_a_pair_gives_what_its_parts_give_of_the_same_image(pair: Backbone) -> None:
    assert (pair.dim, pair.parts, pair.input.size, pair.shape) == (44, (24, 20), 32, (44,))
    assert tl.load_backbone("tiny_net", "none").parts == (24,)
    images = noise(32)
    small = tf.image.resize(images, [24, 24], "bilinear").numpy()
    wanted = np.concatenate([features_of(tl.load_backbone("tiny_net", "none"), images),
                             features_of(tl.load_backbone("tiny_net24", "none"), small)], axis=1)
    assert np.abs(features_of(pair, images) - wanted).max() < 1e-5 and wanted.std() > 0.01
    turned = tl.load_backbone("tiny_net24+tiny_net", "none")
    assert turned.parts == (20, 24) and turned.input.size == 32
    assert np.abs(features_of(turned, images) - np.roll(wanted, 20, axis=1)).max() < 1e-5


def test_a_much_larger_image_is_shrunk_so_that_every_pixel_counts() -> None:
    from kerastl.backbones._fusion import _resized

    images = keras.Input((50, 50, 3))
    model = keras.Model(images, _resized(images, 16, 1))
    assert model.output_shape == (None, 16, 16, 3)
    image = tf.Variable(noise(50, 1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(image))
    assert np.asarray(tape.gradient(total, image)).min() > 0
    flat = np.full((1, 50, 50, 3), 77.0, np.float32)
    assert np.abs(np.asarray(model(flat)) - 77).max() < 1e-3
    assert np.abs(np.asarray(model(image)) - tf.image.resize(image, [16, 16], "area").numpy()).mean() < 15


def test_what_is_known_of_a_pair(pair: Backbone) -> None:
    spec, preset = spec_of("efficientnet_lite0+resnet50")
    assert (spec.size, spec.dim, spec.parameters, preset) == (224, 3328, 3_413_024 + 23_587_712, "")
    assert spec.weights[0].kind == "bundled,imagenet" and spec.weights[0].licence == "Apache-2.0, MIT"
    assert "shrunk" not in spec.preprocessing and "(x - 127) / 128; resnet50: BGR" in spec.preprocessing
    assert "shrunk bilinear" in spec_of("inception_v3+resnet50")[0].preprocessing
    assert spec_of("resnet50+hub:a+b")[0].size == 0 and spec_of("hub:a+b")[1] == "a+b"
    assert pair.random and pair.weights_hash not in {one.weights_hash for one in (
        tl.load_backbone("tiny_net", "none"), tl.load_backbone("tiny_net24", "none"))}


def test_each_part_has_weights_of_its_own(tmp_path: Path) -> None:
    twin = tl.load_backbone("tiny_net24+tiny_net24", "none,none")
    images = noise(24)
    row = features_of(twin, images)
    assert twin.random and np.array_equal(row[:, :20], row[:, 20:])  # its random weights are the same each time
    other = tl.load_backbone("tiny_net24", "none")
    other.model.set_weights([weight + 0.1 for weight in other.model.get_weights()])
    other.model.save_weights(tmp_path / "other.weights.h5")
    half = tl.load_backbone("tiny_net24+tiny_net24", f"none,{tmp_path / 'other.weights.h5'}")
    assert not half.random and half.weights_hash != twin.weights_hash
    assert half.random_parts == ("tiny_net24",) and twin.random_parts == ()
    wanted = np.concatenate([row[:, :20], features_of(other, images)], axis=1)
    assert np.abs(features_of(half, images) - wanted).max() < 1e-5 and np.abs(wanted - row).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weights", "said"), [
    ("efficientnet_lite0+resnet5", None, r"unknown backbone 'resnet5'[\s\S]*did you mean 'resnet50'"),
    ("minilm+resnet50", None, "minilm is for texts"),
    ("resnet50+minilm", None, "minilm is for texts"),
    ("efficientnet_lite0+", None, "has no name on one side of a"),
    ("+resnet50", None, "has no name on one side of a"),
    (PAIR, "none,none,none", "3 for the 2 backbones"),
    ("efficientnet_lite0+resnet50", "bundled", r"1 for the 2 backbones[\s\S]*use bundled,imagenet"),
    ("efficientnet_lite0+tiny_net", "imagenet,none",
     "`weights` is imagenet: the backbone efficientnet_lite0 has no such weights"),
    ("efficientnet_lite0+tiny_net", "none,/no/such.h5", "`weights` is /no/such.h5: no such file of weights"),
])
def test_what_cannot_be_fused_is_said_in_one_message(name: str, weights: str | None, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        tl.load_backbone(name, weights, modality="image")


def test_maps_and_taps_of_a_pair_are_refused_and_so_is_a_pair_for_texts() -> None:
    with pytest.raises(OptionError, match="a head that takes pooled features"):
        tl.load_backbone(PAIR, "none", pooling=NO_POOLING)
    with pytest.raises(OptionError, match="unknown layer 'block1'"):
        tl.load_backbone(PAIR, "none", layer="block1")
    with pytest.raises(OptionError, match="is for images"):
        tl.load_backbone(PAIR, "none", modality="text")


@pytest.mark.slow
def test_the_last_blocks_of_both_are_unfrozen_together() -> None:
    pair = tl.load_backbone(PAIR, "none")
    assert [sorted({layer.name[:6] for layer in one}) for one in blocks(pair)] == [
        ["block1"], ["block1", "block2"], ["block2", "block3"]]
    model = tl.splice(pair, resolve_head("linear").build(pair.shape, 3))
    assert unfreeze(pair, 1) == ["block2_conv", "block3_conv"]
    trained = {weight.path: weight for weight in pair.model.trainable_weights}
    assert len(trained) == 4  # kernel and bias of the last convolution of each
    before = model.get_weights()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.layers[-1].trainable = False
    model.fit(noise(32), np.array([0, 1, 2, 0]), verbose=0)
    moved = [weight.path for weight, old in zip(model.weights, before, strict=True)
             if not np.array_equal(weight.numpy(), old)]
    assert sorted(path.split("/")[-2] for path in moved) == ["block2_conv"] * 2 + ["block3_conv"] * 2
    with pytest.raises(OptionError, match="at most 3"):
        unfreeze(pair, 4)


@pytest.mark.slow
def test_a_pair_runs_from_the_shell_to_tflite(shell: Shell, images: Path, tmp_path: Path) -> None:
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--backbone",
                           PAIR, "--weights", "none", "--tflite", "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert run["backbone"] == PAIR and run["input"]["size"] == 32 and "shrunk" in run["preprocessing"]
    assert run["test"]["accuracy"] > 0.8  # colours are easy, on random features too
    assert {one["kind"]: one["kept"] for one in run["parity"]} == {"saved_model": True, "fp32": True, "fp16": True}
    version = tmp_path / "m" / "1"
    assert run["random_weights"] and not run["random_parts"]
    answers_the_same_after_loading(version, images)
    interpreter = Interpreter((version / "tflite" / "model_fp32.tflite").read_bytes())
    model = keras.models.load_model(version / "model.keras", compile=False)
    pixels = np.round(noise(32, 1))
    lite = interpreter(pixels.astype(np.uint8))["logits"]
    assert np.abs(lite - np.asarray(model(pixels, training=False))[0]).max() < 1e-4


@pytest.mark.slow
def test_a_pair_unfrozen_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    close = {"red": (121, 120, 120), "green": (120, 121, 120), "blue": (120, 120, 121)}
    code, out, err = shell("run", "tiny_images", "--data", draw_folder(tmp_path / "close", 40, close), "--name", "m",
                           "--out", tmp_path / "models", "--backbone", PAIR, "--weights", "none", "--unfreeze", "1",
                           "--epochs", "2", "--tflite", "none", "--json")
    assert code == 0, err
    assert json.loads(out)["unfrozen"]["layers"] == ["block2_conv", "block3_conv"]


@pytest.mark.slow
def test_each_weight_is_stored_once(pair: Backbone, tmp_path: Path) -> None:
    from kerastl.export import saved_model
    from kerastl.model import parts_of

    head = resolve_head("gated:width=16", pair.parts).build(pair.shape, 3)
    saved_model.save(tmp_path, parts_of(tl.splice(pair, head)), pair.input, ["a", "b", "c"],
                     task_named("single_label"), Calibration(1.0))
    stored = sum(path.stat().st_size for path in (tmp_path / "variables").iterdir())
    numbers = sum(weight.nbytes for part in (pair.model, head) for weight in part.get_weights())
    least = min(sum(weight.nbytes for weight in layer.get_weights()) for layer in pair.model.layers
                if isinstance(layer, keras.Model))
    assert numbers <= stored < numbers + least  # beside them an index, smaller than either network


@pytest.mark.parametrize("head", ["gated", "averaged", "mlp"])
@pytest.mark.slow
def test_heads_that_know_the_parts_survive_saving_and_tflite(head: str, pair: Backbone, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    made = resolve_head(f"{head}:dropout=0.1", pair.parts).build(pair.shape, 3)
    made.set_weights([weight + np.random.default_rng(1).normal(0, 0.05, weight.shape) for weight in made.get_weights()])
    if head != "mlp":
        assert [made.get_layer(f"part_{i}").kernel.shape for i in (1, 2)] == [(24, 256), (20, 256)]
    assert [made.get_layer(f"normal_{i}").input.shape for i in (1, 2)] == [(None, 24), (None, 20)]
    model = tl.splice(pair, made)
    images = np.round(noise(32))
    wanted = np.asarray(model(images, training=False))
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert np.abs(np.asarray(again(images, training=False)) - wanted).max() < 1e-5
    activation = task_named("single_label").activation
    (kind, content), = convert(model, pair.input.single_spec, Calibration(1.0), activation, ["fp32"], [])
    lite = [Interpreter(content)(one[None].astype(np.uint8))["logits"] for one in images]
    assert kind == "fp32" and np.abs(np.stack(lite) - wanted).max() < 1e-4


def one_of_two(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of two parts of 8: the class is told by one of them alone, the other is noise; a feature of each says which.

    Returns rows [n, 16], classes [n], and the part that tells [n]."""
    generator = np.random.default_rng(seed)
    y, which = generator.integers(0, 2, n), generator.integers(0, 2, n)
    rows = generator.normal(size=(n, 2, 8))
    rows[:, :, 0] = generator.choice([-2.0, 2.0], (n, 2))  # each part claims a class
    rows[np.arange(n), which, 0] = 4.0 * y - 2.0  # the one that tells is right
    rows[:, :, 1] = np.where(which[:, None] == np.arange(2), 3.0, -3.0)
    return rows.reshape(n, 16).astype(np.float32), y, which


@pytest.mark.slow
def test_the_gate_learns_which_part_counts(tmp_path: Path) -> None:
    x, y, which = one_of_two(900)
    examples = made_examples(y, split=held_out(900))
    features = replace(made_features(tmp_path, x, examples), parts=(8, 8))
    accuracy = {}
    for head in ("linear", "gated:width=16"):
        fitted = tl.fit(features, head, options=TrainingOptions(30))
        judged = fitted.held_out
        accuracy[head.partition(":")[0]] = (judged.logits.argmax(axis=1) == y[judged.rows]).mean()
    branch = fitted.head.get_layer("gated")
    gate = keras.Model(branch.input, branch.get_layer("shares").output)
    shares = np.asarray(gate(fitted.head.get_layer("standard")(x[judged.rows])))
    assert np.abs(shares.sum(axis=1) - 1).max() < 1e-5
    agreement = ((shares[:, 1] > 0.5) == (which[judged.rows] == 1)).mean()
    assert max(agreement, 1 - agreement) > 0.95  # what is added to the linear head may also take away the other part
    assert accuracy["gated"] > 0.97 and accuracy["gated"] > accuracy["linear"] + 0.1


def test_a_part_of_a_small_scale_is_not_lost_beside_a_loud_one() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 300)
    small = generator.normal(size=(300, 5)) + 2.0 * np.eye(2)[y] @ generator.normal(size=(2, 5))
    loud = generator.normal(size=(300, 40))
    targets, weight = np.eye(2, dtype=np.float32)[y], np.ones(300, np.float32)
    masks = [np.arange(300) % 3 == k for k in range(3)]

    def kernel(times: float, parts: tuple[int, ...]) -> np.ndarray:
        x = np.concatenate([small, loud * times], axis=1).astype(np.float32)
        return solve(x, targets, weight, masks, task=task_named("single_label"), parts=parts).kernel[:5]

    alike = kernel(1.0, (5, 40))
    assert np.abs(kernel(1000.0, (5, 40)) - alike).max() < 0.02 * np.abs(alike).max()
    assert np.abs(kernel(1000.0, ())) .max() < 0.5 * np.abs(alike).max()  # what the parts are there for
    assert np.array_equal(scale_of(np.array([1.0, 3.0])), scale_of(np.array([1.0, 3.0]), (2,)))
    assert np.array_equal(scale_of(np.zeros(4), (2, 2)), np.ones(4))


def test_a_linear_head_on_a_fused_backbone_does_not_depend_on_the_scale_of_a_part(tmp_path: Path) -> None:
    x, y, _ = one_of_two(200)
    examples, logits = made_examples(y, split=held_out(200)), []
    for name, factor in (("a", 1), ("b", 1000)):
        rows = x * np.where(np.arange(16) < 8, 1, factor).astype(np.float32)
        features = replace(made_features(tmp_path / name, rows, examples), parts=(8, 8))
        logits.append(tl.fit(features).held_out.logits)
    assert np.abs(logits[1] - logits[0]).max() < 0.02 * np.abs(logits[0]).max()


@pytest.mark.slow
def test_features_know_the_parts_and_fit_hands_them_on(pair: Backbone, images: Path, tmp_path: Path) -> None:
    examples = tl.read_images(str(images))
    examples = replace(examples, split=held_out(len(examples)))
    features = tl.compute_features(examples, pair, plain_runtime(), cache_dir=tmp_path)
    assert features.parts == (24, 20)
    fitted = tl.fit(features, "averaged:width=16", options=TrainingOptions(3))
    assert fitted.name == "averaged:width=16" and fitted.head.get_layer(
        "averaged").get_layer("part_2").kernel.shape == (20, 16)


@pytest.mark.slow
def test_a_pair_of_which_one_is_random_says_so(shell: Shell, images: Path, tmp_path: Path) -> None:
    tl.load_backbone("tiny_net", "none").model.save_weights(tmp_path / "trained.weights.h5")
    asked = ("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--backbone", PAIR,
             "--weights", f"{tmp_path / 'trained.weights.h5'},none", "--tflite", "none")
    code, out, err = shell(*asked)
    assert code == 0 and out.startswith("RANDOM WEIGHTS in tiny_net24: "), err
    for page in ("report.html", "MODEL_CARD.md"):
        assert "RANDOM WEIGHTS in tiny_net24" in (tmp_path / "m" / "1" / page).read_text()
