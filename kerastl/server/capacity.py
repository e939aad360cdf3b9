"""`kerastl serve --benchmark`: requests per second and latencies of a model, as more clients ask at a time.

The server runs in a process of its own, the clients in this one, on the same machine: what the clients compute is
measured too, so that one can see whether they were the bottleneck.
"""

import inspect
import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerastl.errors import ModelError, OptionError
from kerastl.fields import Section
from kerastl.files import model_path, whole
from kerastl.runtime import machine
from kerastl.server.config import Model, read_models
from kerastl.server.load import Ask, Sent, ServerProcess, grpc_client, rest_body, rest_client, send, server_process
from kerastl.server.loading import WARMUP
from kerastl.server.serve import models_at, serve

CLIENTS = (1, 2, 4, 8, 16, 32)
SECONDS = 3.0
REST, GRPC = PROTOCOLS = ("REST", "gRPC")
BUSY = 0.8  # of a core, from which the clients may have been the bottleneck: Python computes on one at a time


@dataclass(frozen=True)
class Load(Section):
    """Some clients, each of which sends a request as soon as it has the answer to the last. per_second: answered
    requests; milliseconds_*: percentiles of the time that an answer took, None without one; errors: requests that
    failed; client_cores: processor cores that the clients kept busy."""

    protocol: str
    clients: int
    requests: int
    errors: int
    per_second: float
    milliseconds_p50: float | None
    milliseconds_p90: float | None
    milliseconds_p99: float | None
    client_cores: float


@dataclass(frozen=True)
class Capacity(Section):
    """What a server was measured to do. rows: of the request that was sent; request_bytes: its size by gRPC; options:
    of the server that differ from the defaults; errors: the first message of each kind."""

    model: str
    version: int
    rows: int | None
    request_bytes: int
    seconds: float
    options: dict[str, Any]
    machine: dict[str, Any]
    loads: tuple[Load, ...]
    errors: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The best throughput of each protocol, and what limits the figures, in words."""
        best = [max((load for load in self.loads if load.protocol == protocol), key=lambda load: load.per_second)
                for protocol in dict.fromkeys(load.protocol for load in self.loads)]
        text = "; ".join(f"{load.protocol}: {load.per_second:,.1f} requests/s with {load.clients} "
                         f"client{'s' * (load.clients > 1)}" for load in best)
        busiest = max(load.client_cores for load in self.loads)
        return (f"Highest throughput: {text}. The server and the clients shared this machine; the clients used up to "
                f"{busiest:.2f} of its {self.machine['cores']} cores"
                + (", so they may have been the bottleneck." if busiest >= BUSY else "."))


def find_capacity(path: str | os.PathLike[str] | None = None, *, seconds: float = SECONDS,
                  clients: Sequence[int] = CLIENTS, **options: Any) -> Capacity:
    """Serve a model in another process, send it its own warm-up request, and stop it.

    path: as `serve` takes it; of one model. seconds: for each number of clients and each protocol. options: of
    `serve`; a port that is 0 leaves the protocol out, others are not used: the server listens on free ports. Raises
    OptionError for several models and options that cannot be, ModelError for a model that has no warm-up request or
    cannot be served.
    """
    if not (0 < seconds <= 3600 and clients and all(1 <= number <= 1024 for number in clients)):
        raise OptionError(f"`benchmark_seconds` is {seconds:g} and `clients` are {list(clients)}",
                          "seconds above 0, and 1 to 1024 clients")
    protocols = [name for name, port in ((REST, "rest_api_port"), (GRPC, "port")) if options.get(port) != 0]
    if not protocols:
        raise OptionError("`port` and `rest_api_port` are both 0", "at least one of them", "omit one")
    model = _one_model(path, options.get("model_config_file"))
    usual = inspect.signature(serve).parameters
    options = {name: value for name, value in options.items()
               if name not in ("host", "port", "rest_api_port") and value != usual[name].default}
    with server_process(path, **options) as server:
        version = _version(server, model)
        request = _warm_up_request(model, version)
        asked = {REST: rest_client(server.rest, f"/v1/models/{model.name}:predict", [rest_body(request)]),
                 GRPC: grpc_client(server.rpc, request.SerializeToString())}
        measured = list(_measured([(name, asked[name]) for name in protocols], clients, seconds))
    shapes = [tensor.tensor_shape.dim for tensor in request.inputs.values()]
    return Capacity(
        model.name, version, int(shapes[0][0].size) if shapes and len(shapes[0]) else None, request.ByteSize(), seconds,
        options, machine(),
        tuple(_load(name, number, sent) for name, number, sent in measured),
        tuple(dict.fromkeys(message for _, _, sent in measured for message in sent.errors)))


def _measured(protocols: Sequence[tuple[str, Callable[[int], Ask]]], clients: Sequence[int], seconds: float
              ) -> Iterator[tuple[str, int, Sent]]:
    """Raises ModelError where the model does not answer its own warm-up request."""
    for name, client in protocols:
        if error := client(0)():
            raise ModelError(f"the model does not answer its warm-up request by {name}: {error}")
        for number in clients:
            yield name, number, send(client, number, seconds)


def _load(protocol: str, clients: int, sent: Sent) -> Load:
    p50, p90, p99 = (round(float(value), 3) for value in np.percentile(1000 * np.array(sent.latencies), (50, 90, 99))
                     ) if sent.latencies else (None, None, None)
    return Load(protocol, clients, len(sent.latencies), sum(sent.errors.values()), round(sent.per_second, 2), p50, p90,
                p99, round(sent.processor / sent.seconds, 3))


def _one_model(path: Any, model_config_file: str | None) -> Model:
    if (path is None) == (model_config_file is None):
        raise OptionError("both a path and `model_config_file` are set" if path is not None else "no model is named",
                          "a path or `model_config_file`", "name one model, such as saved_models/NAME")
    models = models_at(model_path(str(path))) if model_config_file is None else read_models(model_config_file)
    if len(models) != 1:
        raise OptionError(f"there are {len(models)} models: {', '.join(model.name for model in models)}",
                          "one model for `benchmark`", "name one of them")
    return models[0]


def _version(server: ServerProcess, model: Model) -> int:
    """The version that answers: the newest that is served."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.rest}/v1/models/{model.name}", timeout=60) as answer:
        states = json.loads(answer.read())["model_version_status"]
    return max(int(state["version"]) for state in states if state["state"] == "AVAILABLE")


def _warm_up_request(model: Model, version: int) -> Any:
    """The first PredictRequest that a version carries, for this model. Raises ModelError where it has none."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = whole(model.path if model.version is not None else model.path / str(version)) / WARMUP
    records = tf.data.TFRecordDataset(str(path)) if path.exists() else ()
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") == "predict_log":
            request = log.predict_log.request
            request.model_spec.ClearField("version_choice")
            request.model_spec.name = model.name
            return request
    raise ModelError(f"{path} {'has no predict_log' if path.exists() else 'does not exist'}: there is nothing to ask "
                     "the model", "a version with a warm-up request, as `kerastl run` writes it",
                     "log a request with `logging_config`, and copy the file there")
