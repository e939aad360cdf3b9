"""The parity check: where each bound lies, and that raw input counts as much as decoded values."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_folder
from numpy.typing import NDArray
from test_quantize import joint_model
from tiny import held_out, made_examples, tiny_backbone

import kerastl as tl
from kerastl.data.examples import Examples
from kerastl.errors import CheckFailed
from kerastl.export import quantize, tflite
from kerastl.export.parity import (
    PLAIN,
    Evaluated,
    Reference,
    checked_saved_model,
    choose_rows,
    compare_saved_model,
    compare_tflite,
    has_top,
)
from kerastl.heads import resolve_head
from kerastl.inputs import floats
from kerastl.model import prediction
from kerastl.versions.sections import Parity

CLASSES = 3


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """100 images of 3 classes."""
    folder = draw_folder(tmp_path_factory.mktemp("hundred"), 34)
    return tl.read_images(str(folder)).take(np.arange(100))


def whole_model(examples: Examples, largest: float = 5.0) -> Any:
    """The tiny backbone with a linear head that predicts every class; its largest logit on these images: `largest`."""
    backbone = tiny_backbone()
    head = resolve_head("linear").build(backbone.shape, CLASSES)
    features = np.concatenate([np.asarray(backbone.model(floats(batch.values), training=False))
                               for batch in backbone.input.batches(examples.items, 32, {})])
    kernel = np.random.default_rng(0).normal(size=(*backbone.shape, CLASSES))
    kernel *= largest / np.abs((features - features.mean(axis=0)) @ kernel).max()
    head.set_weights([kernel, -features.mean(axis=0) @ kernel])
    return tl.splice(backbone, head)


def reference_of(examples: Examples, truth: NDArray[Any] | None = None, largest: float = 5.0) -> Reference:
    """Keras' logits on all rows. truth: the labels that accuracy is measured by."""
    model = whole_model(examples, largest)
    examples = examples if truth is None else replace(examples, targets=truth)
    reference = Reference(model, tiny_backbone().input, examples, np.arange(len(examples)))
    assert len(np.unique(reference.logits.argmax(axis=1))) == CLASSES
    return reference


def compared(reference: Reference, kind: str, logits: NDArray[np.float32]) -> Parity:
    return reference.compare(kind, logits, 1000, 1.0)


def turned(logits: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """The same with another top label on the first `rows` rows: the second best."""
    other = logits.copy()
    order = logits.argsort(axis=1)
    for row in range(rows):
        best, second = order[row, -1], order[row, -2]
        other[row, best], other[row, second] = logits[row, second], logits[row, best]
    return other


# Where each bound lies


def test_float32_logits_may_differ_by_one_in_ten_thousand(hundred: Examples) -> None:
    reference = reference_of(hundred)
    cases = ((0.0, True), (0.9e-4, True), (1.2e-4, False), (-1.2e-4, False), (np.nan, False))
    for kind, (difference, kept) in itertools.product(("saved_model", "fp32"), cases):
        other = reference.logits.copy()
        other[17, 1] += difference  # one logit of one row is enough
        result = compared(reference, kind, other)
        assert result.kept == kept and result.kind == kind and result.rows == 100
        assert result.max_difference == pytest.approx(np.inf if np.isnan(difference) else abs(difference), abs=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [40.0, 5.0, 0.01], ids=["large logits", "usual logits", "small logits"])
def test_float16_logits_may_differ_by_a_hundredth_of_the_largest_and_of_1_at_least(largest: float, hundred: Examples
                                                                                   ) -> None:
    reference = reference_of(hundred, largest=largest)
    bound = 0.01 * max(1.0, float(np.abs(reference.logits).max()))
    assert (bound > 0.01) == (largest > 1)
    for share, kept in ((0.95, True), (-0.95, True), (1.05, False), (-1.05, False)):
        other = reference.logits.copy()
        other[3, 2] += share * bound
        assert compared(reference, "fp16", other).kept == kept


@pytest.mark.slow
def test_of_quantised_kinds_a_share_of_top_labels_must_agree(hundred: Examples) -> None:
    top = reference_of(hundred).logits.argsort(axis=1)
    reference = reference_of(hundred, truth=top[:, 0])  # the third best is true: all are incorrect, before and after
    for kind, rows, kept in (("dynamic", 0, True), ("dynamic", 2, True), ("dynamic", 3, False), ("dynamic", 50, False),
                             ("int8", 0, True), ("int8", 3, True), ("int8", 4, False), ("int8", 50, False)):
        result = compared(reference, kind, turned(reference.logits, rows))
        assert result.agreement == pytest.approx(1 - rows / 100) and result.accuracy_change == 0
        assert result.kept == kept


@pytest.mark.slow
@pytest.mark.parametrize("better", [False, True])
def test_of_quantised_kinds_accuracy_may_change_by_a_point(better: bool, hundred: Examples) -> None:
    top = reference_of(hundred).logits.argsort(axis=1)
    reference = reference_of(hundred, truth=top[:, -2 if better else -1])
    for kind, (rows, kept) in itertools.product(("dynamic", "int8"), ((1, True), (2, False))):  # 98 in 100 labels agree
        result = compared(reference, kind, turned(reference.logits, rows))
        assert result.accuracy_change == pytest.approx((1 if better else -1) * rows / 100)
        assert result.kept == kept


def test_quantised_kinds_may_differ_in_logits(hundred: Examples) -> None:
    reference = reference_of(hundred)
    result = compared(reference, "dynamic", reference.logits * 1.5)
    assert result.kept and result.max_difference > 1 and result.agreement == 1


# A SavedModel, by the raw input that a client sends


class Served(tf.Module):
    """A model with the signatures of a version. wrong: contents of which `serving_default` gives another label.
    shift: what `tensor` adds to its logits."""

    def __init__(self, model: Any, wrong: Sequence[bytes] = (), shift: float = 0.0) -> None:
        super().__init__()
        self.model, self.source = model, tiny_backbone().input
        self.wrong, self.shift = tf.constant(list(wrong) or [b""]), shift

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        values, _ = self.source.decode(image_bytes)
        p = tf.nn.softmax(self.model(tf.cast(values, tf.float32), training=False))
        is_wrong = tf.reduce_any(image_bytes[:, None] == self.wrong[None], axis=1)
        return {"probabilities": tf.where(is_wrong[:, None], tf.roll(p, 1, axis=1), p)}

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.uint8, name="images")], autograph=False)
    def tensor(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": self.model(tf.cast(images, tf.float32), training=False) + self.shift}

    def save(self, folder: Path) -> Path:
        tf.saved_model.save(self, str(folder), {"serving_default": self.serve, "tensor": self.tensor})
        return folder


@pytest.mark.slow
def test_a_saved_model_that_equals_keras_is_kept(hundred: Examples, tmp_path: Path) -> None:
    reference = reference_of(hundred)
    result = compare_saved_model(reference, Served(whole_model(hundred)).save(tmp_path / "m"))
    assert result.kept and result.agreement == 1 and result.max_difference < 1e-4 and result.rows == 100
    files = [path for path in (tmp_path / "m").rglob("*") if path.name == "saved_model.pb" or "variables." in path.name]
    assert result.bytes == sum(path.stat().st_size for path in files)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 99], ids=["the first row", "the last row"])
def test_one_row_with_another_label_from_its_bytes_is_enough_to_refuse_it(place: int, hundred: Examples,
                                                                       tmp_path: Path) -> None:
    reference = reference_of(hundred)
    content = Path(hundred.items[place]).read_bytes()
    result = compare_saved_model(reference, Served(whole_model(hundred), [content]).save(tmp_path / "m"))
    assert not result.kept and result.agreement == pytest.approx(0.99)
    assert result.max_difference < 1e-4  # decoded values do not show it


@pytest.mark.slow
def test_a_saved_model_with_other_logits_is_not_kept(hundred: Examples, tmp_path: Path) -> None:
    result = compare_saved_model(reference_of(hundred), Served(whole_model(hundred), shift=0.01).save(tmp_path / "m"))
    assert not result.kept and result.agreement == 1 and result.max_difference == pytest.approx(0.01, rel=0.01)


@pytest.mark.slow
def test_milliseconds_are_those_of_a_row(hundred: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that advances by 1, 2, 3, ... seconds each time it is read: row i, from 0, takes 2 i + 1."""
    times = itertools.accumulate(itertools.count())
    monkeypatch.setattr(prediction, "time", SimpleNamespace(perf_counter=times.__next__))
    result = compare_saved_model(reference_of(hundred), Served(whole_model(hundred)).save(tmp_path / "m"))
    assert result.milliseconds == 1000 * np.median([2 * row + 1 for row in range(30)])


# Against the logits that were evaluated


@pytest.mark.slow
def test_the_logits_that_were_evaluated_are_the_reference_unless_they_are_wrong(hundred: Examples, tmp_path: Path
                                                                               ) -> None:
    """Where they differ, Keras' decide: the features of another engine than TensorFlow's are then refused."""
    model, source = whole_model(hundred), tiny_backbone().input
    folder = Served(model).save(tmp_path / "m")

    def checked(shift: float, engine: str) -> tuple[Reference, Parity]:
        def of_rows(rows: NDArray[np.intp]) -> NDArray[np.float32]:
            return Reference(model, source, hundred, rows).logits + np.float32(shift)

        return checked_saved_model(model, source, hundred, folder, Evaluated(of_rows, engine, of_rows), PLAIN)

    for engine in ("tensorflow", "openvino"):
        _, parity = checked(3e-5, engine)
        assert parity.kept and parity.max_difference == pytest.approx(3e-5, abs=5e-6)  # Keras was not asked
        _, parity = checked(8e-5, engine)
        assert parity.kept and parity.max_difference < 1e-5
    reference, parity = checked(1e-3, "tensorflow")
    assert parity.kept and parity.max_difference < 1e-5
    assert np.array_equal(reference.logits, Reference(model, source, hundred, choose_rows(hundred)).logits)
    with pytest.raises(CheckFailed, match="from features by openvino, differ from Keras' by up to 0.001"):
        checked(1e-3, "openvino")


# A TFLite file, by decoded values


@pytest.mark.slow
def test_a_tflite_file_is_compared_by_what_it_returns(hundred: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    rows, model = np.arange(0, 100, 5), whole_model(hundred)
    reference = Reference(model, tiny_backbone().input, hundred, rows)
    assert reference.accuracy(reference.logits) == (reference.logits.argmax(axis=1) == hundred.targets[rows]).mean()

    def comparison() -> Parity:
        spec, activation = tiny_backbone().input.single_spec, hundred.task.activation
        ((kind, content),) = tflite.convert(model, spec, PLAIN, activation, ["fp32"], [])
        result = compare_tflite(reference, kind, content)
        assert result.rows == 20 and result.bytes == len(content) and result.milliseconds == 1000
        return result

    assert comparison().kept
    *others, bias = model.get_weights()
    model.set_weights([*others, bias + np.array([0, 0, 0.01], np.float32)])  # the reference keeps its logits
    other = comparison()
    assert not other.kept and other.max_difference == pytest.approx(0.01, rel=0.01)


@pytest.mark.slow
def test_a_tflite_file_that_ends_while_it_runs_is_not_kept(hundred: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "IN_FLOATS", ())  # 8 bits round to 0 what histograms are divided by
    rows, source = np.arange(0, 100, 5), tiny_backbone().input
    side = int(source.single_spec.shape[1])
    reference = Reference(None, source, hundred, rows, np.zeros((20, 3), np.float32))
    ranges = [np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.uint8)]
    ((kind, content),) = tflite.convert(joint_model(side), source.single_spec, PLAIN, hundred.task.activation, ["int8"],
                                        ranges)
    result = compare_tflite(reference, kind, content)
    assert not result.kept and result.bound.startswith("LiteRT can run it (") and "DIV" in result.bound


# Which rows


def test_rows_to_compare_on_are_held_out_ones_at_most_256_and_always_the_same() -> None:
    examples = made_examples(np.arange(2000) % 3, split=held_out(2000, test=0.3))
    assert examples.split is not None
    chosen = choose_rows(examples)
    assert len(set(chosen.tolist())) == 256 and set(chosen) <= set(examples.split.held_out)
    order = np.random.default_rng(0).permutation(2000)
    shuffled = replace(examples.take(order), split=replace(examples.split, part=examples.split.part[order]))
    assert [shuffled.ids[row] for row in choose_rows(shuffled)] == [examples.ids[row] for row in chosen]
    few = made_examples(np.arange(20) % 2)
    assert sorted(choose_rows(few).tolist()) == list(range(20))  # without a split: all there are


def test_labels_that_are_equally_certain_are_the_same_top_label() -> None:
    p = np.array([[1, 1, 0], [1, 1, 0], [0.2, 0.5, 0.3], [0.5, 0.2, 0.3]], np.float32)  # sigmoids of 20 and 25 are 1
    assert has_top(p, np.array([0, 1, 1, 1])).tolist() == [True, True, True, False]
