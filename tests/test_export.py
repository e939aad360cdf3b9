"""What is shipped: the version folder, the SavedModel without Keras, the TFLite files, the gate between them."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny import clouds, in_folds, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.errors import DataError, ModelError, OptionError
from kerastl.export import parity
from kerastl.export.tflite import Interpreter
from kerastl.export.verify import verify
from kerastl.inputs.batches import decode_file
from kerastl.modality import parse_kinds
from kerastl.report.reexport import export_again
from kerastl.report.sentences import calibration_note
from kerastl.report.version import check_evaluation
from kerastl.serving.batch import predict_inputs
from kerastl.serving.evaluate_model import evaluate_model
from kerastl.training.options import TrainingOptions
from kerastl.versions.damage import check_manifest
from kerastl.versions.folder import versions
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import read_split

Shell = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parent.parent

PLAIN = """
import json, sys
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
folder, image = sys.argv[1:]
model = tf.saved_model.load(folder)
serve = model.signatures["serving_default"]
content = open(image, "rb").read()
answer = serve(image_bytes=tf.constant([content, content]))
names = set()
from tensorflow.core.protobuf import saved_model_pb2
proto = saved_model_pb2.SavedModel.FromString(open(folder + "/saved_model.pb", "rb").read())
for graph in proto.meta_graphs:
    names |= {node.op for node in graph.graph_def.node}
    own = {function.signature.name for function in graph.graph_def.library.function}
    names |= {node.op for function in graph.graph_def.library.function for node in function.node_def}
names -= own
print(json.dumps({
    "signatures": sorted(model.signatures), "unknown": sorted(n for n in names if op_def_registry.get(n) is None),
    "ops": sorted(names), "shapes": {k: list(v.shape) for k, v in answer.items()},
    "label": answer["label"].numpy()[0].decode(), "score": float(answer["score"][0]),
    "foreign": sorted({"keras", "kerastl", "tensorflow_text"} & set(sys.modules)),
    "logits": model.signatures["tensor"](images=tf.zeros([1, 32, 32, 3], tf.uint8))["logits"].shape.as_list(),
    "features": model.signatures["features"](image_bytes=tf.constant([content]))["features"].shape.as_list(),
}))
"""


def test_the_version_folder_holds_what_it_should_and_nothing_half_written(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    wanted = {"saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests", "model.keras",
              "labels.txt", "run.json", "report.html", "MODEL_CARD.md", "manifest.json", "split.csv",
              "tflite/model_fp32.tflite", "tflite/model_fp16.tflite"}
    assert wanted <= files
    assert check_manifest(trained) == len(files) - 1
    assert sorted(path.name for path in trained.parent.iterdir()) == [".next", "1"]
    assert (trained / "labels.txt").read_text().splitlines() == ["blue", "green", "red"]


@pytest.mark.slow
def test_plain_tensorflow_serves_the_model_with_core_ops_alone(trained: Path, images: Path) -> None:
    image = next((images / "red").glob("*.png"))
    code = [sys.executable, "-c", PLAIN, str(trained), str(image)]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["signatures"] == ["explain", "features", "serving_default", "tensor"]
    assert found["unknown"] == [] and "DecodePng" in found["ops"] and len(found["ops"]) > 30
    assert found["shapes"] == {"label": [2], "score": [2], "top_labels": [2, 3], "top_scores": [2, 3],
                               "probabilities": [2, 3], "unknown_score": [2]}
    assert found["logits"] == [1, 3] and found["features"] == [1, 24]
    assert found["label"] == "red" and 0.3 < found["score"] <= 1
    assert "kerastl" not in found["foreign"] and "tensorflow_text" not in found["foreign"]


def test_weights_are_stored_once(trained: Path) -> None:
    reader = tf.train.load_checkpoint(str(trained / "variables" / "variables"))
    shapes = {name: shape for name, shape in reader.get_variable_to_shape_map().items() if "OBJECT_GRAPH" not in name}
    first, second = (3 * 3 * 3 + 1) * 16 + 4 * 16, (3 * 3 * 16 + 1) * 24 + 4 * 24
    head = (24 + 1) * 3 + (208 + 1) * 3  # of joint: linear, and plain on 208 histograms
    assert RunRecord.read(trained).head == "joint"
    assert sum(int(np.prod(shape)) for shape in shapes.values() if shape) == first + second + head


@pytest.mark.slow
def test_the_warm_up_record_is_a_request_that_the_model_answers(trained: Path) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    records = list(tf.data.TFRecordDataset(str(trained / "assets.extra" / "tf_serving_warmup_requests")))
    log = prediction_log_pb2.PredictionLog.FromString(records[0].numpy())
    request = log.predict_log.request
    assert request.model_spec.name == "tiny" and request.model_spec.signature_name == "serving_default"
    content = tf.make_ndarray(request.inputs["image_bytes"])
    answer = tf.saved_model.load(str(trained)).signatures["serving_default"](image_bytes=tf.constant(content))
    assert answer["label"].shape == [1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_a_tflite_file_takes_pixels_and_gives_logits_and_calibrated_probabilities(kind: str, trained: Path,
                                                                                   images: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    interpreter = Interpreter((trained / "tflite" / f"model_{kind}.tflite").read_bytes())
    classifier = tl.load(trained)
    for path in sorted(images.rglob("*.png"))[::9]:
        found = interpreter(decode_file(str(path), 32)[np.newaxis])
        scaled = np.exp(found["logits"] / run["temperature"] + np.array(run["bias"] or 0))
        assert np.abs(found["probabilities"] - scaled / scaled.sum()).max() < 1e-5
        served = classifier.probabilities([path.read_bytes()])[0]
        assert np.abs(found["probabilities"] - served).max() < (1e-5 if kind == "fp32" else 1e-2)


def test_run_json_has_the_figures_that_others_read(trained: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    for name in ("backbone", "head", "classes", "n_train", "n_validation", "n_test", "engine", "precision", "xla",
                 "parity"):
        assert name in run
    assert {"accuracy", "accuracy_ci95", "ece", "macro_f1", "log_loss"} <= set(run["test"])
    assert {"features", "head", "export", "total"} <= set(run["seconds"])
    assert {one["kind"] for one in run["parity"]} == {"saved_model", "fp32", "fp16", "dynamic", "int8"}


@pytest.mark.slow
def test_an_artifact_that_breaks_its_bound_is_not_written_and_the_exit_code_is_1(
        shell: Shell, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.RELATIVE, "fp16", 1e-12)
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                           "none", "--tflite", "fp32,fp16")
    assert code == 1 and "fp16" in err and "NOT WRITTEN" in out
    files = {path.name for path in (tmp_path / "m" / "1" / "tflite").iterdir()}
    assert files == {"model_fp32.tflite", "classify_image.py", "test_vectors"}


@pytest.mark.slow
def test_a_savedmodel_that_breaks_its_bound_leaves_no_version(shell: Shell, images: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.LOGITS, "saved_model", -1.0)
    code, _, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path / "out",
                         "--weights", "none", "--tflite", "none")
    assert code == 1 and "SavedModel differs" in err
    assert not (tmp_path / "out").exists()


def test_tflite_kinds_are_parsed_and_unknown_ones_refused() -> None:
    assert parse_kinds("all") == ("fp32", "fp16", "dynamic", "int8") and parse_kinds("none") == ()
    assert parse_kinds("int8, fp32,int8") == ("int8", "fp32")
    with pytest.raises(OptionError, match="int4"):
        parse_kinds("fp32,int4")


@pytest.mark.slow
def test_predict_names_the_bad_input_and_predict_each_goes_on(trained: Path, images: Path) -> None:
    model, good = tl.load(trained.parent), sorted(images.rglob("*.png"))[0]
    found = model.predict_each([good, b"not an image", str(good), trained / "nowhere.png"])
    assert [one.error == "" for one in found] == [True, False, True, False]
    assert "not an image in a supported format" in found[1].error and "No such file" in found[3].error
    assert found[0] == found[2] and found[0].top[0] == (found[0].label, found[0].score)
    with pytest.raises(tl.KerastlError, match="input 1"):
        model.predict([good, b"not an image"])
    assert model.predict([]) == []


class _Serving(http.server.BaseHTTPRequestHandler):
    """TF Serving's row format for one model: what its REST API documents, on plain TensorFlow."""

    serve = None

    def do_POST(self) -> None:  # noqa: N802
        import base64

        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/models/tiny:predict" and request["signature_name"] == "serving_default"
        files = [base64.b64decode(one["image_bytes"]["b64"]) for one in request["instances"]]
        answer = {name: value.numpy() for name, value in type(self).serve(image_bytes=tf.constant(files)).items()}
        rows = [{"label": answer["label"][i].decode(), "score": float(answer["score"][i])} for i in range(len(files))]
        body = json.dumps({"predictions": rows}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serving(trained: Path) -> Iterator[str]:
    _Serving.serve = staticmethod(tf.saved_model.load(str(trained)).signatures["serving_default"])
    with http.server.HTTPServer(("127.0.0.1", 0), _Serving) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/models/tiny"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_serving_client_of_the_docs_gets_the_same_answers(serving: str, trained: Path, images: Path) -> None:
    paths = [str(path) for path in sorted(images.rglob("*.png"))[::13]]
    done = subprocess.run([sys.executable, str(ROOT / "docs/serving_client.py"), serving, *paths], capture_output=True,
                          text=True, check=True)
    wanted = [f"{one.label} {one.score:.3f}" for one in tl.load(trained).predict(paths)]
    assert done.stdout.splitlines() == wanted


@pytest.mark.slow
def test_the_tflite_client_of_the_docs_gets_the_same_label(trained: Path, images: Path) -> None:
    for path in sorted(images.rglob("*.png"))[::20]:
        done = subprocess.run([sys.executable, str(ROOT / "docs/tflite_client.py"),
                               str(trained / "tflite/model_fp32.tflite"), str(trained / "labels.txt"), str(path)],
                              capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == tl.load(trained).predict([path])[0].label


def test_the_split_is_listed_with_names_and_older_files_without_are_read(trained: Path, tmp_path: Path) -> None:
    lines = (trained / "split.csv").read_text().splitlines()
    assert lines[0] == "id,part,name" and len(lines) == 43 and {line.count(",") for line in lines} == {2}
    assert any(line.endswith(",red/0.png") for line in lines)
    parts = read_split(trained)
    assert len(parts) == 42 and set(parts.values()) == {f"fold {i}" for i in range(5)}
    (tmp_path / "split.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")
    assert read_split(tmp_path) == parts
    (tmp_path / "split.csv").unlink()
    with pytest.raises(ModelError, match="split.csv"):
        read_split(tmp_path)


@pytest.mark.slow
def test_an_evaluation_of_another_head_is_refused(tmp_path: Path) -> None:
    x, y = clouds(60, 3, 6, apart=1.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    first = tl.fit(features)
    second = tl.fit(made_features(tmp_path / "b", np.tanh(x), features.examples))
    evaluation = tl.evaluate(features.examples, first.held_out)
    check_evaluation(first, evaluation)
    with pytest.raises(OptionError, match="belongs to another model"):
        check_evaluation(second, evaluation)


@pytest.mark.slow
def test_a_version_is_written_without_settings_and_an_alien_evaluation_leaves_none(images: Path, tmp_path: Path
                                                                                  ) -> None:
    backbone, runtime = tiny_backbone(), plain_runtime()
    features = tl.compute_features(tl.split(tl.read_images(str(images))), backbone, runtime, cache_dir=tmp_path)
    trained = tl.train(features)
    evaluation = tl.evaluate(features.examples, trained.fitted.held_out, trained.fitted.validation)
    to = tl.target(str(tmp_path), "m", "none")
    for config in (None, {}):
        record = tl.write_version(to, trained, evaluation=evaluation, config=config, features=features)
        assert record.data == str(images) and RunRecord.read(Path(record.path)) == record
    other = tl.fit(features, "mlp", options=TrainingOptions(epochs=1))
    with pytest.raises(OptionError, match="belongs to another model"):
        tl.write_version(to, trained, evaluation=tl.evaluate(features.examples, other.held_out), features=features)
    assert versions(tmp_path / "m") == [1, 2]
    assert not verify(str(tmp_path / "m")).failed  # finds its data without settings


@pytest.mark.slow
def test_predictions_for_many_inputs_are_rows_and_a_table(trained: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = str(images / "red" / "0.png")
    out = tmp_path / "p.csv"
    result = predict_inputs(str(trained), ["-", str(tmp_path / "broken.png")], lines=[good], out=str(out))
    assert result.inputs[0] == good and result.errors == 1 and result.rows()[0][1] == "red"
    lines = out.read_text().splitlines()
    assert lines[0] == "input,label,score,error,unknown_score" and len(lines) == 3
    document = result.to_dict()
    assert document["failed"] == 1 and document["predictions"][0]["top"][0]["label"] == "red"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    for inputs, name, why in (([good], "p.json", "must end in"), ([good], "none/p.csv", "no folder"),
                              ([], None, "empty")):
        with pytest.raises(OptionError, match=why):
            predict_inputs(str(trained), inputs, out=name and str(tmp_path / name))
    with pytest.raises(DataError, match="the input has no prediction"):
        predict_inputs(str(trained), [str(tmp_path / "broken.png")])


@pytest.mark.slow
def test_a_classifier_tells_what_it_is(trained: Path) -> None:
    classifier = tl.load(trained)
    assert classifier.modality.name == "image" and classifier.task.exclusive
    assert classifier.record.backbone == "tiny_net" and len(repr(classifier)) < 200 + len(str(trained))


@pytest.mark.slow
def test_a_model_is_evaluated_on_labelled_data_and_rows_used_in_training_are_counted(trained: Path, images: Path
                                                                                    ) -> None:
    result = evaluate_model(str(trained), str(images))
    assert result.trained_on == 42 and result.test.n == 42 and result.skipped == ()
    assert set(result.to_dict()) == {
        "model", "trained_on", "test", "left_out", "notes", "data_summary", "warnings", "unknown", "incorrect",
        "unknown_classes", "classes_without_rows", "confusions", "labels", "out", "against"}
    assert "calibrated_by" not in result.to_dict()["test"]


@pytest.mark.slow
def test_an_artifact_that_differs_fails_the_check(trained: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    monkeypatch.setitem(parity.AGREEMENT, "int8", 1.01)
    result = verify(str(trained))
    assert result.failed and result.breaches == ("int8",)
    code, out, _ = shell("verify", trained)
    assert code == 1 and "FAILED" in out and "int8" in out


@pytest.mark.slow
def test_a_model_is_exported_again_with_other_files_and_its_record(trained: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained, tmp_path / "tiny" / "1")
    record = export_again(str(tmp_path / "tiny"), "fp32")
    assert record.version == 2 and [artifact.kind for artifact in record.parity] == ["saved_model", "fp32"]
    old, new = (RunRecord.read(tmp_path / "tiny" / version).to_dict() for version in ("1", "2"))
    assert {name for name in old if old[name] != new[name]} == {"parity", "version", "path", "breaches"} - (
        set() if old["breaches"] else {"breaches"})


def test_the_report_says_where_calibration_made_things_worse(trained: Path) -> None:
    from dataclasses import replace

    test = RunRecord.read(trained).test
    worse = replace(test, log_loss=0.1, log_loss_calibrated=0.2, ece=0.3, ece_calibrated=0.1)
    assert "log loss worse (0.100 to 0.200)" in calibration_note(worse) and "ECE" not in calibration_note(worse)
    assert calibration_note(replace(worse, log_loss_calibrated=0.05)) == ""
