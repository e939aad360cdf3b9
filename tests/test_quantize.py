"""The smaller TFLite files, made from the float32 one: what they store, take and return."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.decision import Calibration
from kerastl.export import tflite
from kerastl.export.lite_graph import LiteGraph
from kerastl.export.quantize import float_operators
from kerastl.heads import Raw, resolve_head
from kerastl.tasks import task_named

IMAGES = tf.TensorSpec([1, 16, 16, 3], tf.uint8, name="images")
TOKENS = tf.TensorSpec([1, 12], tf.int32, name="tokens")


def files(model: Any, spec: tf.TensorSpec, kinds: Sequence[str], rows: Sequence[NDArray[Any]]) -> dict[str, bytes]:
    return dict(tflite.convert(model, spec, Calibration(1.0), task_named("single_label").activation, kinds, rows))


def images(n: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 1, 16, 16, 3)).astype(np.uint8))


def joint_model(side: int) -> Any:
    """The `joint` head on the mean colour."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    head = resolve_head("joint").build((3,), 3, Raw((side, side, 3), 0))
    head.get_layer("plain").set_weights([np.random.default_rng(0).normal(size=(208, 3)), np.zeros(3)])
    return keras.Model(inputs, head([keras.layers.GlobalAveragePooling2D()(inputs) / 255, inputs]))


def logits(content: bytes, rows: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    run = tflite.Interpreter(content)
    return np.stack([run(row)["logits"] for row in rows])


def image_model(kernel: NDArray[np.float32] | None = None, bias: NDArray[np.float32] | None = None) -> Any:
    """A convolution and a linear head. kernel, bias: of the convolution, if not random."""
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(8, 3, activation="relu")
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), convolution,
                              keras.layers.Conv2D(16, 3, activation="relu"),
                              keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    if kernel is not None:
        convolution.set_weights([kernel, bias])
    return model


def text_model(masked: float = -3.0e38) -> Any:
    """A table of embeddings, and a mask that puts a number beyond float16 where there is no token."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((12,), dtype="int32")
    states = keras.layers.Embedding(500, 16)(tokens)
    states = keras.ops.where(keras.ops.expand_dims(tokens, -1) > 0, states, masked)
    return keras.Model(tokens, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling1D()(states)))


def dtypes(content: bytes) -> list[str]:
    graph = LiteGraph(content)
    return sorted({np.dtype(dtype).name for dtype in (np.float32, np.float16, np.int8) if any(graph.constants(dtype))})


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return files(image_model(), IMAGES, ("fp32", "fp16", "dynamic", "int8"), images(40))


@pytest.mark.slow
def test_each_kind_takes_pixels_and_gives_the_logits_of_float32_within_its_precision(made: dict[str, bytes]) -> None:
    rows = images(20)
    wanted = logits(made["fp32"], rows)
    for kind, bound in {"fp16": 1e-3, "dynamic": 2e-2, "int8": 5e-2}.items():
        assert np.abs(logits(made[kind], rows) - wanted).max() < bound * np.abs(wanted).max(), kind
        assert np.abs(logits(made[kind], rows) - wanted).max() > 0, kind


@pytest.mark.slow
def test_constants_are_stored_in_what_the_kind_says(made: dict[str, bytes]) -> None:
    assert dtypes(made["fp32"]) == ["float32"] and dtypes(made["fp16"]) == ["float16"]
    assert "int8" in dtypes(made["dynamic"]) and dtypes(made["int8"]) == ["int8"]


@pytest.mark.slow
def test_int8_computes_with_integers_alone(made: dict[str, bytes]) -> None:
    assert float_operators(made["int8"]) == set() and "CONV_2D" in float_operators(made["dynamic"])


@pytest.mark.slow
def test_an_operator_that_the_quantizer_leaves_in_floats_is_computed_with_integers() -> None:
    inputs = keras.Input((16, 16, 3))  # as ResNet50, whose weights take the colours in the other order
    model = keras.Model(inputs, image_model()(keras.layers.Rescaling(1)(keras.ops.flip(inputs, -1))))
    (content,) = files(model, IMAGES, ["int8"], images(10)).values()
    graph = LiteGraph(content)
    assert "REVERSE_V2" in map(graph.name, graph.operators) and float_operators(content) == set()


@pytest.mark.slow
def test_histograms_of_pixels_stay_in_floats_in_int8() -> None:
    rows = [*images(20), np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)]
    made = files(joint_model(16), IMAGES, ("fp32", "int8"), rows)
    wanted, narrow = logits(made["fp32"], rows), logits(made["int8"], rows)  # in 8 bits a division by 0 would end it
    assert np.abs(narrow - wanted).max() < 5e-2 * np.abs(wanted).max()
    graph = LiteGraph(made["int8"])
    assert "DIV" in map(graph.name, graph.operators) and float_operators(made["int8"]) == set()


def test_a_kind_does_not_depend_on_the_others_that_are_asked_for(made: dict[str, bytes]) -> None:
    (content,) = files(image_model(), IMAGES, ["fp16"], []).values()
    assert (logits(content, images(5)) == logits(made["fp16"], images(5))).all()


@pytest.mark.slow
def test_a_bias_that_exceeds_32_bits_of_tiny_weights_is_kept() -> None:
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 8)).astype(np.float32)
    kernel[..., 0] *= 1e-9  # as of a channel that training switched off: only its bias is left
    bias = np.array([0.9, *[0.0] * 7], np.float32)
    made = files(image_model(kernel, bias), IMAGES, ("fp32", "int8"), images(40))
    rows = images(10)
    wanted = logits(made["fp32"], rows)
    assert np.abs(logits(made["int8"], rows) - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.slow
def test_ranges_hold_the_largest_value_of_all_calibration_rows() -> None:
    dark, bright = images(40), [np.full((1, 16, 16, 3), 255, np.uint8)]
    dark = [row // 8 for row in dark]
    made = files(image_model(), IMAGES, ("fp32", "int8"), [*bright, *dark])  # one bright row, seen first
    wanted = logits(made["fp32"], bright)
    assert np.abs(logits(made["int8"], bright) - wanted).max() < 0.05 * np.abs(wanted).max()


def test_an_epsilon_that_float16_cannot_hold_does_not_become_zero() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D(),
                              keras.layers.LayerNormalization(epsilon=1e-12), keras.layers.Dense(3)])
    black = [np.zeros((1, 16, 16, 3), np.uint8)]  # whose features have no variance
    made = files(model, IMAGES, ("fp32", "fp16"), [])
    assert np.isfinite(logits(made["fp32"], black)).all()
    assert np.abs(logits(made["fp16"], black) - logits(made["fp32"], black)).max() < 1e-3


def test_an_embedding_is_stored_in_8_bits_and_a_mask_stays_finite() -> None:
    rows = [np.array([[*range(1, 1 + n), *[0] * (12 - n)]], np.int32) for n in range(1, 12)]
    made = files(text_model(), TOKENS, ("fp32", "fp16", "dynamic"), [])
    wanted = logits(made["fp32"], rows)
    for kind, bound in {"fp16": 1e-3, "dynamic": 3e-2}.items():
        assert np.abs(logits(made[kind], rows) - wanted).max() < bound * np.abs(wanted).max(), kind
    assert len(made["dynamic"]) < len(made["fp32"]) - 500 * 16 * 2.9 and "int8" in dtypes(made["dynamic"])
    assert "float32" in dtypes(made["fp16"])  # the mask


@pytest.mark.slow
def test_a_cosine_of_nothing_is_nothing() -> None:
    """LiteRT's inverse square root of 0 made NaN of it."""
    pooled = keras.layers.GlobalAveragePooling2D()
    head = resolve_head("cosine").build((3,), 4)
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, head(pooled(keras.layers.Rescaling(1 / 255)(inputs))))
    rows = [np.zeros((1, 16, 16, 3), np.uint8), *images(2)]
    expected = model.predict(np.concatenate(rows).astype(np.float32), verbose=0)
    assert not expected[0].any() and expected[1].any()
    for kind, content in files(model, IMAGES, ["fp32", "fp16"], rows).items():
        assert np.abs(logits(content, rows) - expected).max() < {"fp32": 1e-4, "fp16": 0.1}[kind]
