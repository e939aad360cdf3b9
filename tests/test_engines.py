"""Engines: OpenVINO's answers are Keras', its attention is fused, and which engine computes a pass is measured."""

import gc
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from numpy.typing import NDArray
from text_folders import hugging_face_folder, keras_hub_folder
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl import runtime as runtime_module
from kerastl.backbones import Backbone, weights_hash
from kerastl.errors import CheckFailed, OptionError
from kerastl.features.compute import Features
from kerastl.features.engines import choose as choose_module
from kerastl.features.engines.check import check, engine_of, largest_difference, least_cosine
from kerastl.features.engines.choose import allowed, choose_engine
from kerastl.features.engines.engine import Arithmetic
from kerastl.features.engines.fusable import fusable
from kerastl.features.engines.openvino import compile_function, compile_model, make_engine
from kerastl.features.engines.tensorflow import make_engine as tensorflow_engine
from kerastl.features.engines.tensorflow import plain_engine
from kerastl.features.housekeeping import usage
from kerastl.runtime import Runtime, choose

BACKBONES = {"bert": "bert_base", "roberta": "roberta_base", "xlm-roberta": "xlm_roberta_base",
             "distilbert": "distil_bert", "deberta-v2": "deberta_v3_base"}
KERAS, OPENVINO = Arithmetic("float32"), Arithmetic("float32", "openvino")
SHORT = Arithmetic("bfloat16", "openvino")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of weights for each family of text networks: 2 blocks of 32 features."""
    home = tmp_path_factory.mktemp("weights")
    return {family: keras_hub_folder(home / family, family) if family == "deberta-v2" else
            hugging_face_folder(home / family, family) for family in BACKBONES}


def text_backbone(folders: dict[str, Path], family: str, **more: Any) -> Backbone:
    return tl.load_backbone(BACKBONES[family], folders[family], **more)


def tokens_of(backbone: Backbone, length: int = 12, n: int = 5) -> NDArray[np.int32]:
    """Rows of any tokens, some of them padded."""
    tokenizer = backbone.input.tokenizer
    rows = np.random.default_rng(0).integers(5, 20, (n, length)).astype(np.int32)
    rows[:, 0] = tokenizer.start[0]
    for row in range(n):
        end = length - 2 * row
        rows[row, end - 1], rows[row, end:] = tokenizer.end[0], tokenizer.pad
    return rows


def pixels_of(backbone: Backbone, n: int = 6) -> NDArray[np.uint8]:
    size = backbone.input.size
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def layer_types(compiled: Any) -> list[str]:
    """Of the operations that OpenVINO runs."""
    return [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ordered_ops()]


# Text networks


@pytest.mark.parametrize("more", [{}, {"pooling": "none"}, {"pooling": "none", "layer": "layer_1"}],
                         ids=["mean", "states", "middle layer"])
@pytest.mark.parametrize("family", [
    "bert", *(pytest.param(family, marks=pytest.mark.slow) for family in BACKBONES if family != "bert")])
def test_openvino_computes_the_states_of_keras(family: str, more: dict[str, str], folders: dict[str, Path]) -> None:
    backbone = text_backbone(folders, family, **more)
    tokens = tokens_of(backbone)
    expected = plain_engine(backbone.model).run(tokens)
    rewritten = np.asarray(fusable(backbone.model)(tokens, training=False))
    assert rewritten.shape == expected.shape and np.abs(rewritten - expected).max() < 1e-5
    engine = make_engine(backbone.model)
    assert (engine.name, engine.graph, engine.compute) == ("openvino", "fused", "float32")
    in_tensorflow = engine_of(backbone.model, Arithmetic("float32"))
    assert (in_tensorflow.name, in_tensorflow.graph) == ("tensorflow", "fused")
    assert np.abs(in_tensorflow.run(tokens) - expected).max() < 1e-5
    for some in (tokens, tokens[:1], tokens[:, :7], tokens):  # other shapes, and one shape again
        assert np.abs(engine.run(some) - plain_engine(backbone.model).run(some)).max() < 1e-4


@pytest.mark.slow
def test_berts_pooler_and_a_pair_of_texts_too(folders: dict[str, Path]) -> None:
    backbone = text_backbone(folders, "bert", pooling="pooled")
    tokens = tokens_of(backbone)
    tokens[0, 4] = backbone.input.tokenizer.end[0]  # the second text begins behind it
    expected = plain_engine(backbone.model).run(tokens)
    other = tokens.copy()
    other[0, 4] = 7
    assert np.abs(expected[0] - plain_engine(backbone.model).run(other)[0]).max() > 1e-3  # segments count
    assert np.abs(make_engine(backbone.model).run(tokens) - expected).max() < 1e-4


@pytest.mark.parametrize("family", [
    "bert", *(pytest.param(family, marks=pytest.mark.slow) for family in ("roberta", "xlm-roberta", "distilbert"))])
def test_attention_and_normalizations_are_fused(family: str, folders: dict[str, Path]) -> None:
    """Nothing of them is left as operations of its own, which is what makes the graph quick."""
    backbone = text_backbone(folders, family)
    types = layer_types(compile_model(backbone.model, "float32"))
    blocks = sum(isinstance(layer, keras_hub.layers.TransformerEncoder) for layer in backbone.model._flatten_layers())
    assert types.count("Softmax") == 0 and types.count("MatMul") == 0
    assert blocks > 1 and types.count("MVN") == 1 + 2 * blocks


@pytest.mark.slow
def test_a_changed_activation_and_trained_lora_are_kept(folders: dict[str, Path]) -> None:
    backbone = text_backbone(folders, "bert")
    for layer in backbone.model._flatten_layers():
        if isinstance(layer, keras.layers.EinsumDense) and layer.name in ("query", "value"):
            layer.enable_lora(2)
            layer.lora_kernel_b.assign(keras.random.normal(layer.lora_kernel_b.shape, seed=1))
    tokens = tokens_of(backbone)
    expected = plain_engine(backbone.model).run(tokens)
    assert np.abs(make_engine(backbone.model).run(tokens) - expected).max() < 1e-4
    assert np.abs(plain_engine(text_backbone(folders, "bert").model).run(tokens) - expected).max() > 1e-3


@pytest.mark.parametrize("settings", [{"scale": False}, {"center": False}, {"axis": (1, 2, 3)}, {"axis": 1}])
def test_a_normalization_of_another_form_stays_as_it_is(settings: dict[str, Any]) -> None:
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.LayerNormalization(**settings)(images))
    assert fusable(model) is model
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    assert check(tensorflow_engine(model), pixels, plain_engine(model).run(pixels))[0]


def test_a_block_with_a_mask_of_its_own_computes_the_same() -> None:
    states, mask = keras.Input((4, 6)), keras.Input((4, 4), dtype="int32")
    model = keras.Model([states, mask], keras_hub.layers.TransformerEncoder(8, 2)(states, attention_mask=mask))
    values = [np.random.default_rng(0).normal(size=(2, 4, 6)), np.tril(np.ones((2, 4, 4), np.int32))]
    expected = np.asarray(model(values))
    assert np.abs(np.asarray(fusable(model)(values)) - expected).max() < 1e-5
    assert np.abs(np.asarray(model([values[0], np.ones((2, 4, 4), np.int32)])) - expected).max() > 1e-3


# Images


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"pooling": "none"}, {"layer": "block1"}], ids=["mean", "map", "inner layer"])
def test_openvino_computes_what_keras_does_for_images(more: dict[str, str]) -> None:
    backbone = tl.load_backbone("tiny_net", "none", **more)
    pixels = pixels_of(backbone, 7)
    engine = make_engine(backbone.model)
    assert (engine.name, engine.graph) == ("openvino", "folded")
    for some in (pixels, pixels[:1], pixels[:3], pixels[::2]):
        expected = plain_engine(backbone.model).run(some)
        rows = engine.run(some)
        assert rows.dtype == np.float32 and rows.shape == expected.shape
        assert largest_difference(rows, expected) < 1e-5 and least_cosine(rows, expected) > 0.99999


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v3", "resnet50", "efficientnet_lite0"])
def test_whole_networks_agree_in_both_types(name: str) -> None:
    backbone = tl.load_backbone(name, "bundled" if name == "efficientnet_lite0" else "none")
    pixels = pixels_of(backbone, 4)
    expected = plain_engine(backbone.model).run(pixels)
    assert check(make_engine(backbone.model), pixels, expected)[0]
    accurate, words = check(make_engine(backbone.model, "bfloat16"), pixels, expected)
    assert accurate == (name != "efficientnet_lite0"), words  # whose activations bfloat16 does not suit


@pytest.mark.slow
def test_a_signal_is_handled_after_engines_have_come_and_gone() -> None:
    backbone = tiny_backbone()
    for _ in range(2):
        engines = [make_engine(backbone.model) for _ in range(2)]
        engines[0].run(pixels_of(backbone, 1))
        engines.pop(0)
        gc.collect()
    del engines
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


# Which engine


def automatic(**more: Any) -> Runtime:
    return choose(**{"xla": "off", "gpu": False, "bfloat16_cpu": True} | more)


@pytest.mark.parametrize(("runtime", "all_held_out", "expected"), [
    (automatic(), False, ["float32", "bfloat16", "openvino-float32", "openvino-bfloat16"]),
    (automatic(), True, ["float32", "openvino-float32"]),
    (automatic(bfloat16_cpu=False), False, ["float32", "openvino-float32"]),
    (automatic(precision="mixed_bfloat16"), True, ["bfloat16", "openvino-bfloat16"]),
    (automatic(precision="mixed_float16"), False, ["float16"]), (automatic(xla="on"), True, ["float32"]),
    (automatic(engine="tensorflow"), False, ["float32", "bfloat16"]),
    (automatic(engine="openvino"), False, ["openvino-float32", "openvino-bfloat16"]),
    (automatic(engine="openvino", gpu=True), True, ["openvino-float32"])])
def test_what_a_pass_may_use(runtime: Runtime, all_held_out: bool, expected: list[str]) -> None:
    candidates, reason = allowed(runtime, all_held_out)
    assert [candidate.key for candidate in candidates] == expected
    assert ("to match the exported model" in reason) == (all_held_out and not runtime.explicit_precision
                                                         and runtime.precision == "mixed_bfloat16")


def test_without_the_package_everything_is_computed_by_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (None, ModuleSpec("openvino", None)):  # the second is a folder of that name
        monkeypatch.setattr(runtime_module.importlib.util, "find_spec", lambda name, found=found: found)
        assert [candidate.key for candidate in allowed(automatic(), False)[0]] == ["float32", "bfloat16"]
        with pytest.raises(OptionError, match="the package openvino is not installed"):
            automatic(engine="openvino")


@pytest.mark.parametrize("wrong", [{"xla": "on"}, {"precision": "mixed_float16"}, {"engine": "onnx"}])
def test_what_openvino_cannot_do_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="`engine` is"):
        automatic(**{"engine": "openvino"} | wrong)


def chosen(backbone: Backbone, cache: Path, rows: int, candidates: Sequence[Arithmetic], **more: Any
           ) -> tuple[str, str]:
    """The arithmetic of the engine that is chosen, and why."""
    choice = choose_engine(backbone, pixels_of(backbone, 8), candidates, rows, automatic(**more), cache)
    return choice.engine.arithmetic.key, choice.reason


@pytest.mark.slow
def test_a_long_pass_takes_what_was_measured_to_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, candidates, file = tiny_backbone(), [KERAS, OPENVINO, SHORT], tmp_path / "speed/engines.json"
    key, reason = chosen(backbone, tmp_path, 8, candidates)
    assert key == "float32" and "too short to measure" in reason and not file.exists()
    key, reason = chosen(backbone, tmp_path, 10**9, candidates)
    (machine, speeds), = json.loads(file.read_text()).items()
    assert "tiny_net" in machine and "openvino" in machine and "tensorflow" in machine
    assert list(speeds) == list(map(str, candidates)) and min(speeds.values()) > 0
    fastest = max(candidates, key=lambda candidate: speeds[str(candidate)])
    assert key == (fastest if speeds[str(fastest)] >= 1.1 * speeds[str(KERAS)] else KERAS).key
    for speed, expected in ((1.05, "float32"), (1.2, "openvino-float32")):  # what is remembered decides
        file.write_text(json.dumps({machine: {str(KERAS): 100.0, str(OPENVINO): 100 * speed, str(SHORT): 1.0}}))
        key, reason = chosen(backbone, tmp_path, 10**9, candidates)
        assert key == expected and f"{100 * speed:.1f}" in reason and "cosine to the plain Keras model" in reason
    monkeypatch.setattr(choose_module, "BUDGET", 0.0)
    monkeypatch.setattr(choose_module, "FRACTION", 0.0)
    file.unlink()
    key, reason = chosen(backbone, tmp_path, 10**9, candidates)
    assert key == "float32" and "the others were not measured for lack of time" in reason
    assert list(next(iter(json.loads(file.read_text()).values()))) == [str(KERAS)]


@pytest.mark.slow
@pytest.mark.parametrize("content", [
    "", "{{", "[1]", "null", '{"KEY": [1]}', '{"KEY": {"TensorFlow in float32": "fast"}}',
    '{"KEY": {"TensorFlow in float32": -1.0}}', '{"KEY": {"TensorFlow in float32": NaN}}'])
def test_speeds_that_are_damaged_are_measured_again_and_that_is_printed_once(
        content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone, file = tiny_backbone(), tmp_path / "speed/engines.json"
    file.parent.mkdir()
    file.write_text(content.replace("KEY", choose_module._key(backbone, pixels_of(backbone, 8))))
    assert "chosen by rows per second" in chosen(backbone, tmp_path, 10**9, [KERAS, OPENVINO])[1]
    assert capsys.readouterr().out.count("is damaged: the speeds of engines are measured again") == 1
    (speeds,) = json.loads(file.read_text()).values()
    assert min(speeds.values()) > 0


def test_a_network_of_the_same_name_for_other_inputs_or_from_a_changed_file_is_measured_anew() -> None:
    backbone = tiny_backbone()
    changed = replace(backbone, spec=replace(backbone.spec, file_sha256="a" * 64))
    pixels = pixels_of(backbone, 8)
    keys = {choose_module._key(backbone, pixels), choose_module._key(changed, pixels),
            choose_module._key(backbone, pixels[:, :16]), choose_module._key(backbone, pixels[:3])}
    assert len(keys) == 3  # the number of rows does not matter


def with_svd(backbone: Backbone) -> Backbone:
    """One with an operation that OpenVINO does not know."""
    model = keras.Model(backbone.model.input, backbone.model.output + keras.ops.svd(
        keras.ops.mean(backbone.model.input, -1), compute_uv=False)[:, :1])
    return replace(backbone, model=model, weights_hash=weights_hash(model))


@pytest.mark.slow
def test_an_engine_that_does_not_know_an_operation_is_not_used_and_says_which(tmp_path: Path) -> None:
    backbone = with_svd(tiny_backbone())
    key, reason = chosen(backbone, tmp_path, 10**9, [KERAS, OPENVINO, SHORT])
    assert key == "float32" and reason.count("OpenVINO cannot compute this network (unknown operations: Svd)") == 1
    assert "lack of time" not in reason
    key, reason = chosen(backbone, tmp_path, 8, [OPENVINO])  # as if the cache had rows of it
    assert key == "float32" and "unknown operations: Svd" in reason
    for rows in (8, 10**9):
        with pytest.raises(OptionError, match=r"unknown operations: Svd.*\n.*omit `engine`"):
            chosen(backbone, tmp_path, rows, [OPENVINO, SHORT], engine="openvino")


def test_no_rows_give_no_rows() -> None:
    backbone = tiny_backbone()
    assert make_engine(backbone.model).run(pixels_of(backbone, 0)).shape == (0, backbone.dim)


def chaotic(backbone: Backbone) -> Backbone:
    """One whose features follow from rounding errors, so that no two graphs agree."""
    model = keras.Model(backbone.model.input, keras.ops.sin(backbone.model.output * 1e7))
    return replace(backbone, model=model, weights_hash=weights_hash(model))


@pytest.mark.slow
def test_an_inaccurate_candidate_is_dropped_and_named(tmp_path: Path) -> None:
    backbone = chaotic(tiny_backbone())
    key, reason = chosen(backbone, tmp_path, 8, [OPENVINO, KERAS])
    assert key == "float32" and "OpenVINO's folded graph in float32 is not used because it is inaccurate" in reason
    assert "the OpenVINO" not in reason
    with pytest.raises(CheckFailed, match="set `engine` to tensorflow"):
        chosen(backbone, tmp_path, 8, [OPENVINO], engine="openvino")


# The pass


def computed(folder: Path, cache: Path, backbone: Backbone | None = None, split: str = "cv", **more: Any) -> Features:
    examples = tl.split(tl.read_images(str(folder), min_per_class=5), split)
    return tl.compute_features(examples, backbone or tiny_backbone(), plain_runtime(**more), cache_dir=cache)


@pytest.mark.slow
def test_features_of_each_engine_are_cached_apart(images: Path, tmp_path: Path) -> None:
    first = computed(images, tmp_path, engine="openvino")
    assert (first.engine, first.compute, first.computed) == ("openvino", "float32", len(first))
    assert "OpenVINO's folded graph" in first.reason
    assert computed(images, tmp_path, engine="openvino").computed == 0
    again = computed(images, tmp_path)  # rows that are there are taken, whoever computed them
    assert (again.engine, again.computed) == ("openvino", 0) and "all rows cached" in again.reason
    other = computed(images, tmp_path, engine="tensorflow")
    assert (other.engine, other.computed) == ("tensorflow", len(other))
    assert {space.compute: space.rows for space in usage(tmp_path)} == {"float32": 42, "openvino-float32": 42}
    assert largest_difference(first.array, other.array) < 1e-5


@pytest.mark.slow
def test_training_rows_in_bfloat16_and_test_rows_in_float32(tmp_path: Path) -> None:
    features = computed(draw_folder(tmp_path / "d", 25), tmp_path, split="holdout", engine="openvino",
                        precision="mixed_bfloat16")
    test = features.examples.split.held_out
    assert (features.engine, features.compute) == ("openvino", "bfloat16")
    rows = {space.compute: space.rows for space in usage(tmp_path)}
    assert rows == {"openvino-bfloat16": 75 - len(test), "openvino-float32": len(test)}


@pytest.mark.slow
def test_a_recipe_records_its_engine(images: Path, tmp_path: Path, shell: Any) -> None:
    code, out, _ = shell("run", "efficientnet_lite_images", "--data", images, "--name", "m", "--out", tmp_path,
                         "--weights", "none", "--engine", "openvino", "--tflite", "none", "--min-per-class", "5",
                         "--json")
    record = json.loads(out)
    assert code == 0 and record["engine"] == "openvino" and "OpenVINO's folded graph" in record["features"]["word"]
    assert record["parity"][0]["kept"]


QUIET = """
import socket, sys
def refuse(*args, **named):
    raise AssertionError("a socket was opened")
sys.addaudithook(lambda event, args: refuse() if event.startswith(("socket.connect", "socket.getaddrinfo",
                                                                   "urllib.Request")) else None)
import keras, numpy as np
from kerastl.features.engines.openvino import make_engine
network = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()])
make_engine(network).run(np.zeros((2, 32, 32, 3), np.uint8))
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.mark.slow
def test_openvino_opens_no_socket_and_leaves_no_file(tmp_path: Path) -> None:
    """Its own telemetry would do both, without consent."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(map(str, sys.path)),
                   "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": str(tmp_path)}  # where Keras writes its settings
    done = subprocess.run([sys.executable, "-c", QUIET], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.relative_to(home) for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Tfidf", "Ngrams"])
def test_openvino_computes_hashed_ngrams_as_keras_does(name: str) -> None:
    from kerastl.heads.layers import blending, plain_features

    layer = plain_features.Tfidf(3) if name == "Tfidf" else blending.Ngrams(3)
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 250_000, (2, 24)).astype(np.int32)  # as large as in the largest vocabularies
    tokens[0, 8:16], tokens[0, 20:] = tokens[0, :8], 0  # some occur twice, and in the same pairs
    layer(tokens)
    for weight in (layer.idf, layer.table):
        weight.assign(generator.uniform(0.5, 2, weight.shape))
    graph = tf.function(lambda values: layer(values), input_signature=[tf.TensorSpec([None, 24], tf.int32, "values")],
                        autograph=False).get_concrete_function()
    expected = np.asarray(layer(tokens))
    found, = compile_function(graph, "float32")({"values": tokens}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_buckets_of_ngrams_never_change() -> None:
    """Those of exported and cached heads, computed in 64 bits."""
    from kerastl.heads.layers.blending import BUCKETS, FIRST, SECOND, buckets_of

    tokens = np.array([[1, 255, 256, 257, 65_535, 65_536, 249_999, 250_000, 0]])
    buckets, present = (np.asarray(array) for array in buckets_of(tokens))
    single, following = tokens * FIRST % BUCKETS, np.append(tokens[:, 1:], 0)[None] * SECOND % BUCKETS
    np.testing.assert_array_equal(buckets, np.concatenate([single, (single + following) % BUCKETS], axis=1))
    np.testing.assert_array_equal(present, [[True] * 8 + [False] + [True] * 7 + [False] * 2])
