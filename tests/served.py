"""A server for tests, in a thread of this process, and small SavedModels to serve."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from kerastl.server.config import Model
from kerastl.server.load import free_port
from kerastl.server.options import ServerOptions
from kerastl.server.serve import models_at
from kerastl.server.server import serve_models


def half_plus(folder: Path, added: float = 2.0, version: int = 1) -> Path:
    """A SavedModel of TensorFlow 1, x / 2 + added, with signatures to predict, to classify and to regress."""
    v1, path = tf.compat.v1, folder / str(version)
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])})
        x = tf.identity(parsed["x"], "x")
        slope, shift = v1.get_variable("slope", [], initializer=v1.constant_initializer(0.5)), v1.get_variable(
            "shift", [], initializer=v1.constant_initializer(added))
        y = tf.identity(x * slope + shift, "y")
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        serving = v1.saved_model.signature_def_utils.build_signature_def
        signatures = {
            "serving_default": serving({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
            "classify_x_to_y": serving({"inputs": info(examples)}, {"scores": info(y)}, "tensorflow/serving/classify"),
            "regress_x_to_y": serving({"inputs": info(examples)}, {"outputs": info(y)}, "tensorflow/serving/regress")}
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return path


class Several(tf.Module):
    """Two inputs and two outputs, one of them bytes. A text that is `bad` cannot be computed."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text"),
                                  tf.TensorSpec([None, 2], tf.float32, "pair")])
    def run(self, text: Any, pair: Any) -> dict[str, Any]:
        checks = [tf.debugging.Assert(tf.reduce_all(text != "bad"), ["not a good text"])]
        with tf.control_dependencies(checks):
            return {"total": tf.reduce_sum(pair, axis=1), "echo_bytes": tf.identity(text)}


def several(folder: Path, version: int = 1) -> Path:
    """A SavedModel of TensorFlow 2."""
    module = Several()
    tf.saved_model.save(module, str(folder / str(version)), signatures=module.run)
    return folder / str(version)


def signatures(folder: Path, functions: dict[str, tuple[Any, dict[str, tf.TensorSpec]]], version: int = 1) -> Path:
    """A SavedModel of TensorFlow 2 with several signatures: a function, and its inputs by name."""
    module = tf.Module()
    module.compiled = {
        name: tf.function(function, input_signature=[tf.TensorSpec(spec.shape, spec.dtype, key)
                                                     for key, spec in inputs.items()])
        for name, (function, inputs) in functions.items()}
    tf.saved_model.save(module, str(folder / str(version)), signatures=module.compiled)
    return folder / str(version)


@dataclass(frozen=True)
class Server:
    """Where a server listens."""

    rest: int
    rpc: int

    def post(self, path: str, document: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """The status and the body of an answer; of a body that is no document, as it is."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.ask(path, body, headers)

    def content(self, path: str) -> tuple[int, bytes]:
        """The status of an answer, and its body as it is."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}", timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def headers(self, path: str) -> dict[str, str]:
        """The headers of an answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}", timeout=60) as answer:
            return dict(answer.headers)

    def ask(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, method: str | None = None
            ) -> tuple[int, Any]:
        """The status and the parsed body of an answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())


def stubs(server: Server) -> tuple[Any, Any]:
    """Of the prediction service and the model service."""
    channel = grpc.insecure_channel(f"127.0.0.1:{server.rpc}")
    return prediction_service_pb2_grpc.PredictionServiceStub(channel), model_service_pb2_grpc.ModelServiceStub(channel)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@contextmanager
def serving(source: Path | tuple[Model, ...], options: ServerOptions | None = None, **more: Any) -> Iterator[Server]:
    """A server of models, until the block ends."""
    stop, ready, result = threading.Event(), threading.Event(), []
    server = Server(free_port(), free_port())
    options = replace(options or ServerOptions(file_system_poll_wait_seconds=0.05), port=server.rpc,
                      rest_api_port=server.rest)

    def run() -> None:
        try:
            result.append(serve_models(models_at(source) if isinstance(source, Path) else source, options, stop=stop,
                                       ready=ready.set, **more))
        except BaseException as error:
            result.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(300)
    try:
        if result:
            raise result[0]
        yield server
    finally:
        stop.set()
        thread.join(60)


def until(condition: Any, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
