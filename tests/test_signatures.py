"""The SavedModel's signatures: any number of rows from none on, and messages for what is no list of inputs."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from image_files import save, scene
from PIL import Image
from text_folders import hugging_face_folder
from tiny import tiny_backbone

import kerastl as tl
from kerastl.backbones import Backbone
from kerastl.decision import Calibration
from kerastl.export.chunks import ROWS
from kerastl.export.saved_model import save as save_model
from kerastl.heads import resolve_head
from kerastl.inputs import Batch
from kerastl.model import Predictor, parts_of, pooling_for
from kerastl.tasks import single_label

CLASSES = ("a", "b", "c")
WORDS = ["a good film", "an awful, dull film", "so", "", "the plot was never dull " * 9]


def signatures(folder: Path, backbone: Backbone, head: str) -> tuple[Any, Any]:
    """The signatures of a model with random weights, loaded again, and the keras.Model itself."""
    model = tl.splice(backbone, resolve_head(head).build(backbone.shape, len(CLASSES)))
    save_model(folder, parts_of(model), backbone.input, CLASSES, single_label.TASK, Calibration(1.0))
    return tf.saved_model.load(str(folder)).signatures, model


def check_rows(folder: Path, backbone: Backbone, head: str, sent: Sequence[Any], *empty: Any) -> None:
    """Every signature gives a row for a row, whatever their number, and those of Keras. empty: forms of no values."""
    by_name, model = signatures(folder, backbone, head)
    source = backbone.input
    raw = tf.constant(list(sent)[:1])[:0]
    none = by_name["serving_default"](**{source.raw_name: raw})
    assert {name: value.shape[0] for name, value in none.items()} == dict.fromkeys(none, 0)
    assert none["probabilities"].shape == (0, 3) and none["top_labels"].shape == (0, 3)
    assert by_name["features"](**{source.raw_name: raw})["features"].shape[0] == 0
    owners = {"owners": tf.zeros([0], tf.int32)} if source.single_spec is None else {}
    for no_values in empty:
        assert by_name["tensor"](**{source.values_name: no_values}, **owners)["logits"].shape == (0, 3)
    many = [sent[i % len(sent)] for i in range(2 * ROWS + 3)]
    few = by_name["serving_default"](**{source.raw_name: tf.constant(list(sent))})["probabilities"].numpy()
    all_ = by_name["serving_default"](**{source.raw_name: tf.constant(many)})["probabilities"].numpy()
    assert np.abs(all_ - few[np.arange(len(many)) % len(sent)]).max() < 1e-5 and np.ptp(few[:, 0]) > 1e-4
    values, owner = source.decode(tf.constant(list(sent)))
    batch = Batch([*range(len(sent))], values.numpy(), None if owner is None else owner.numpy())
    logits = Predictor(model)(batch)
    assert np.abs(tf.nn.softmax(logits).numpy() - few).max() < 1e-5
    owners = {} if owner is None else {"owners": owner}
    assert np.abs(by_name["tensor"](**{source.values_name: values}, **owners)["logits"] - logits).max() < 1e-4
    features = by_name["features"](**{source.raw_name: tf.constant(many)})["features"]
    assert features.shape[0] == len(many) and features.shape[-1] == backbone.dim


@pytest.mark.slow
def test_images_in_any_number(tmp_path: Path) -> None:
    files = [save(Image.fromarray(np.roll(scene(), 5 * i, axis=1)), "PNG") for i in range(5)]
    check_rows(tmp_path, tiny_backbone(), "linear", files, tf.zeros([0, 32, 32, 3], tf.uint8))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(hugging_face_folder(tmp_path_factory.mktemp("bert"), "bert"))


@pytest.mark.parametrize(("head", "long", "pair"), [
    ("linear", "chunks", False), pytest.param("linear", "head", False, marks=pytest.mark.slow),
    pytest.param("linear", "head", True, marks=pytest.mark.slow),
    pytest.param("attention", "head", False, marks=pytest.mark.slow)])
def test_texts_in_any_number(head: str, long: str, pair: bool, bert_folder: str, tmp_path: Path) -> None:
    backbone = tl.load_backbone("bert_base", bert_folder, pooling=pooling_for(head))
    backbone = backbone.taking(replace(backbone.input, max_length=16, long=long, pair=pair))
    sent = [[text, other] for text, other in zip(WORDS, reversed(WORDS), strict=True)] if pair else WORDS
    check_rows(tmp_path, backbone, head, sent, *(tf.zeros([0, length], tf.int32) for length in (0, 16)))


@pytest.mark.slow
def test_what_is_no_list_of_images_gets_a_message(tmp_path: Path) -> None:
    by_name, _ = signatures(tmp_path, tiny_backbone(), "linear")
    png = save(Image.fromarray(scene()), "PNG")
    for sent in (tf.constant(png), tf.constant([[png]])):
        for name in ("serving_default", "features"):
            with pytest.raises(tf.errors.InvalidArgumentError) as raised:
                by_name[name](image_bytes=sent)
            message = str(raised.value)
            assert "image_bytes_must_be_a_list_of_inputs" in message and "expected shape [?]" in message
            assert str(sent.shape.as_list()).replace(" ", "") in message
    for values in (tf.zeros([32, 32, 3], tf.uint8), tf.zeros([1, 1, 32, 32, 3], tf.uint8)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="images_must_be_a_list_of_inputs"):
            by_name["tensor"](images=values)  # without a check, a convolution ends the process
    for text in (base64.b64encode(png), b"data:image/png;base64," + base64.b64encode(png)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="base64 text instead of the bytes"):
            by_name["serving_default"](image_bytes=tf.constant([text]))
