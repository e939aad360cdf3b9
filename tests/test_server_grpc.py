"""Tensors and errors of the gRPC API: as clients of TF Serving find them."""

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
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kerastl.server.options import ServerOptions
from kerastl.server.tensor_protos import array_of, tensor_proto

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
    for back in (tf.make_ndarray(proto), array_of("x", proto, 1000)):
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
