"""Drift: false alarms at the stated rate, three kinds of shift that are found, and the verb with its page and logs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw

import kerastl as tl
from kerastl.audit.drift import _repeated
from kerastl.audit.logs import logged_inputs
from kerastl.evaluation.drift import Expected, Promise, Sample, compare_samples
from kerastl.evaluation.reference import FILE, Reference, as_kept, sizes_of
from kerastl.evaluation.two_samples import areas, feature_test, label_shift, prediction_tests, probability_tests
from kerastl.modality import TEXT
from kerastl.versions.reference import read_reference

Shell = Callable[..., tuple[int, str, str]]
NAMES = ("a", "b", "c")
EXPECTED = Expected(NAMES, True, True, None)


def sample(draw: np.random.Generator, n: int, move: float = 0.0, mix: Any = None) -> tuple[Any, Any]:
    """Features of three classes, and the probabilities that a model makes of them."""
    labels = draw.choice(3, n, p=mix)
    x = draw.normal(size=(n, 40)) + 2.0 * np.eye(3, 40)[labels]
    x[:, 5:10] += move
    z = np.exp(2 * x[:, :3])
    return x, z / z.sum(axis=1, keepdims=True)


@pytest.mark.slow
def test_there_are_no_more_false_alarms_than_stated() -> None:
    generator = np.random.default_rng(0)
    outputs, features = [], []
    for number in range(200):
        (x, p), (new, q) = sample(generator, 300), sample(generator, 100)
        outputs.append(min(test.p for test in probability_tests(p, q, NAMES)))
        if number < 60:
            features.append(feature_test(x, new, number, permutations=39)[0].p)
    assert np.mean(np.array(outputs) < 0.05) <= 0.09  # 0.05 and twice the standard error of 200 draws
    assert np.mean(np.array(features) <= 0.05) <= 0.12
    assert 0.2 < np.mean(np.array(features) <= 0.5) < 0.8  # a p-value that is always large would find nothing


def test_how_a_reference_is_rounded_is_no_difference() -> None:
    """In few dimensions, the other components are what rounding leaves; and float16 does not hold every feature."""
    generator = np.random.default_rng(4)
    mixed = generator.normal(size=(6, 50))
    x, new = (generator.normal(size=(n, 6)) @ mixed for n in (300, 200))
    p, q = generator.dirichlet([1, 1, 1], 300), generator.dirichlet([1, 1, 1], 200)
    reference = Reference(as_kept(x), p.astype(np.float32), np.ones(300))
    found = compare_samples(reference, Sample(new.astype(np.float32), q, np.ones(200), None), EXPECTED, 99)
    assert {test.name: test.p for test in found.tests}["features"] > 0.1
    assert feature_test(as_kept(x).astype(np.float64), new, permutations=99)[0].p > 0.1
    large = Reference(as_kept(1e6 * x), p.astype(np.float32), np.ones(300))
    found = compare_samples(large, Sample(1e6 * new.astype(np.float32), q, np.ones(200), None), EXPECTED, 99)
    assert np.isfinite(large.features).all() and not found.drifted(0.01)


def test_inputs_that_repeat_each_other_are_named() -> None:
    generator = np.random.default_rng(5)
    (x, p), (new, q) = sample(generator, 300), sample(generator, 100)
    reference = Reference(as_kept(x), p.astype(np.float32), np.ones(300))
    new, q = new.astype(np.float32), q.astype(np.float32)
    assert _repeated(reference, Sample(new, q, np.ones(100), None)) == ()
    again = np.arange(100) // 2
    (note,) = _repeated(reference, Sample(new[again], q[again], np.ones(100), None))
    assert note.startswith("50 of the 100 inputs repeat another one, and 0 of the 300 rows")
    twice = np.arange(300) // 2
    reference = Reference(as_kept(x[twice]), p[twice].astype(np.float32), np.ones(300))
    assert _repeated(reference, Sample(new[again], q[again], np.ones(100), None)) == ()


def test_a_changed_mix_and_moved_features_are_found() -> None:
    generator = np.random.default_rng(1)
    x, p = sample(generator, 500)
    _, other_mix = sample(generator, 200, mix=[0.7, 0.2, 0.1])
    found = probability_tests(p, other_mix, NAMES)
    assert min(test.p for test in found) < 1e-4 and found[0].mean_now > found[0].mean_before + 0.2
    moved, q = sample(generator, 200, move=0.5)  # along directions that the model does not look at
    assert min(test.p for test in probability_tests(p, q, NAMES)) > 0.01
    test, newness = feature_test(x, moved, permutations=99)
    assert test.p <= 0.02 and test.auc > 0.6 and len(newness) == 200
    assert np.corrcoef(newness, moved[:, 5:10].sum(axis=1))[0, 1] > 0.3  # the most moved are the most new


def test_the_area_is_the_share_of_pairs_that_are_ranked_right() -> None:
    scores = np.array([[1.0, 1.0, 4.0], [2.0, 1.0, 3.0], [3.0, 1.0, 2.0], [4.0, 1.0, 1.0]])
    assert areas(scores, np.repeat([[0.0], [1.0]], 2, axis=0).repeat(3, axis=1)).tolist() == [1.0, 0.5, 0.0]
    assert areas(scores, np.zeros((4, 3))).tolist() == [0.5] * 3


def test_each_test_can_be_significant_alone() -> None:
    """Also the one by permutations, whose smallest p-value is corrected for the number of tests."""
    generator = np.random.default_rng(2)
    (x, p), (new, q) = sample(generator, 300), sample(generator, 200, move=1.5)  # outputs do not change
    reference = Reference(x.astype(np.float16), p.astype(np.float32), generator.normal(size=300))
    found = compare_samples(reference, Sample(new.astype(np.float32), q, generator.normal(size=200),
                                              generator.normal(size=200)),
                            Expected(NAMES, True, True, Promise(0.95, 2.0, 300)))
    by_name = {test.name: test.p for test in found.tests}
    assert by_name["features"] < 0.01 < min(by_name["outputs"], by_name["sizes"], by_name["rejected inputs"])


@pytest.mark.slow
def test_predictions_of_cross_validation_raise_no_false_alarm() -> None:
    """The heads of folds see fewer rows than the head that ships, so that their probabilities have another scale."""
    generator = np.random.default_rng(4)
    alarms = {True: 0, False: 0}
    for _ in range(100):
        (_, p), (_, q) = sample(generator, 300), sample(generator, 150)
        q = q ** 1.3 / (q ** 1.3).sum(axis=1, keepdims=True)  # surer of the same classes
        for by_model in alarms:
            found = Expected(NAMES, True, by_model, None).output_tests(p, q)
            alarms[by_model] += min(test.p for test in found) < 0.05
    assert alarms[False] <= 11 < 50 < alarms[True]  # 5 are expected
    _, other_mix = sample(generator, 200, mix=[0.7, 0.2, 0.1])
    found = prediction_tests(p, other_mix, NAMES, True)
    assert min(test.p for test in found) < 1e-4 and found[0].statistic > 0.2
    several = np.array([[0.9, 0.8, 0.1]] * 30 + [[0.2, 0.6, 0.4]] * 10)
    found = prediction_tests(several, several[:30], NAMES, False)
    assert [round(test.statistic, 3) for test in found] == [0.25, 0.0, 0.0] and found[1].p == 1.0


def test_a_threshold_from_few_rows_raises_no_false_alarm_on_many() -> None:
    generator, promise = np.random.default_rng(3), Promise(0.95, 0.0, 200)
    alarms, binomial = 0, 0
    for _ in range(400):
        threshold = np.sort(generator.normal(size=200))[190]  # the 191st of 200: ceil(201 x 0.95)
        above = int((generator.normal(size=20_000) > threshold).sum())
        alarms += promise.p_value(above, 20_000) < 0.05
        binomial += Promise(0.95, 0.0, 0).p_value(above, 20_000) < 0.05
    assert 4 <= alarms <= 36  # 20 are expected
    assert binomial > 100
    assert promise.p_value(40, 200) < 1e-4 < promise.p_value(14, 200)


def test_the_mix_of_classes_is_estimated_from_the_confusion_matrix() -> None:
    confusion = np.array([[90, 10], [20, 80]], np.float64)
    true = np.array([0.2, 0.8])
    predicted = true @ (confusion / confusion.sum(axis=1, keepdims=True))
    assert label_shift(confusion, predicted) == pytest.approx(true)
    assert label_shift(np.array([[1.0, 1.0], [1.0, 1.0]]), predicted) is None


def test_a_reference_is_read_as_it_was_written_and_runs_no_code() -> None:
    reference = Reference(np.ones((2, 3), np.float16), np.full((2, 2), 0.5, np.float32), np.array([1.0, 2.0]))
    again = Reference.from_bytes(reference.to_bytes())
    assert (again.features == reference.features).all() and len(again) == 2
    for content in (b"", b"PK\x03\x04", reference.to_bytes()[:-30]):
        with pytest.raises(ValueError, match="no reference"):
            Reference.from_bytes(content)
    assert sizes_of(["four", ("a", "bc"), b"12345"]).tolist() == [4, 3, 5]


def test_a_version_has_a_reference_of_its_held_out_rows_and_no_input(trained: Path) -> None:
    reference, record = read_reference(trained), json.loads((trained / "run.json").read_text())
    assert len(reference) == min(1000, record["test"]["n"]) and reference.features.shape[1] > 0
    assert reference.probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-4)
    assert (trained / FILE).stat().st_size < 200_000


@pytest.mark.slow
def test_the_verb_finds_other_images_and_not_the_same(trained: Path, images: Path, tmp_path: Path, shell: Shell
                                                      ) -> None:
    code, out, _ = shell("drift", str(trained), str(images), "--json")
    same = json.loads(out)
    assert same["outputs_of"] == "predicted classes"  # it was cross-validated
    assert code == 0 and not same["drifted"] and same["n"] >= 20 and same["labels"]
    for number in range(40):
        draw(tmp_path / "other" / f"{number}.png", (120 + number, 120, 120), number)
    page = tmp_path / "page.html"
    code, out, err = shell("drift", str(trained), str(tmp_path / "other"), "--out", str(page))
    assert code == 1 and "differ from the rows that the model was evaluated on" in out + err
    assert page.read_text().count("<img ") == 12 and "http" not in page.read_text().split("</style>")[1]


@pytest.mark.slow
def test_request_logs_are_read(trained: Path, images: Path, tmp_path: Path, shell: Shell) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    with tf.io.TFRecordWriter(str(tmp_path / "log.tfrecord")) as writer:
        for path in sorted(images.rglob("*.png"))[:30]:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([path.read_bytes()]))
            writer.write(log.SerializeToString())
    code, out, _ = shell("drift", str(trained), str(tmp_path / "log.tfrecord"), "--json")
    assert json.loads(out)["n"] == 30 and code in (0, 1) and json.loads(out)["notes"] == []
    (tmp_path / "bad.tfrecord").write_bytes(b"no log" * 20)
    code, _, err = shell("drift", str(trained), str(tmp_path / "bad.tfrecord"))
    assert code == 2 and "cannot be read" in err


def test_logs_of_each_kind_are_read_and_what_is_skipped_is_said(tmp_path: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    logs = [prediction_log_pb2.PredictionLog() for _ in range(6)]
    logs[0].predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["caf\u00e9".encode(), b"\xff"]))
    logs[1].predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto([[b"a", b"b"], [b"c", b"d"]]))
    logs[2].predict_log.request.inputs["tokens"].CopyFrom(tf.make_tensor_proto([1, 2]))
    example = logs[3].classify_log.request.input.example_list.examples.add()
    example.features.feature["text"].bytes_list.value.append(b"of an example")
    logs[3].classify_log.request.input.example_list.examples.add()
    logs[4].session_run_log.request.target.append("x")
    with tf.io.TFRecordWriter(str(tmp_path / "log.tfrecord")) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    found = logged_inputs([str(tmp_path / "log.tfrecord")], TEXT)
    assert found.items == ["caf\u00e9", b"\xff", ("a", "b"), ("c", "d"), "of an example"]
    assert sizes_of(found.items[:1]).tolist() == [4]  # characters, as in the reference
    assert found.notes == ("of 6 logged requests, skipped: predict_log without text (1), classify_log without text "
                           "(1), session_run_log without text (1), no log_type without text (1)",)


def test_the_end_of_a_log_may_be_missing(tmp_path: Path) -> None:
    """As while a large record is being written, and after a kill."""
    from tensorflow_serving.apis import prediction_log_pb2

    log, path = prediction_log_pb2.PredictionLog(), tmp_path / "log.tfrecord.part"
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a text"]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(log.SerializeToString())
    whole = path.read_bytes()
    for cut in (2, 20, len(whole) // 3 - 14):
        path.write_bytes(whole[:-cut])
        found = logged_inputs([str(path)], TEXT)
        assert found.items == ["a text"] * 2 and "an incomplete record at the end of a file" in found.notes[0]
    path.write_bytes(whole[:20])
    with pytest.raises(tl.DataError, match="cannot be read"):
        logged_inputs([str(path)], TEXT)
    path.write_bytes(whole[:-30] + b"x" + whole[-29:])
    with pytest.raises(tl.DataError, match="corrupted"):
        logged_inputs([str(path)], TEXT)
    with pytest.raises(tl.DataError, match="cannot be read"):
        logged_inputs([str(tmp_path / "no.tfrecord")], TEXT)


@pytest.mark.slow
def test_what_cannot_be_compared_is_one_message(trained: Path, images: Path, tmp_path: Path) -> None:
    for arguments, words in (({"inputs": []}, "is empty"), ({"inputs": ["x"], "alpha": 2}, "`alpha` must be between")):
        with pytest.raises(tl.OptionError, match=words):
            tl.drift(str(trained), **arguments)
    few = [str(path) for path in sorted(images.rglob("*.png"))[:5]]
    with pytest.raises(tl.DataError, match="5 of the 5 inputs"):
        tl.drift(str(trained), few)
    with pytest.raises(tl.DataError, match="0 of the 1 inputs have a prediction.*no such file or folder: .*nowhere"):
        tl.drift(str(trained), [str(tmp_path / "nowhere")])
    copy = tmp_path / "m" / "1"
    shutil.copytree(trained, copy)
    (copy / FILE).write_bytes(b"damaged")
    with pytest.raises(tl.ModelError, match="is damaged"):
        tl.drift(str(copy), few)
    (copy / FILE).unlink()
    with pytest.raises(tl.ModelError, match=f"missing since it was written: {FILE}"):
        tl.drift(str(copy), few)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][FILE]  # as of a model trained without it
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(tl.ModelError, match="nothing to compare"):
        tl.drift(str(copy), few)
