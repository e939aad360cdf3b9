"""A server that is asked as its clients ask it: REST and gRPC, versions that come and go, batches, faults."""

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from served import Server, half_plus, serving, several, signatures, stubs, until
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

import kerastl as tl
from kerastl.server.batching import FULL, Batcher, BatchingParameters
from kerastl.server.config import Model, Policy, RequestLogging, read_batching, read_models, read_monitoring
from kerastl.server.loading import run_logged
from kerastl.server.metrics import PATH, Metrics
from kerastl.server.options import ServerOptions
from kerastl.server.request_log import RequestLog
from kerastl.server.serve import models_at, serve
from kerastl.server.signatures import load
from kerastl.server.status import Code, ServingError

HALF, MANY = "/v1/models/half", "/v1/models/several"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models: `half`, of TensorFlow 1, and `several`, of TensorFlow 2."""
    folder = tmp_path_factory.mktemp("models")
    half_plus(folder / "half", version=123)
    several(folder / "several")
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    """A server of both."""
    with serving(models) as running:
        yield running


# REST


def test_rows_and_columns_are_predicted(server: Server) -> None:
    assert server.post(f"{HALF}:predict", {"instances": [1.0, 2.0, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert server.post(f"{HALF}:predict", {"inputs": {"x": [1, 2]}}) == (200, {"outputs": [2.5, 3.0]})
    assert server.post(f"{HALF}/versions/123:predict", {"instances": [[2]]}) == (200, {"predictions": [[3.0]]})
    assert server.post("/V1/Models/half:PREDICT", {"instances": [2]}) == (200, {"predictions": [3.0]})
    pairs = [{"text": "a", "pair": [1, 2]}, {"text": "b", "pair": [3, 4.5]}]
    assert server.post(f"{MANY}:predict", {"instances": pairs}) == (200, {"predictions": [
        {"echo_bytes": {"b64": "YQ=="}, "total": 3.0}, {"echo_bytes": {"b64": "Yg=="}, "total": 7.5}]})


def test_examples_are_classified_and_regressed(server: Server) -> None:
    request: dict[str, Any] = {"signature_name": "classify_x_to_y", "examples": [{"x": [5.0]}, {"x": 1.0}]}
    assert server.post(f"{HALF}:classify", request) == (200, {"results": [[["", 4.5]], [["", 2.5]]]})
    request["signature_name"] = "regress_x_to_y"
    assert server.post(f"{HALF}:regress", request) == (200, {"results": [4.5, 2.5]})
    request["context"] = {"x": 3.0}
    request["examples"] = [{}, {"x": 1.0}]
    assert server.post(f"{HALF}:regress", request) == (200, {"results": [3.5, 2.5]})
    status, body = server.post(f"{HALF}:classify", {"examples": [{"x": 1.0}]})
    assert status == 400 and "No classification inputs found in SignatureDef" in body["error"]


@pytest.mark.parametrize(("method", "path", "status", "words"), [
    ("POST", "/v1/models/half", 400, "Malformed request: POST /v1/models/half"),
    ("GET", "/v1/models/half:predict", 400, "Malformed request: GET /v1/models/half:predict"),
    ("POST", "/v1/models/half/version/5:predict", 400, "Malformed request"),
    ("POST", "/v1/models/half/versions/HELLO:predict", 400, "Malformed request"),
    ("POST", "/v1/models/half/versions/5/labels/x:predict", 400, "Malformed request"),
    ("POST", "/v1/models/half/versions/99999999999999999999:predict", 400, "Failed to convert version"),
    ("PUT", "/v1/models/half", 400, "Malformed request"), ("GET", "/v1/foo", 400, "Malformed request"),
    ("GET", "/v1/models", 400, "Missing model name"), ("GET", "/v1/models/a/b", 400, "Malformed request"),
    ("POST", "/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
    ("POST", "/v1/models/half/versions/5:predict", 404, "Servable not found for request: Specific(half, 5)"),
    ("POST", "/v1/models/half/labels/stable:predict", 400, "Unrecognized servable version label: stable"),
    ("POST", "/v1/models/%6Eone%21%23:predict", 404, "Latest(none!#)"),
    ("POST", "/v1/models/half:predict", 400, "The document is empty"),
    ("GET", "/v1/models/none", 404, "Could not find any versions of model none"),
    ("GET", "/v1/models/half/versions/5", 404, "Could not find version 5 of model half"),
    ("GET", "/v1/models/none/metadata", 404, "Servable not found"),
])
def test_errors_are_json_with_the_status_of_tf_serving(server: Server, method: str, path: str, status: int, words: str
                                                       ) -> None:
    received, body = server.ask(path, b"" if method == "POST" else None, method=method)
    assert received == status and words in body["error"]


def test_an_error_names_the_input_with_the_shapes_expected_and_received(server: Server) -> None:
    status, body = server.post(f"{MANY}:predict", {"instances": [{"text": "a", "pair": [[1, 2]]}]})
    assert status == 400 and "input 'pair'" in body["error"] and "expected shape float [any, 2]" in body["error"]
    assert "received shape [1, 1, 2]" in body["error"]
    status, body = server.post(f"{MANY}:predict", {"signature_name": "other", "instances": ["a"]})
    assert status == 400 and 'name: "other" not found in signature def; it has serving_default' in body["error"]


def test_status_and_metadata_are_those_of_tf_serving(server: Server) -> None:
    assert server.ask(HALF) == (200, {"model_version_status": [
        {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]})
    status, body = server.ask(f"{HALF}/metadata")
    x = body["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"]
    assert status == 200 and body["model_spec"] == {"name": "half", "version": "123", "signature_name": ""}
    assert x["dtype"] == "DT_FLOAT" and [dim["size"] for dim in x["tensor_shape"]["dim"]] == ["-1", "1"]


def test_a_bad_row_has_an_error_of_its_own_unless_all_are_bad(server: Server, models: Path) -> None:
    rows = [{"text": text, "pair": [1, 1]} for text in ("a", "bad", "c", "d", "bad")]
    status, body = server.post(f"{MANY}:predict", {"instances": rows})
    assert status == 200 and [row.get("error") for row in body["predictions"]] == [
        None, "not a good text", None, None, "not a good text"]
    assert body["predictions"][3] == {"echo_bytes": {"b64": "ZA=="}, "total": 2.0}
    assert server.post(f"{MANY}:predict", {"instances": rows[1:2]}) == (400, {"error": "not a good text"})
    columns = {"inputs": {"text": ["a", "bad"], "pair": [[1, 1], [2, 2]]}}
    assert server.post(f"{MANY}:predict", columns) == (400, {"error": "row 1: not a good text"})
    with serving(models / "several", ServerOptions(all_or_nothing=True)) as strict:
        status, body = strict.post(f"{MANY}:predict", {"instances": rows})
        assert status == 400 and "not a good text" in body["error"]


def test_pages_of_other_sites_cannot_ask(server: Server) -> None:
    document = {"instances": [1.0]}
    for headers, status in (({"Origin": "https://elsewhere.example"}, 403), ({"Host": "elsewhere.example"}, 403),
                            ({"Origin": f"http://127.0.0.1:{server.rest}"}, 200), ({"Host": "localhost:1"}, 200)):
        assert server.post(f"{HALF}:predict", document, headers)[0] == status, headers


def test_a_request_beyond_the_limit_is_refused(models: Path) -> None:
    with serving(models / "half", ServerOptions(max_request_mb=1)) as small:
        status, body = small.post(f"{HALF}:predict", {"instances": [1.0] * 400_000})
        assert status == 413 and "`max_request_mb`" in body["error"]
        assert small.post(f"{HALF}:predict", {"instances": [1.0]})[0] == 200


def test_metrics_have_the_names_of_tf_serving(models: Path) -> None:
    with serving(models / "half") as fresh:
        for _ in range(3):
            fresh.post(f"{HALF}:predict", {"instances": [1.0]})
        fresh.post(f"{HALF}:predict", b"")
        fresh.post(f"{HALF}:regress", {"signature_name": "regress_x_to_y", "examples": [{}, {}]})
        status, page = fresh.ask("/monitoring/prometheus/metrics")
    lines = page.splitlines()
    assert status == 200 and "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"} 4' in lines
    assert ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"} 1' in lines
    assert ':tensorflow:serving:request_example_count_total{model="half"} 2' in lines
    buckets = [line for line in lines if "request_latency_bucket" in line and "predict" in line]
    assert len(buckets) == 34 and 'le="+Inf"} 3' in buckets[-1]
    assert any(line.startswith(":tensorflow:serving:runtime_latency_count") for line in lines)


# gRPC


def test_grpc_answers_as_rest_does(server: Server) -> None:
    predict, status = stubs(server)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[1.0], [5.0]], np.float32)))
    answer = predict.Predict(request, timeout=60)
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [[2.5], [4.5]]
    assert answer.model_spec.version.value == 123 and answer.model_spec.signature_name == "serving_default"
    states = status.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=request.model_spec))
    assert [(entry.version, entry.state) for entry in states.model_version_status] == [(123, 30)]
    asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=request.model_spec,
                                                           metadata_field=["signature_def"])
    metadata = get_model_metadata_pb2.SignatureDefMap()
    predict.GetModelMetadata(asked).metadata["signature_def"].Unpack(metadata)
    assert {"serving_default", "classify_x_to_y", "regress_x_to_y"} <= {*metadata.signature_def}


def test_grpc_classifies_regresses_and_does_both(server: Server) -> None:
    predict, _ = stubs(server)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "half", "classify_x_to_y"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    assert predict.Classify(request).result.classifications[0].classes[0].score == 3.0
    other = regression_pb2.RegressionRequest(model_spec=request.model_spec, input=request.input)
    other.model_spec.signature_name = "regress_x_to_y"
    assert predict.Regress(other).result.regressions[0].value == 3.0
    both = inference_pb2.MultiInferenceRequest(input=request.input)
    for name, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half", name
    results = predict.MultiInference(both).results
    assert results[0].regression_result.regressions[0].value == 3.0
    assert results[1].classification_result.classifications[0].classes[0].score == 3.0
    both.tasks.add().CopyFrom(both.tasks[0])
    with pytest.raises(grpc.RpcError, match="Duplicate evaluation of signature: regress_x_to_y"):
        predict.MultiInference(both)


@pytest.mark.parametrize(("change", "code", "words"), [
    (lambda request: request.model_spec.Clear(), "INVALID_ARGUMENT", "no name specified"),
    (lambda request: setattr(request.model_spec, "name", "none"), "NOT_FOUND", "Servable not found"),
    (lambda request: request.inputs.clear(), "INVALID_ARGUMENT", "Missing but required: {x}"),
    (lambda request: request.inputs["y"].CopyFrom(request.inputs["x"]), "INVALID_ARGUMENT", "Sent extra: {y}"),
    (lambda request: request.output_filter.append("z"), "INVALID_ARGUMENT", "alias not found in signature: z"),
    (lambda request: request.output_filter.extend(["y", "y"]), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    (lambda request: request.inputs["x"].CopyFrom(tf.make_tensor_proto(["a"])), "INVALID_ARGUMENT", "received string"),
    (lambda request: setattr(request.model_spec, "version_label", "x"), "INVALID_ARGUMENT", "Unrecognized servable"),
])
def test_a_call_that_is_wrong_has_the_status_of_tf_serving(server: Server, change: Any, code: str, words: str) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
    change(request)
    with pytest.raises(grpc.RpcError) as error:
        stubs(server)[0].Predict(request)
    assert error.value.code().name == code and words in error.value.details()


# Versions


@pytest.mark.slow
def test_versions_come_and_go_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    made, home = tmp_path / "made", tmp_path / "half"
    home.mkdir()
    for version, added in ((1, 1.0), (2, 2.0), (4, 4.0)):
        half_plus(made, added, version)
    shutil.copytree(made / "1", home / "1")
    wrong: list[Any] = []
    with serving(home) as server:
        ended = threading.Event()

        def ask() -> None:  # all the time, as clients do
            while not ended.is_set():
                answer = server.post(f"{HALF}:predict", {"instances": [0.0]})
                if answer[0] != 200 or answer[1]["predictions"][0] not in (1.0, 2.0, 4.0):
                    wrong.append(answer)

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()

        def answers() -> float:
            return float(server.post(f"{HALF}:predict", {"instances": [0.0]})[1]["predictions"][0])

        def state_of(version: int) -> str:
            status, body = server.ask(f"{HALF}/versions/{version}")
            return str(body["model_version_status"][0]["state"]) if status == 200 else ""

        def offer(version: int) -> None:
            shutil.copytree(made / str(version), tmp_path / "partial")
            (tmp_path / "partial").rename(home / str(version))

        offer(2)
        until(lambda: answers() == 2.0)
        (home / "3").mkdir()
        (home / "3" / "saved_model.pb").write_bytes(b"broken")
        until(lambda: state_of(3) == "END")
        failure = server.ask(f"{HALF}/versions/3")[1]["model_version_status"][0]["status"]
        assert failure["error_code"] != "OK" and failure["error_message"] and answers() == 2.0
        assert ':kerastl:load_failure_count{model_name="half",version="3"} 1' in server.ask(
            "/monitoring/prometheus/metrics")[1]
        offer(4)
        until(lambda: answers() == 4.0)
        shutil.rmtree(home / "4")  # rolled back
        shutil.rmtree(home / "3")
        until(lambda: answers() == 2.0)
        until(lambda: state_of(1) == "END")
        home.rename(tmp_path / "away")  # a fault of the storage
        assert answers() == 2.0
        ended.set()
        for client in clients:
            client.join()
    assert not wrong


def test_a_broken_version_is_tried_again_when_its_files_change(tmp_path: Path) -> None:
    path = half_plus(tmp_path / "half", version=2)
    half_plus(tmp_path / "half", 1.0, version=1)
    content = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(content[:-40])
    with serving((Model("half", tmp_path / "half", Policy("all")),)) as server:
        assert server.post(f"{HALF}:predict", {"instances": [0.0]})[1] == {"predictions": [1.0]}
        (path / "saved_model.pb").write_bytes(content)
        until(lambda: server.post(f"{HALF}:predict", {"instances": [0.0]})[1] == {"predictions": [2.0]})


def test_nothing_to_serve_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(tl.ModelError, match="no model can be served: m, version 1"), serving(tmp_path / "m"):
        pass
    for path in (tmp_path / "none", tmp_path / "m" / "1" / "saved_model.pb"):
        with pytest.raises(tl.ModelError):
            models_at(path)


@pytest.mark.parametrize("arguments", [
    {}, {"path": "x", "model_config_file": "y"}, {"path": "x", "port": -1}, {"path": "x", "max_request_mb": 0},
    {"path": "x", "port": 0, "rest_api_port": 0}, {"path": "x", "max_request_mb": 2048},
    *({"path": "x", name: value} for value in (-1.0, float("inf"), float("nan")) for name in (
        "file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"))])
def test_options_that_cannot_be_are_refused(arguments: Any) -> None:
    with pytest.raises(tl.OptionError):
        serve(**arguments)


def test_a_port_that_is_taken_is_one_message(server: Server, models: Path) -> None:
    with pytest.raises(tl.OptionError, match="`rest_api_port` is .*cannot be bound"):
        serve(models / "half", port=0, rest_api_port=server.rest)


def test_a_path_is_a_model_a_version_or_a_folder_of_models(models: Path) -> None:
    assert [model.name for model in models_at(models)] == ["half", "several"]
    assert models_at(models / "half")[0].policy == Policy()
    assert models_at(models / "half" / "123")[0].policy == Policy("specific", versions=(123,))


def test_a_graph_that_reads_files_is_not_loaded_unless_it_is_trusted(tmp_path: Path) -> None:
    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def run(self, path: Any) -> Any:
            return {"content": tf.map_fn(tf.io.read_file, path)}

    module = Reader()
    tf.saved_model.save(module, str(tmp_path / "m" / "1"), signatures=module.run)
    with pytest.raises(tl.ModelError, match="could do more than compute: ReadFile"), serving(tmp_path / "m"):
        pass
    with serving(tmp_path / "m", ServerOptions(trust=True)) as server:
        assert server.ask("/v1/models/m")[0] == 200


# Config files


def config_of(text: str, tmp_path: Path) -> str:
    path = tmp_path / "config.txt"
    path.write_text(text)
    return str(path)


def test_labels_name_versions_and_a_reload_changes_what_is_served(tmp_path: Path, models: Path) -> None:
    for version in (1, 2):
        half_plus(tmp_path / "half", float(version), version)
    both = Model("half", tmp_path / "half", Policy("specific", versions=(1, 2)), (("stable", 1), ("canary", 2)))
    with serving((both,)) as server:
        for label, answer in (("stable", 1.0), ("canary", 2.0)):
            assert server.post(f"{HALF}/labels/{label}:predict", {"instances": [0.0]})[1] == {"predictions": [answer]}
        _, service = stubs(server)
        request = model_management_pb2.ReloadConfigRequest()
        entry = request.config.model_config_list.config.add(name="half", base_path=str(tmp_path / "half"),
                                                            model_platform="tensorflow")
        entry.version_labels["stable"] = 7
        with pytest.raises(grpc.RpcError, match="assign label to version 7 of model half, which is not currently"):
            service.HandleReloadConfigRequest(request)
        entry.version_labels["stable"] = 2
        request.config.model_config_list.config.add(name="several", base_path=str(models / "several"))
        service.HandleReloadConfigRequest(request)
        assert server.post(f"{HALF}/labels/stable:predict", {"instances": [0.0]})[1] == {"predictions": [2.0]}
        assert server.ask(MANY)[0] == 200
        request.config.model_config_list.config.add(name="none", base_path=str(tmp_path))
        with pytest.raises(grpc.RpcError, match="did not become available: none .no version"):
            service.HandleReloadConfigRequest(request)
        del request.config.model_config_list.config[2]
        del request.config.model_config_list.config[0]
        service.HandleReloadConfigRequest(request)
        assert server.post(f"{HALF}:predict", {"instances": [0.0]})[0] == 404


def test_config_files_are_those_of_tf_serving(tmp_path: Path) -> None:
    (model,) = read_models(config_of("""model_config_list: { config: {
        name: "m", base_path: "/models/m", model_platform: "tensorflow"
        model_version_policy: { specific: { versions: 3, versions: 4 } }
        version_labels: { key: 'stable', value: 3 }
        logging_config { log_collector_config { filename_prefix: '/logs/m' } sampling_config { sampling_rate: 0.5 } }
    } }""", tmp_path))
    assert model.policy == Policy("specific", versions=(3, 4)) and dict(model.labels) == {"stable": 3}
    assert model.logging is not None and model.logging.rate == 0.5
    parameters = read_batching(config_of("max_batch_size { value: 8 } batch_timeout_micros { value: 5 }\n"
                                         "max_enqueued_batches { value: 9 } num_batch_threads { value: 3 }\n"
                                         "allowed_batch_sizes: 4 allowed_batch_sizes: 8\n"
                                         "pad_variable_length_inputs: true thread_pool_name { value: 'x' }", tmp_path))
    assert parameters == BatchingParameters(8, 5, 9, 3, (4, 8), True)
    assert read_batching(config_of("max_batch_size { value: 8 } enable_large_batch_splitting { value: true }\n"
                                   "max_execution_batch_size { value: 4 } allowed_batch_sizes: 4", tmp_path)).rows == 4
    assert read_monitoring(config_of("prometheus_config: { enable: true, path: '/m' }", tmp_path)) == "/m"
    assert read_monitoring(config_of("prometheus_config { enable: true }", tmp_path)) == PATH
    assert read_monitoring(config_of("", tmp_path)) == ""


@pytest.mark.parametrize(("read", "text", "words"), [
    (read_models, "nonsense", "cannot be parsed"), (read_models, "", "no model_config_list"),
    (read_models, "model_config_list { config { name: 'm' } }", "without a base_path"),
    (read_models, "model_config_list { config { name: 'm' base_path: 'm' } }", "base_path of m is 'm'"),
    (read_models, "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'x' } }", "model_platform"),
    (read_models, "model_config_list { config { name: 'm' base_path: '/m' model_version_policy { specific {} } } }",
     "names no versions"),
    (read_models, "model_config_list { config { name: 'm' base_path: '/m' } config { name: 'm' base_path: '/n' } }",
     "several models named m"),
    (read_batching, "allowed_batch_sizes: 3", "allowed_batch_sizes is"), (read_batching, "size: 3", "cannot be parsed"),
    (read_batching, "max_batch_size { value: 0 }", "max_batch_size is 0"),
    (read_batching, "max_execution_batch_size { value: 8 }", "max_execution_batch_size is 8"),
    (read_batching, "max_execution_batch_size { value: 64 } enable_large_batch_splitting { value: true }", "is 64"),
    *((read_monitoring, f"prometheus_config {{ enable: true path: '{path}' }}", "begins with /") for path in (
        "m", "/", "/v1/m", "/kerastl/models", "/{path}", "/a b", "//a", "/m\u00e9", "/m/")),
])
def test_a_config_file_that_cannot_be_used_is_one_message(read: Any, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(tl.OptionError, match=words):
        read(config_of(text, tmp_path))


def test_a_config_file_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    for read in (read_models, read_batching, read_monitoring):
        with pytest.raises(tl.OptionError, match="No such file"):
            read(str(tmp_path / "none"))


# Request logs


def records(folder: Path) -> list[Any]:
    files = sorted(map(str, folder.glob("*.tfrecord")))
    return [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)]


def test_a_sample_of_the_requests_is_logged_where_the_config_asks_for_it(tmp_path: Path, models: Path) -> None:
    def logged(rate: float) -> list[Any]:
        folder = tmp_path / str(rate)
        model = Model("half", models / "half", logging=RequestLogging(str(folder / "half"), rate))
        with serving((model,)) as server:
            for number in range(40):
                assert server.post(f"{HALF}:predict", {"instances": [[number]]})[0] == 200
            server.post(f"{HALF}:predict", b"")
        assert not list(folder.glob("*.part"))
        return records(folder)

    everything = logged(1.0)
    assert [tf.make_ndarray(record.predict_log.request.inputs["x"]).item() for record in everything] == [*range(40)]
    answer = everything[4].predict_log.response
    assert tf.make_ndarray(answer.outputs["y"]).item() == 4.0 and answer.model_spec.version.value == 123
    assert everything[0].log_metadata.sampling_config.sampling_rate == 1.0
    assert 0 < len(logged(0.5)) < 40 and logged(0.0) == []
    signature = load(models / "half" / "123")
    for record in everything[:3]:  # as warm-up requests are
        run_logged(signature, record)
    signature.close()


def test_each_kind_of_request_is_logged_as_tf_serving_logs_it(tmp_path: Path, models: Path) -> None:
    requests: dict[str, Any] = {}
    with serving(tuple(Model(name, models / name, logging=RequestLogging(str(tmp_path / name), 1.0))
                       for name in ("half", "several"))) as server:
        predict, _ = stubs(server)
        examples = {"signature_name": "classify_x_to_y", "examples": [{"x": 5.0}, {"x": 1.0}]}
        assert server.post(f"{HALF}:classify", examples)[0] == 200
        assert server.post(f"{HALF}:regress", {**examples, "signature_name": "regress_x_to_y"})[0] == 200
        request = requests["predict_log"] = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[1.0]], np.float32)))
        predict.Predict(request)
        request = requests["classify_log"] = classification_pb2.ClassificationRequest()
        request.model_spec.name, request.model_spec.signature_name = "half", "classify_x_to_y"
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
        predict.Classify(request)
        request = requests["regress_log"] = regression_pb2.RegressionRequest(model_spec=request.model_spec,
                                                                             input=request.input)
        request.model_spec.signature_name = "regress_x_to_y"
        predict.Regress(request)
        request = requests["multi_inference_log"] = inference_pb2.MultiInferenceRequest(input=request.input)
        task = request.tasks.add(method_name="tensorflow/serving/regress")
        task.model_spec.name, task.model_spec.signature_name = "half", "regress_x_to_y"
        predict.MultiInference(request)
        with pytest.raises(grpc.RpcError):
            predict.Classify(requests["regress_log"])  # what fails is not logged
        rows = [{"text": text, "pair": [1, 1]} for text in ("a", "bad", "c")]
        assert server.post(f"{MANY}:predict", {"instances": rows})[0] == 200
        status, page = server.ask(PATH)
        assert ':tensorflow:serving:request_log_count{model_name="half",status="OK"} 6' in page
    logged = records(tmp_path)
    by_rest, by_grpc, (partly,) = logged[:2], logged[2:6], logged[6:]
    assert [record.WhichOneof("log_type") for record in by_rest] == ["classify_log", "regress_log"]
    assert [entry.value for entry in by_rest[1].regress_log.response.result.regressions] == [4.5, 2.5]
    assert [len(record.classify_log.request.input.example_list.examples) for record in by_rest[:1]] == [2]
    for record, (kind, request) in zip(by_grpc, requests.items(), strict=True):
        assert record.WhichOneof("log_type") == kind and getattr(record, kind).request == request
        assert record.log_metadata.model_spec.version.value == 123 and record.log_metadata.timestamp_secs > 1e9
    result = by_grpc[3].multi_inference_log.response.results[0]
    assert result.regression_result.regressions[0].value == 3.0
    texts = tf.make_ndarray(partly.predict_log.request.inputs["text"]).tolist()  # the row with an error is not logged
    assert texts == tf.make_ndarray(partly.predict_log.response.outputs["echo_bytes"]).tolist() == [b"a", b"c"]
    signature = load(models / "half" / "123")
    for record in (*by_rest, *by_grpc):  # as warm-up requests are
        run_logged(signature, record)
    signature.close()


def test_logs_are_rotated_and_the_oldest_are_removed(tmp_path: Path) -> None:
    log = RequestLog("m", RequestLogging(str(tmp_path / "logs" / "m"), 1.0), Metrics(), file_bytes=1000, files=3)
    for number in range(40):
        record = prediction_log_pb2.PredictionLog()
        record.predict_log.request.model_spec.name = f"{number:03d}" + "x" * 200
        log.write(record, 1, "serving_default")
    log.close()
    assert 2 <= len(log.completed()) <= 3 and len(list((tmp_path / "logs").iterdir())) == len(log.completed())
    assert records(tmp_path / "logs")[-1].predict_log.request.model_spec.name.startswith("039")


def test_logs_leave_each_other_alone(tmp_path: Path) -> None:
    """One whose prefix begins like another's, one with a pattern in it, and two of the same prefix in one second."""
    def some(prefix: str, files: int = 2) -> RequestLog:
        log = RequestLog(prefix, RequestLogging(str(tmp_path / prefix), 1.0), Metrics(), file_bytes=1, files=files)
        for _ in range(3):
            log.write(prediction_log_pb2.PredictionLog(), 1, "serving_default")
        log.close()
        return log

    longer, odd = some("m-b", 9), some("[m]")
    shorter, again = some("m", 9), some("m", 9)
    assert len(longer.completed()) == 3 and len(odd.completed()) == 2
    assert len(shorter.completed()) == len(again.completed()) == 6  # none was overwritten
    assert len(some("m").completed()) == 2 and len(longer.completed()) == 3


def test_a_log_that_a_killed_server_left_is_completed_but_for_its_torn_end(tmp_path: Path) -> None:
    """One that a server still writes stays as it is, and so does one that may have been made a moment ago."""
    def log() -> RequestLog:
        return RequestLog("m", RequestLogging(str(tmp_path / "m"), 1.0), Metrics())

    def record(name: str) -> prediction_log_pb2.PredictionLog:
        made = prediction_log_pb2.PredictionLog()
        made.predict_log.request.model_spec.name = name
        return made

    running = log()
    running.write(record("running"), 1, "serving_default")
    killed, empty, young = (tmp_path / f"m-20260102-030405-000{number}.tfrecord.part" for number in (1, 2, 3))
    with tf.io.TFRecordWriter(str(killed)) as writer:
        for name in ("one", "two", "torn"):
            writer.write(record(name).SerializeToString())
    killed.write_bytes(killed.read_bytes()[:-5])
    for path in (empty, young):
        path.write_bytes(b"")
    for path in (killed, empty, *tmp_path.glob("m-*.part")):
        if path != young:
            os.utime(path, (1e9, 1e9))
    following = log()
    following.write(record("following"), 1, "serving_default")
    assert [path.name for path in following.completed()] == ["m-20260102-030405-0001.tfrecord"]
    read = [prediction_log_pb2.PredictionLog.FromString(content.numpy())
            for content in tf.data.TFRecordDataset([str(path) for path in following.completed()])]
    assert [one.predict_log.request.model_spec.name for one in read] == ["one", "two"]
    assert young.exists() and not empty.exists()
    for log_of in (running, following):
        log_of.close()
    assert len(following.completed()) == 3


def test_a_log_that_cannot_be_written_fails_no_request(tmp_path: Path, models: Path) -> None:
    (tmp_path / "file").write_text("")
    model = Model("half", models / "half", logging=RequestLogging(str(tmp_path / "file" / "half"), 1.0))
    with serving((model,)) as server:
        assert server.post(f"{HALF}:predict", {"instances": [1.0]})[0] == 200
        page = server.ask(PATH)[1]
    assert ':tensorflow:serving:request_log_count{model_name="half",status="UNAVAILABLE"} 1' in page


# Batches


def test_requests_are_computed_together_and_each_gets_its_own_rows(models: Path) -> None:
    model = load(models / "several" / "1")
    signature, sizes = model.signature(""), []

    def run(signature: Any, arrays: Any) -> Any:
        sizes.append(len(arrays["pair"]))
        return signature.run(arrays)

    batcher = Batcher(BatchingParameters(8, 200_000, 10, 1, (4, 8)), run)

    def task(number: int, text: str = "a", rows: int = 1) -> Any:
        return batcher.submit(signature, {"text": np.array([text.encode()] * rows, object),
                                          "pair": np.full((rows, 2), number, np.float32)})

    tasks = [task(number) for number in range(5)]
    assert [future.result(60)["total"].tolist() for future in tasks] == [[2.0 * number] for number in range(5)]
    assert sizes == [8]  # 5 rows, filled up to the next allowed size
    mixed = [task(1), task(2, "bad"), task(3)]
    assert mixed[0].result(60)["total"].tolist() == [2.0] and mixed[2].result(60)["total"].tolist() == [6.0]
    with pytest.raises(ServingError, match="not a good text"):
        mixed[1].result(60)
    with pytest.raises(ServingError, match="has 9 rows, but a batch has at most 8"):
        batcher.run(signature, {"text": np.array([b"a"] * 9, object), "pair": np.zeros((9, 2), np.float32)}, 60)
    batcher.close()
    with pytest.raises(ServingError, match="unloaded"):
        task(1)
    model.close()


def run_together(run: Any, *requests: Any, **more: Any) -> list[dict[str, list[Any]]]:
    """The outputs of requests that come within one batch."""
    batcher = Batcher(BatchingParameters(batch_timeout_micros=200_000, num_batch_threads=1, **more),
                      lambda signature, arrays: run(**arrays))
    signature: Any = type("S", (), {"name": "s"})
    with ThreadPoolExecutor(len(requests)) as clients:
        answers = list(clients.map(lambda rows: batcher.run(signature, {"x": np.array(rows)}, 60), requests))
    batcher.close()
    return [{name: array.tolist() for name, array in answer.items()} for answer in answers]


def test_outputs_that_are_not_one_row_for_each_row_are_not_shared() -> None:
    def total(x: Any) -> Any:
        return {"x": x, "sum": np.sum(x, keepdims=True)}

    for more in ({}, {"allowed_batch_sizes": (8, 32)}):
        assert run_together(total, [1, 2], [3], [4, 5], **more) == [
            {"x": [1, 2], "sum": [3]}, {"x": [3], "sum": [3]}, {"x": [4, 5], "sum": [9]}]


def test_the_rows_of_a_large_request_are_split_where_that_is_asked_for() -> None:
    sizes: list[int] = []

    def double(x: Any) -> Any:
        sizes.append(len(x))
        return {"y": 2 * x}

    assert run_together(double, [*range(10)], [10], max_batch_size=10, max_execution_batch_size=4,
                        enable_large_batch_splitting=True) == [{"y": [*range(0, 20, 2)]}, {"y": [20]}]
    assert sum(sizes) == 11 and max(sizes) <= 4

    def total(x: Any) -> Any:
        return {"sum": np.sum(x, keepdims=True)}

    assert run_together(total, [*range(10)], max_batch_size=10, max_execution_batch_size=4,
                        enable_large_batch_splitting=True) == [{"sum": [45]}]


def test_a_request_without_equally_many_rows_is_not_batched(tmp_path: Path) -> None:
    two = tf.TensorSpec([None], tf.float32)
    signatures(tmp_path / "m", {"serving_default": (lambda a, b: {"a": 2 * a, "b": 2 * b}, {"a": two, "b": two})})
    half_plus(tmp_path / "half")
    options = ServerOptions(batching=BatchingParameters(8, 100_000, 100, 1), file_system_poll_wait_seconds=0.05)
    requests = [({"a": [1], "b": [2, 3]}, [[2], [4, 6]]), ({"a": [5], "b": [6]}, [[10], [12]])]
    with serving(tmp_path, options) as server, ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda one: server.post("/v1/models/m:predict", {"inputs": one[0]}), requests))
        assert server.post(f"{HALF}:predict", {"inputs": 4}) == (200, {"outputs": 4.0})
    assert answers == [(200, {"outputs": {"a": a, "b": b}}) for _, (a, b) in requests]


def test_rows_are_told_apart_only_where_they_are_rows(tmp_path: Path) -> None:
    def check(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x < 5), ["too large"])]):
            return {"sum": tf.reshape(tf.reduce_sum(x), [1])[:tf.size(x) + 1]}

    signatures(tmp_path / "m", {"serving_default": (check, {"x": tf.TensorSpec([None], tf.float32)}), "empty": (
        lambda x: {"y": tf.ensure_shape(x, [2])[:tf.size(x)]}, {"x": tf.TensorSpec([None], tf.float32)})})
    with serving(tmp_path / "m") as server:
        assert server.post("/v1/models/m:predict", {"instances": [1, 2, 9, 9]})[0] == 400
        status, body = server.post("/v1/models/m:predict", {"signature_name": "empty", "inputs": []})
        assert status == 400 and "is not compatible with expected shape" in body["error"]


def test_a_full_queue_refuses_and_what_waits_is_computed() -> None:
    free, waiting = threading.Event(), threading.Event()

    def run(signature: Any, arrays: Any) -> Any:
        waiting.set()
        free.wait(60)
        return {"y": arrays["x"]}

    batcher = Batcher(BatchingParameters(2, 0, 2, 1), run)
    signature: Any = type("S", (), {"name": "s"})
    first = batcher.submit(signature, {"x": np.zeros(2)})
    assert waiting.wait(60)
    others = [batcher.submit(signature, {"x": np.full(2, number)}) for number in (1, 2)]
    with pytest.raises(ServingError) as error:
        batcher.submit(signature, {"x": np.zeros(1)})
    assert error.value.code is Code.UNAVAILABLE and error.value.message == FULL
    free.set()
    assert [future.result(60)["y"][0] for future in (first, *others)] == [0, 1, 2]
    batcher.close()


def test_inputs_of_other_lengths_are_padded_where_that_is_asked_for() -> None:
    batcher = Batcher(BatchingParameters(4, 100_000, 10, 1, pad_variable_length_inputs=True),
                      lambda signature, arrays: {"y": arrays["x"]})
    signature: Any = type("S", (), {"name": "s"})
    tasks = [batcher.submit(signature, {"x": np.full((1, size), size)}) for size in (1, 3)]
    assert [future.result(60)["y"].tolist() for future in tasks] == [[[1, 1, 1]], [[3, 3, 3]]]
    batcher.close()


def test_a_server_with_batches_answers_each_request(models: Path) -> None:
    options = ServerOptions(batching=BatchingParameters(8, 20_000, 100, 2), file_system_poll_wait_seconds=0.05)
    with serving(models, options) as server, ThreadPoolExecutor(16) as clients:
        def ask(number: int) -> Any:
            text = "bad" if number % 10 == 0 else "good"
            return server.post(f"{MANY}:predict", {"instances": [{"text": text, "pair": [number, 1]}]})

        answers = list(clients.map(ask, range(60)))
    for number, (status, body) in enumerate(answers):
        expected = 400 if number % 10 == 0 else 200
        assert status == expected, (number, body)
        assert expected == 400 or body["predictions"][0]["total"] == number + 1


# Models of our own


@pytest.mark.slow
def test_a_model_of_ours_is_served_as_it_predicts(trained: Path, images: Path) -> None:
    files = sorted(images.rglob("*.png"))[:4]
    expected = tl.load(trained).predict(files)
    rows: list[Any] = [{"image_bytes": {"b64": base64.b64encode(path.read_bytes()).decode()}} for path in files]
    with serving(trained) as server:
        name = trained.parent.name
        status, body = server.post(f"/v1/models/{name}:predict", {"instances": [*rows, {"image_bytes": "no image"}]})
        page = server.ask("/monitoring/prometheus/metrics")[1]
    assert status == 200 and "not an image" in body["predictions"][-1]["error"]
    for row, prediction in zip(body["predictions"], expected, strict=False):
        assert row["label"] == prediction.label and row["score"] == pytest.approx(prediction.score, abs=1e-5)
    assert f'predicted_class_count{{model_name="{name}",label="{expected[0].label}"}}' in page
