"""A server decodes the images of its clients in worker processes: the same answers, and a bad image costs its row."""

import base64
import sys
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from served import serving, stubs
from tensorflow_serving.apis import predict_pb2

from kerastl.errors import OptionError
from kerastl.server.options import ServerOptions
from kerastl.server.serve import serve

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux")


def same(left: dict[str, object], right: dict[str, object]) -> bool:
    """Whether two answers are equal, but for the last bits of scores."""
    return left["label"] == right["label"] and abs(float(left["score"]) - float(right["score"])) < 1e-5  # type: ignore[arg-type]


@pytest.mark.slow
def test_answers_are_those_of_the_graph_and_a_bad_image_costs_its_row(trained: Path, images: Path) -> None:
    files = [path.read_bytes() for path in sorted(images.rglob("*.png"))[:3]]
    sent = [files[0], b"\x89PNG\r\n\x1a\n", files[1], b"", files[2]]
    rows = {"instances": [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in sent]}
    name, answers = trained.parent.name, {}
    for isolate in (False, True):
        with serving(trained.parent, ServerOptions(isolate=isolate, timeout=300.0)) as server:
            path = f"/v1/models/{name}:predict"
            status, answers[isolate] = server.post(path, rows)
            assert status == 200
            assert server.post(path, {"instances": rows["instances"][3:4]}) == (400, {"error": "the file is empty"})
            status, body = server.post(path, {"inputs": {"image_bytes": [
                row["image_bytes"] for row in rows["instances"][:2]]}})
            assert status == 400 and "row 1: " in body["error"]
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([sent[0], sent[2]]))
            assert len(stubs(server)[0].Predict(request).outputs["label"].string_val) == 2
            request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(sent[:2]))
            with pytest.raises(grpc.RpcError):
                stubs(server)[0].Predict(request)
    here, there = answers[False]["predictions"], answers[True]["predictions"]
    assert ["error" in row for row in there] == [False, True, False, True, False]
    for before, after in zip(here, there, strict=True):
        assert before == after if "error" in before else same(before, after)


def test_modes_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="`isolate` is 'maybe'"):
        serve(tmp_path, isolate="maybe")
