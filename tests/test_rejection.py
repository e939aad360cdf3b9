"""Inputs of no known class: the scores, their threshold, and that every exported graph computes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.decision import Calibration
from kerastl.errors import ModelError, OptionError
from kerastl.evaluation.rejection import (
    DISTANCES,
    LABEL,
    LOGIT_SCORES,
    NEIGHBOURS,
    Detector,
    calibrated_detector,
    conformal_threshold,
    numpy_ops,
    principal_axes,
    rejection_faults,
    tensorflow_ops,
    thresholds_of,
)
from kerastl.export import quantize, tflite
from kerastl.export.lite_graph import LiteGraph
from kerastl.export.parity import rank_correlation
from kerastl.export.unknown import mean_over_places as mean_in_graph
from kerastl.features.compute import Features
from kerastl.features.means import mean_over_places
from kerastl.serving.classifier import load
from kerastl.studies.left_out import Comparison, LeftOut, compare_scores
from kerastl.studies.rejection import detect_unknown, fewest, uses_features
from kerastl.tasks import task_named
from kerastl.training.fit import fit
from kerastl.training.train import TrainedModel
from kerastl.versions.detector import FILE, read_detector, write_detector

OUTPUTS, DIM = 4, 12


def detector(name: str, x: NDArray[Any], y: NDArray[Any]) -> Detector:
    """One of these rows, without a threshold."""
    distances = principal_axes(x, np.eye(int(y.max()) + 1)[y]).distances(name) if name in DISTANCES else None
    return Detector(name, distances)


def detected(folder: Path, x: NDArray[Any], targets: NDArray[Any], *, split: Any = None, head: Any = "linear",
             **options: Any) -> tuple[tl.Rejection, Features]:
    """The detector of made-up features, and these."""
    examples = made_examples(targets, split=split)
    features = made_features(folder, x, examples if split else in_folds(examples))
    return detect_unknown(features, TrainedModel(None, fit(features, head), None), **options), features


@pytest.mark.parametrize(("coverage", "least"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1)])
def test_a_threshold_exists_from_as_many_rows_as_the_coverage_needs(coverage: float, least: int) -> None:
    assert fewest(coverage) == least
    assert conformal_threshold(np.arange(least - 1.0), coverage) is None
    assert conformal_threshold(np.arange(float(least)), coverage) is not None


def test_new_rows_exceed_the_threshold_as_often_as_the_coverage_says() -> None:
    scores = np.random.default_rng(0).normal(size=(2000, 101))
    exceeded = [row[-1] > (conformal_threshold(row[:-1], 0.9) or 0.0) for row in scores]
    assert abs(np.mean(exceeded) - 0.1) < 0.02  # (101 - 91) / 101 = 0.099


def test_the_distance_is_that_of_mahalanobis_with_the_shrunk_covariance() -> None:
    x, y = clouds(300, OUTPUTS, DIM, apart=2.0)
    x = x * np.linspace(0.5, 2, DIM, dtype=np.float32)
    axes = principal_axes(x, np.eye(OUTPUTS)[y])
    length_1 = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float64)
    means = np.stack([length_1[y == c].mean(axis=0) for c in range(OUTPUTS)])
    covariance, share = ledoit_wolf(length_1 - means[y], assume_centered=True)
    assert 0.02 < share < 0.5 and np.allclose(axes.axes @ np.diag(axes.variance) @ axes.axes.T, covariance, atol=1e-6)
    difference = length_1[:, None] - means
    expected = np.einsum("nkd,de,nke->nk", difference, np.linalg.inv(covariance), difference).min(axis=1)
    assert np.allclose(detector("mahalanobis", x, y).numpy(x, x), expected, rtol=1e-3)


def test_what_the_axes_leave_out_counts() -> None:
    generator = np.random.default_rng(0)
    x = np.zeros((60, 300), np.float32)
    x[:, :20] = 1 + generator.normal(size=(60, 20)) * 0.1
    other = x.copy()
    other[:, 250] = 2.0  # where no row of the others varies
    for name in (NEIGHBOURS, "mahalanobis"):
        made = detector(name, x, np.arange(60) % 2)
        assert made.numpy(other, other).min() > made.numpy(x, x).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DISTANCES, *LOGIT_SCORES])
def test_numpy_and_tensorflow_compute_the_same_scores(name: str, tmp_path: Path) -> None:
    x, y = clouds(120, OUTPUTS, DIM, apart=2.0)
    made = replace(detector(name, x, y), offset=1.5, unit=0.5, reject=True)
    expected = made.numpy(x, x[:, :OUTPUTS])
    graph = tf.function(lambda rows, logits: made.scores(rows, logits, tensorflow_ops()))
    assert np.abs(graph(x, x[:, :OUTPUTS]).numpy() - expected).max() < 1e-4 * np.ptp(expected)
    assert np.ptp(expected) > 0.1
    write_detector(tmp_path, made)
    again = read_detector(tmp_path)
    assert again is not None and (again.name, again.offset, again.unit, again.reject) == (name, 1.5, 0.5, True)
    assert np.array_equal(again.numpy(x, x[:, :OUTPUTS]), expected)


def test_a_damaged_detector_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert read_detector(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"PK no zip")
    with pytest.raises(ModelError, match="rejection.npz is damaged"):
        read_detector(tmp_path)


def test_the_graph_averages_places_as_the_cache_does() -> None:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(3, 5, 4)).astype(np.float32)
    states[0, 2:], states[1, 4:], states[2] = 0, 0, 0  # padding
    for rows in (states, generator.normal(size=(2, 3, 3, 4)).astype(np.float32), states[:, 0]):
        assert np.allclose(mean_in_graph(tf.constant(rows)).numpy(), mean_over_places(rows), atol=1e-6)


@pytest.mark.slow
def test_classes_that_are_left_out_are_found_and_own_rows_are_kept(tmp_path: Path) -> None:
    x, y = clouds(400, OUTPUTS, DIM, apart=6.0)
    found, features = detected(tmp_path, x, y, reject="on")
    result = found.result
    assert result.threshold == 0.0 and result.n == result.calibration_rows == 400 and result.rejected_ci95
    assert result.rejected_ci95[0] <= 0.05 <= result.rejected_ci95[1]
    assert result.auroc is not None and result.auroc > 0.9
    assert [left.name for left in result.classes] == list(features.examples.classes)
    assert result.thresholds and result.thresholds["0.95"] == 0.0 and result.thresholds["0.99"] > 0
    far = np.random.default_rng(5).normal(size=(50, DIM)).astype(np.float32) * 9
    assert (found.detector.numpy(far, far) > 0).mean() > 0.5 and found.detector.reject
    assert (found.detector.numpy(x, x) > 0).mean() < 0.06


@pytest.mark.slow
def test_a_fold_has_no_part_in_its_own_choice(tmp_path: Path) -> None:
    x, y = clouds(200, OUTPUTS, DIM, apart=3.0)
    part = (np.arange(200) // OUTPUTS % 5).astype(np.int8)
    other = x.copy()
    other[part == 0] = np.random.default_rng(1).normal(size=(int((part == 0).sum()), DIM)) * 50
    rows, members = np.arange(200), np.eye(OUTPUTS)[y]

    def of_fold_0(values: NDArray[Any], folder: str) -> list[Any]:
        features = made_features(tmp_path / folder, values, in_folds(made_examples(y)))
        return [each for each in compare_scores(features, rows, part, members).measurements
                if each.other == 0 and each.fold != 0]

    assert of_fold_0(x, "a") == of_fold_0(other, "b") != []


def test_of_a_hold_out_the_validation_rows_give_the_threshold_and_the_test_rows_the_figure(tmp_path: Path) -> None:
    x, y = clouds(500, OUTPUTS, DIM, apart=4.0)
    found, features = detected(tmp_path, x, y, split=held_out(500))
    split = features.examples.split
    assert split is not None
    fitted = detector(found.detector.name, x[split.part == 0], y[split.part == 0])
    raw = fitted.scores(x[split.part == 1], None, numpy_ops())
    assert found.detector.offset == pytest.approx(conformal_threshold(raw, 0.95))
    tested = fitted.scores(x[split.held_out], None, numpy_ops()) > conformal_threshold(raw, 0.95)
    assert (found.result.rejected, found.result.n) == (pytest.approx(tested.mean()), len(split.held_out))


def test_too_few_rows_have_no_threshold_and_nothing_is_rejected(tmp_path: Path) -> None:
    x, y = clouds(15, 3, DIM, apart=4.0)
    found, _ = detected(tmp_path, x, y, reject="on")
    assert (found.result.threshold, found.result.rejected, found.detector.reject) == (None, None, False)
    assert "15 calibration rows are too few" in found.result.limits[-1] and "at least 19" in found.result.limits[-1]
    assert found.detector.numpy(x, x).max() <= 0.5


@pytest.mark.slow
def test_two_classes_and_several_labels_have_a_distance(tmp_path: Path) -> None:
    x, y = clouds(200, 2, DIM, apart=4.0)
    found, _ = detected(tmp_path / "two", x, y)
    assert (found.detector.name, found.result.trials) == (NEIGHBOURS, ()) and "With two classes" in found.result.reason
    several = (np.random.default_rng(0).random((200, 3)) < 0.4).astype(np.int64)
    found, _ = detected(tmp_path / "several", x, several)
    assert found.detector.name in DISTANCES and found.result.rejected is not None and found.result.rejected < 0.15


@pytest.mark.slow
def test_maps_are_averaged(tmp_path: Path) -> None:
    x, y = clouds(80, 3, DIM, apart=4.0)
    maps = np.broadcast_to(x[:, None, None], (80, 2, 2, DIM)).astype(np.float32)
    pooled, _ = detected(tmp_path / "pooled", x, y)
    features = made_features(tmp_path / "maps", maps, in_folds(made_examples(y)))
    trained = TrainedModel(None, fit(made_features(tmp_path / "rows", x, in_folds(made_examples(y))), "linear"), None)
    found = detect_unknown(features, trained)
    assert found.result.rejected == pooled.result.rejected and found.detector.name == pooled.detector.name


def test_a_fine_tuned_backbone_and_a_head_without_features_use_the_logits(tmp_path: Path) -> None:
    import keras

    x, y = clouds(100, 3, DIM, apart=4.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    fitted = fit(features, "linear")
    tuned: Any = type("Result", (), {"kept": True})()
    found = detect_unknown(features, TrainedModel(None, fitted, tuned))
    assert found.detector.name == "max logit" and "fine-tuned" in found.result.reason and found.result.rejected
    inputs = [keras.Input((DIM,)), keras.Input((2,))]
    alone = keras.Model(inputs, keras.layers.Dense(3)(inputs[1]))
    both = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()(inputs)))
    assert (uses_features(fitted.head), uses_features(alone), uses_features(both)) == (True, False, True)


def test_faults_are_named(tmp_path: Path) -> None:
    x, y = clouds(60, 3, DIM, apart=4.0)
    with pytest.raises(OptionError, match=r"`coverage` must be between 0 and 1.*\n.*`reject` must be one of off, on"):
        detected(tmp_path, x, y, coverage=1.5, reject="yes")


def test_thresholds_are_in_the_unit_of_the_score() -> None:
    raw = np.arange(200.0)
    made, threshold = calibrated_detector(Detector("energy"), raw, 0.95)
    assert threshold == 190.0 and made.unit == pytest.approx(99.5)
    assert thresholds_of(raw, made, (0.95, 0.9)) == {"0.95": 0.0, "0.9": pytest.approx(-10 / 99.5)}


def test_ranks_are_compared() -> None:
    a = np.arange(10.0)
    assert rank_correlation(a, a**3) == pytest.approx(1.0) and rank_correlation(a, -a) == pytest.approx(-1.0)
    assert rank_correlation(a, np.full(10, np.nan)) == rank_correlation(a, np.ones(10)) == 0.0
    assert rank_correlation(a[:2], a[:2]) is rank_correlation(np.ones(5), a[:5]) is None


def converted(kinds: list[str]) -> tuple[dict[str, bytes], NDArray[Any], Detector]:
    """TFLite files of a small model with a detector, the rows they take, and the detector."""
    import keras

    x, y = clouds(60, 3, DIM, apart=4.0)
    pixels = np.clip(np.rint(128 + 25 * x), 30, 225).astype(np.uint8).reshape(-1, 2, 2, 3)
    inputs = keras.Input((2, 2, 3), name="images")
    parts = [keras.Sequential([keras.Input(shape), layer]) for shape, layer in (
        ((2, 2, 3), keras.layers.Flatten(name="through")), ((DIM,), keras.layers.Dense(3, name="logits")))]
    model = keras.Model(inputs, parts[1](parts[0](inputs)))
    made = replace(detector(NEIGHBOURS, pixels.reshape(-1, DIM), y), offset=0.01, unit=0.01)
    spec = tf.TensorSpec([1, 2, 2, 3], tf.uint8, name="images")
    files = tflite.convert(model, spec, Calibration(1.0), task_named("single_label").activation, kinds,
                           [row[None] for row in pixels], made)
    return dict(files), pixels, made


@pytest.mark.slow
def test_every_tflite_kind_computes_the_score_in_floats_and_can_be_written_without_it() -> None:
    files, x, made = converted(["fp32", "fp16", "dynamic", "int8"])
    beyond = np.array([0, 255, 0] * 4, np.uint8).reshape(1, 2, 2, 3)  # what no training row is like
    far = np.concatenate([x, beyond])
    expected = made.numpy(far.reshape(-1, DIM).astype(np.float32), far)
    assert expected.argmax() == len(x)
    for kind, content in files.items():
        run = tflite.Interpreter(content)
        scores = np.array([run(row[None])["unknown_score"] for row in far])
        assert scores.shape == expected.shape and (rank_correlation(expected, scores) or 0) > 0.98, kind
        assert scores[-1] == pytest.approx(expected[-1], rel=0.02)  # not cut off at the largest of the training rows
        graph = LiteGraph(content)
        assert graph.tensors[graph.outputs()["unknown_score"]].type == quantize.FLOAT32
        without = quantize.without_unknown_score(content)
        outputs = tflite.Interpreter(without)(x[:1])
        assert set(outputs) == {"logits", "probabilities"} and len(without) < len(content)
        assert np.array_equal(outputs["logits"], run(x[:1])["logits"])


@pytest.mark.slow
def test_a_version_rejects_where_its_score_is_above_0_in_every_engine(images: Path, tmp_path: Path,
                                                                     dropped_in: Path) -> None:
    record = tl.classify_images(images, name="m", out=tmp_path, backbone="tiny_net", weights="none", coverage=0.5,
                                reject="on", tflite="fp32")
    assert record.rejection is not None and record.rejection.reject
    assert all(artifact.rank is None or artifact.rank > 0.99 for artifact in record.parity)
    model = load(record.path)
    served = [row for row in model.rows(sorted(images.rglob("*.png"))) if not isinstance(row, str)]
    above = np.array([row["unknown_score"] > 0 for row in served])
    assert 0 < above.mean() < 1
    assert [row["label"].decode() == LABEL for row in served] == above.tolist()
    quick = tl.predict_inputs(record.path, [str(images)], engine="openvino")
    plain = tl.predict_inputs(record.path, [str(images)])
    assert quick.engine == "openvino"
    assert [p.label for p in quick.predictions] == [p.label for p in plain.predictions]
    scores = [[p.unknown_score for p in result.predictions] for result in (quick, plain)]
    assert np.allclose(scores[0], scores[1], atol=1e-2)
    page = (Path(record.path) / "report.html").read_text()
    assert "Inputs that belong to no class" in page and "would be rejected" in page
    assert f'gets the label "{LABEL}"' in (Path(record.path) / "MODEL_CARD.md").read_text()
    assert "count every held-out image with its predicted class" in page
    assert quick.notes[-1].startswith(f'the label of {above.sum()} of the images is "{LABEL}"')
    evaluated = tl.evaluate_model(record.path, images).unknown
    assert evaluated is not None and (evaluated.rows, evaluated.reject) == (above.sum(), True)
    assert 'get the label "none of these", but count with their most probable class' in evaluated.sentence
    again = tl.export_again(record.path, "none")
    assert again.rejection == record.rejection and (Path(again.path) / FILE).exists()
    assert tl.verify(again.path).parity[0].rank == pytest.approx(1.0, abs=0.01)


def test_a_class_does_not_choose_the_score_that_its_own_rejection_is_measured_with() -> None:
    """Rejecting `odd` would choose energy, for all classes; the others choose neighbours."""
    def measured(name: str, fold: int, energy: float) -> LeftOut:
        return LeftOut(name, fold, 1 - fold, 10, {NEIGHBOURS: 0.8, "energy": energy})

    comparison = Comparison(tuple(measured(name, fold, 1.0 if name == "odd" else 0.79)
                                  for name in ("a", "b", "odd") for fold in (0, 1)))
    assert comparison.chosen() == comparison.chosen(0) == "energy" and comparison.chosen(0, "odd") == NEIGHBOURS
    aurocs = {left.name: left.auroc for left in comparison.classes()}
    assert aurocs["odd"] == pytest.approx(0.8) and aurocs["a"] == pytest.approx(0.79)


def test_a_class_named_as_the_rejected_label_cannot_be_told_from_it() -> None:
    assert not rejection_faults(0.95, "off", (LABEL, "a")) and not rejection_faults(0.95, "on", ("a", "b"))
    fault, = rejection_faults(0.95, "on", (LABEL, "a"))
    assert 'have a class "none of these"' in fault
