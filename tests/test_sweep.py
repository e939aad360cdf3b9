"""Every recipe with its own backbone, every head on one tiny backbone, a KerasHub preset: train on random weights,
export, load again, same answers. The sweep is a sum: backbones and heads are not crossed."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from conftest import draw_folder

import kerastl as tl
from kerastl.backbones import specs
from kerastl.heads import heads
from kerastl.inputs.batches import decode_file
from kerastl.modality import IMAGE
from kerastl.shell import recipes as finding

Shell = Callable[..., tuple[int, str, str]]
EPOCHS = dict.fromkeys(("resnet", "transformer", "blend"), ("--epochs", 20))  # enough, where each takes long
SMALL = {  # recipes that differ by their steps, on small backbones; the others run each backbone at its full size
    "fusion_images": "tiny_net+tiny_net24", "inception_resnet_images": "tiny_net", "side_blend_images": "tiny_net"}
MODELLESS = {"few_shot_images"}  # compares, and writes no model: tests/test_few_shot.py runs it


def answers_the_same_after_loading(version: Path, images: Path) -> None:
    """The SavedModel, loaded again, gives the calibrated probabilities of the Keras model that was saved beside it."""
    run = json.loads((version / "run.json").read_text())
    paths = sorted(images.rglob("*.png"))[::7]
    model = keras.models.load_model(version / "model.keras", compile=False)
    pixels = np.stack([decode_file(str(path), run["input"]["size"]) for path in paths]).astype(np.float32)
    logits = model.predict(pixels, verbose=0) / run["temperature"] + np.array(run["bias"] or 0)
    wanted = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted /= wanted.sum(axis=1, keepdims=True)
    classifier = tl.load(version)
    given = classifier.probabilities([path.read_bytes() for path in paths])
    assert np.abs(given - wanted).max() < 1e-4
    labels = [one.label for one in classifier.predict(paths)]
    assert labels == [run["classes"][i] for i in wanted.argmax(axis=1)]


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 10 images, for networks of full size."""
    return draw_folder(tmp_path_factory.mktemp("few"), 10)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in finding.recipes()
                                    if name.endswith("_images") and name not in MODELLESS])
def test_every_recipe_trains_exports_and_answers_the_same(recipe: str, shell: Shell, few_images: Path, tmp_path: Path
                                                          ) -> None:
    more = ("--backbone", SMALL[recipe]) if recipe in SMALL else ()
    code, out, err = shell("run", recipe, "--data", few_images, "--name", "m", "--out", tmp_path, "--weights", "none",
                           "--epochs", 2, "--tflite", "fp32", "--json", *more)
    assert code == 0, err
    run = json.loads(out)
    assert run["random_weights"] and run["n_test"] == 30
    assert {one["kind"]: one["kept"] for one in run["parity"]} == {"saved_model": True, "fp32": True}
    answers_the_same_after_loading(tmp_path / "m" / "1", few_images)


def test_every_image_backbone_is_swept_at_its_full_size() -> None:
    swept = {finding.load_recipe(name).Config.backbone for name in finding.recipes()
             if name.endswith("_images") and name not in MODELLESS | SMALL.keys()}
    offered = {name for name, spec in specs().items() if spec.modality == IMAGE and spec.size} - {"tiny_net24"}
    assert offered == swept and len(offered) > 3


def test_every_recipe_is_swept_here_or_has_tests_of_its_own() -> None:
    others = {name for name in finding.recipes() if not name.endswith(("_images", "_text"))}
    assert others == {"distil_to_tflite", "tag_tokens", "parse_dependencies"}  # each in a file of its own


@pytest.mark.slow
@pytest.mark.parametrize("head", heads())
def test_every_head_trains_exports_and_answers_the_same(head: str, shell: Shell, images: Path, tmp_path: Path
                                                        ) -> None:
    once = ("--split", "holdout") if heads()[head].training else ()  # gradient descent, which is slow, in each fold
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                           "none", "--head", head, *once, *EPOCHS.get(head, ()), "--tflite", "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert {one["kind"]: one["kept"] for one in run["parity"]} == {"saved_model": True, "fp32": True, "fp16": True}
    ships = run["competitors"]["chosen"] if heads()[head].chooses else head
    assert run["head"] == ships and run["test"]["accuracy"] > 0.8  # colours are easy, on random features too
    answers_the_same_after_loading(tmp_path / "m" / "1", images)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ResNet saved as a KerasHub preset, with the scaling it was "trained" with."""
    folder = tmp_path_factory.mktemp("preset") / "tiny_resnet"
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1], stackwise_num_strides=[1, 2], block_type="basic_block", image_shape=(32, 32, 3))
    converter = keras_hub.layers.ResNetImageConverter(image_size=(32, 32), scale=[0.02, 0.01, 0.01],
                                                      offset=[-2.0, -1.0, -1.0])
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(image_converter=converter)
    keras_hub.models.ResNetImageClassifier(backbone=backbone, num_classes=3,
                                           preprocessor=preprocessor).save_to_preset(str(folder))
    return folder


@pytest.mark.slow
def test_a_kerashub_preset_scales_as_it_says_and_exports(preset: Path, shell: Shell, images: Path, tmp_path: Path
                                                         ) -> None:
    backbone = tl.load_backbone(f"hub:{preset}")
    assert (backbone.input.size, backbone.dim) == (32, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    original = keras_hub.models.Backbone.from_preset(str(preset))
    scaled = pixels * np.array([0.02, 0.01, 0.01], np.float32) + np.array([-2, -1, -1], np.float32)
    wanted = original.predict(scaled, verbose=0).mean(axis=(1, 2))
    assert np.abs(backbone.model.predict(pixels, verbose=0) - wanted).max() < 1e-4
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--backbone",
                           f"hub:{preset}", "--tflite", "fp32", "--json")
    assert code == 0, err
    assert not json.loads(out)["random_weights"]
    answers_the_same_after_loading(tmp_path / "m" / "1", images)


@pytest.mark.slow
def test_switches_of_precision_and_xla_end_at_the_same_accuracy(shell: Shell, tmp_path: Path) -> None:
    images = tmp_path / "images"  # split already, so that a head is fitted once and not in each fold
    for seed, (part, rows) in enumerate({"train": 12, "validation": 4, "test": 14}.items()):
        draw_folder(images / part, rows, seed=100 * seed)
    found = {}
    for name, switches in {"short": ("on", "mixed_bfloat16"), "long": ("off", "float32")}.items():
        for head in ("linear", "mlp"):
            code, out, err = shell("run", "tiny_images", "--data", images, "--name", f"{name}_{head}", "--out",
                                   tmp_path, "--weights", "none", "--head", head, "--xla", switches[0], "--precision",
                                   switches[1], "--tflite", "none", "--json")
            assert code == 0, err
            run = json.loads(out)
            assert run["xla"] == (switches[0] == "on") and run["precision"] == switches[1] and run["n_test"] == 42
            found[name, head] = run["test"]["accuracy"]
    for head in ("linear", "mlp"):
        assert abs(found["short", head] - found["long", head]) <= 0.01 + 1e-9
