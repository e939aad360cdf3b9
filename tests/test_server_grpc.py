"""Tensors and errors of the gRPC API: as clients of TF Serving find them."""

import re
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from served import Server, serving, signatures, until
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kerastl.server.core import Core
from kerastl.server.options import ServerOptions
from kerastl.server.status import FAULT, Code, ServingError
from kerastl.server.tensor_protos import arrays_of, require_sendable, tensor_proto

TYPES = {tf.float16: "half_val", tf.bfloat16: "half_val", tf.float32: "float_val", tf.float64: "double_val",
         tf.int8: "int_val", tf.uint8: "int_val", tf.int16: "int_val", tf.uint16: "int_val", tf.int32: "int_val",
         tf.uint32: "uint32_val", tf.int64: "int64_val", tf.uint64: "uint64_val", tf.bool: "bool_val",
         tf.complex64: "scomplex_val", tf.complex128: "dcomplex_val", tf.string: "string_val"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models") / "m"
    matrix = tf.zeros([256, 256])

    def slow(n: Any) -> Any:
        loop = tf.while_loop(lambda i, m: i < n[0], lambda i, m: (i + 1, m @ m), [0, matrix])
        return {"y": tf.reshape(loop[1][0, 0], [1])}

    signatures(folder, {
        "serving_default": (lambda x: {"y": 2 * x}, {"x": tf.TensorSpec([None], tf.float32)}),
        "text": (lambda s: {"s": tf.strings.join([s, "\0"]), "t": s}, {"s": tf.TensorSpec([], tf.string)}),
        "slow": (slow, {"n": tf.TensorSpec([None], tf.int32)})})
    with serving(folder, ServerOptions(max_request_mb=8)) as running:
        yield running


def predict(server: Server, seconds: float = 60, signature: str = "", **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value if isinstance(value, tensor_pb2.TensorProto) else
                                  tf.make_tensor_proto(value))
    with grpc.insecure_channel(f"127.0.0.1:{server.rpc}") as channel:
        return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=seconds).outputs


def refused(server: Server, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        predict(server, **options)
    return error.value.code().name, error.value.details()


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.name)
def test_values_are_in_the_field_of_their_type(dtype: tf.DType) -> None:
    array = np.array([[b"a\0", b"\xff", b""]], object) if dtype == tf.string else \
        np.array([[0, 1, 3]]).astype(dtype.as_numpy_dtype)
    proto = tensor_proto(array)
    assert not proto.tensor_content and len(getattr(proto, TYPES[dtype])) in (3, 6)
    for back in (tf.make_ndarray(proto), arrays_of({"x": proto}, 1000)["x"]):
        assert back.tolist() == array.tolist() and back.dtype == array.dtype and back.shape == (1, 3)


def test_an_answer_is_read_as_clients_of_tf_serving_do(server: Server) -> None:
    assert list(predict(server, x=np.array([1, 2], np.float32))["y"].float_val) == [2, 4]
    empty = predict(server, x=np.zeros(0, np.float32))["y"]
    assert empty.tensor_shape.dim[0].size == 0 and not empty.float_val
    text = predict(server, signature="text", s=b"a\0")
    assert list(text["s"].string_val) == [b"a\0\0"] and list(text["t"].string_val) == [b"a\0"]
    columns = {"signature_name": "text", "inputs": "abc"}
    assert server.post("/v1/models/m:predict", columns) == (200, {"outputs": {"s": "abc\0", "t": "abc"}})


@pytest.mark.parametrize(("shape", "more", "words"), [
    ([2**40], {"float_val": [1]}, "server takes 8 MB (its option `max_request_mb`)"),
    ([-1], {"float_val": [1]}, "[-1]"), ([2**40, 0, -1], {}, "-1]"),
    ([1], {"float_val": [1, 2]}, "input 'x' is not a tensor"),
    ([2], {"tensor_content": b"abc"}, "buffer size"), (None, {"float_val": [1]}, "shape is unknown"),
    ([], {"dtype": 0}, "not a tensor"), ([], {"dtype": 20}, "values of its type cannot be sent"),
    ([], {"dtype": 21}, "values of its type"), ([], {"dtype": 99}, "not a tensor"),
    ([1], {"dtype": 6, "int_val": [300]}, "input 'x' is not a tensor"),
    ([1], {"dtype": 19, "half_val": [70_000]}, "input 'x' is not a tensor"),
    ([2**18], {"dtype": 7, "string_val": [b"a" * 2**20]}, "needs 262,145 MB, but the server takes 8 MB"),
    ([1], {"dtype": 7, "string_val": [b"a"]},
     "Expects arg[0] to be float but string is provided: input 'x' of signature 'serving_default': expected float"),
])
def test_what_is_no_tensor_or_too_large_is_refused(server: Server, shape: Any, more: Any, words: str) -> None:
    proto = tensor_pb2.TensorProto(**{"dtype": 1, **more})
    proto.tensor_shape.unknown_rank = shape is None
    for size in shape or ():
        proto.tensor_shape.dim.add(size=size)
    code, message = refused(server, x=proto)
    assert code == "INVALID_ARGUMENT" and words in message, message


def test_a_call_without_a_model_or_with_another_signature_has_the_status_of_tf_serving(server: Server) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{server.rpc}")
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    named = {"model_spec": {"name": "m", "signature_name": "none"}}
    multi: Any = {"tasks": [named | {"method_name": "tensorflow/serving/regress"}]}
    examples: Any = {"input": {"example_list": {"examples": [{}]}}}
    for call, request, code, words in (
            (service.Predict, predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
            (service.Classify, classification_pb2.ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
            (service.Regress, regression_pb2.RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
            (service.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest(), "INVALID_ARGUMENT", "Missing"),
            (models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing"),
            (service.Predict, predict_pb2.PredictRequest(**named), "FAILED_PRECONDITION",
             'Serving signature key "none" not found.'),
            (service.Regress, regression_pb2.RegressionRequest(**named, **examples), "INVALID_ARGUMENT",
             "No signature was found with the name: none"),
            (service.MultiInference, inference_pb2.MultiInferenceRequest(**multi, **examples), "INVALID_ARGUMENT",
             "Requested signature not found in model graph: none")):
        with pytest.raises(grpc.RpcError) as error:
            call(request, timeout=60)
        assert error.value.code().name == code and words in error.value.details()
    channel.close()


def test_a_call_whose_deadline_passes_is_counted_as_such(server: Server) -> None:
    start = time.monotonic()
    assert refused(server, signature="slow", seconds=0.3, n=np.array([5_000], np.int32))[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - start < 5
    until(lambda: 'request_count{model_name="m",status="DEADLINE_EXCEEDED"} 1' in server.ask(
        "/monitoring/prometheus/metrics")[1])


def test_a_few_bytes_cannot_stand_for_many(server: Server) -> None:
    """Tensors that are small one by one, and a context that is copied into each example."""
    large = tensor_pb2.TensorProto(dtype=1, float_val=[1])
    large.tensor_shape.dim.add(size=2**20)
    code, message = refused(server, x=large, y=large, z=large)
    assert code == "INVALID_ARGUMENT" and "needs 4 MB beside 8 MB of other inputs, but the server takes 8 MB" in message
    examples: Any = {"context": {"features": {"feature": {"x": {"bytes_list": {"value": [b"a" * 2**20]}}}}},
                     "examples": [{}] * 100_000}
    request = classification_pb2.ClassificationRequest(
        model_spec={"name": "m"}, input={"example_list_with_context": examples})
    with grpc.insecure_channel(f"127.0.0.1:{server.rpc}") as channel, pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Classify(request, timeout=60)
    assert error.value.code().name == "INVALID_ARGUMENT"
    assert "copied into each of the 100,000 examples" in error.value.details()


def test_an_answer_that_no_message_can_hold_is_refused() -> None:
    require_sendable({"x": np.array([b"a" * 100], object), "y": np.zeros(10)})
    with pytest.raises(ServingError, match="send fewer rows") as error:
        require_sendable({"y": np.broadcast_to(np.float32(0), (2**15, 2**15))})
    assert error.value.code is Code.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message_are_the_fault_of_the_client_and_are_counted(server: Server) -> None:
    def refusals() -> int:
        page = server.ask("/monitoring/prometheus/metrics")[1]
        found = re.search(r'request_count\{model_name="",status="INVALID_ARGUMENT"\} (\d+)', page)
        return int(found[1]) if found else 0

    before = refusals()
    with grpc.insecure_channel(f"127.0.0.1:{server.rpc}") as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(b"\xff\xff", timeout=60)
    assert error.value.code().name == "INVALID_ARGUMENT"
    assert error.value.details() == ("the request cannot be parsed: its bytes are not the message that "
                                     "/tensorflow.serving.PredictionService/Predict takes")
    until(lambda: refusals() == before + 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x" * 100_000, "\0" * 100_000, "\u202e" * 100_000], ids=["plain", "zeros", "marks"])
def test_a_long_name_reaches_the_client_cut_and_is_not_kept(server: Server, name: str) -> None:
    """Trailers of more than 8 KB would be another error, and a page of metrics grows with every name."""
    request = predict_pb2.PredictRequest(model_spec={"name": name})
    with grpc.insecure_channel(f"127.0.0.1:{server.rpc}") as channel, pytest.raises(grpc.RpcError) as error:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    details = error.value.details() or ""
    assert error.value.code().name == "NOT_FOUND" and details.startswith("Servable not found for request: Latest(")
    assert details.endswith("...") and name[:1000] not in server.ask("/monitoring/prometheus/metrics")[1]


@pytest.mark.slow
def test_a_config_whose_path_has_a_zero_byte_is_refused(server: Server) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="m", base_path="/a\0b", model_platform="tensorflow")
    for words in ("base_path of m", "filename_prefix of m"):
        with grpc.insecure_channel(f"127.0.0.1:{server.rpc}") as channel, pytest.raises(grpc.RpcError) as error:
            model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request, timeout=60)
        assert error.value.code().name == "INVALID_ARGUMENT" and words in error.value.details()
        config.base_path = "/a"
        config.logging_config.log_collector_config.filename_prefix = "/a\0b"


@pytest.mark.slow
def test_a_fault_of_the_server_tells_clients_nothing_of_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise RuntimeError("/srv/secret/model.pb")

    monkeypatch.setattr(Core, "predict", broken)
    assert refused(server, x=np.array([1], np.float32)) == ("INTERNAL", FAULT)
    assert server.post("/v1/models/m:predict", {"instances": [1.0]}) == (500, {"error": FAULT})
