"""`kerastl serve --benchmark`: a real server in a process of its own, its clients, the table and the page."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from served import half_plus
from tensorflow_serving.apis import prediction_log_pb2

import kerastl as tl
from kerastl.report.capacity import write_capacity_page
from kerastl.server.capacity import Capacity, Load
from kerastl.server.load import rest_body, send

Shell = Callable[..., tuple[int, str, str]]


def with_warm_up(version: Path, value: float = 2.0) -> Path:
    """A version that carries a request, for another name."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "other"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.full((3, 1), value, np.float32)))
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())
    return version


@pytest.mark.slow
def test_a_model_is_measured_in_both_protocols(tmp_path: Path) -> None:
    with_warm_up(half_plus(tmp_path / "half", version=7))
    done = subprocess.run(
        [sys.executable, "-m", "kerastl", "serve", str(tmp_path / "half"), "--benchmark", "--benchmark-seconds", "0.3",
         "--enable-batching", "--json", "--out", str(tmp_path / "page.html")], capture_output=True, text=True,
        timeout=300, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["version"], found["rows"]) == ("half", 7, 3)
    assert found["options"]["enable_batching"] is True
    assert [(load["protocol"], load["clients"]) for load in found["loads"]] == [
        (protocol, clients) for protocol in ("REST", "gRPC") for clients in (1, 2, 4, 8, 16, 32)]
    for load in found["loads"]:
        assert load["errors"] == 0 and load["requests"] > 0
        assert 0 < load["milliseconds_p50"] <= load["milliseconds_p90"] <= load["milliseconds_p99"]
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 3 and page.count("<polyline") == 6 and "cores of the clients" in page


def test_what_cannot_be_measured_is_one_message(tmp_path: Path, shell: Shell) -> None:
    for arguments, words in (
            ({}, "no model is named"), ({"path": "x", "model_config_file": "y"}, "both a path"),
            ({"path": tmp_path / "none"}, "no such path"), ({"path": "x", "seconds": 0.0}, "`benchmark_seconds` is 0"),
            ({"path": "x", "clients": ()}, "`clients`"), ({"path": "x", "port": 0, "rest_api_port": 0}, "both 0"),
            ({"path": "x", "out": str(tmp_path / "page.txt")}, "`out`")):
        with pytest.raises(tl.KerastlError, match=words):
            tl.measure_capacity(**arguments)
    half_plus(tmp_path / "models" / "half")
    shutil.copytree(tmp_path / "models" / "half", tmp_path / "models" / "other")
    with pytest.raises(tl.OptionError, match="there are 2 models: half, other"):
        tl.measure_capacity(tmp_path / "models")
    code, _, err = shell("serve", str(tmp_path / "models" / "half"), "--out", "page.html")
    assert code == 2 and "--out is set without --benchmark" in err


@pytest.mark.slow
def test_a_model_that_does_not_answer_or_start_is_one_message(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    with pytest.raises(tl.ModelError, match="does not exist: there is nothing to ask"):
        tl.measure_capacity(tmp_path / "half", seconds=0.1)
    (tmp_path / "half" / "1" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(tl.ModelError, match="did not start: .*no model can be served: half, version 1"):
        tl.measure_capacity(tmp_path / "half", seconds=0.1)


def test_clients_count_what_fails_and_keep_the_pace() -> None:
    def client(number: int) -> Callable[[], str]:
        return lambda: "refused" if number == 0 else ""

    sent = send(client, 2, 0.3, pace=20)
    assert set(sent.errors) == {"refused"} and 2 <= sent.errors["refused"] <= 8 and 2 <= len(sent.latencies) <= 8
    assert 0.3 <= sent.seconds < 2 and sent.per_second == pytest.approx(len(sent.latencies) / sent.seconds)


def test_a_request_by_rest_is_that_by_grpc() -> None:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 2), np.float32)))
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"\xff\x00"]))
    assert json.loads(rest_body(request)) == {
        "signature_name": "", "inputs": {"x": [[1.0, 1.0]], "image_bytes": [{"b64": "/wA="}]}}


def capacity(**changes: Any) -> Capacity:
    values: dict[str, Any] = {
        "model": "<b>", "version": 1, "rows": None, "request_bytes": 10, "seconds": 1.0, "options": {},
        "machine": {"processor": "a", "cores": 2, "python": "3"}, "errors": ("503: <i>",),
        "loads": (Load("REST", 1, 10, 0, 10.0, 1.0, 2.0, 3.0, 0.1), Load("REST", 2, 0, 9, 0.0, None, None, None, 0.9))}
    return Capacity(**{**values, **changes})


def test_the_page_shows_clients_that_only_failed(tmp_path: Path) -> None:
    write_capacity_page(tmp_path / "page.html", capacity())
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;" in page and "503: &lt;i&gt;" in page and "<i>" not in page
    assert "so they may have been the bottleneck" in page
    write_capacity_page(tmp_path / "page.html", capacity(loads=(Load("gRPC", 4, 0, 1, 0.0, None, None, None, 0.0),)))
    write_capacity_page(tmp_path / "page.html", capacity(loads=(Load("gRPC", 4, 5, 0, 5.0, 1.0, 1.0, 1.0, 0.0),)))
