"""Damaged gRPC calls, and connections to the gRPC port that are none, for `fuzz.py`.

Every call ends within 10 seconds with an answer or a status that blames the client, in words. After each case the
server gives the same answer to a good request, from the same process, whose memory stays bounded.
"""

import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from mutants import MUTATIONS
from served import Server, half_plus, several
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

SECONDS = 10.0  # in which a call has to end
MOST_MB = 1  # of a request, as the server is started
GROWTH = 400  # MiB by which the server's memory may grow at most
LONGEST = 4000  # characters of the details of a status
# Of statuses that say that the request was wrong.
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
NOT_LOADED = "servable(s) did not become available: "  # as TF Serving says it, with the status UNKNOWN
# What a client must not be told: how the server is written, and where it is.
INSIDE = re.compile(r"Traceback|File \"|line \d+, in |\.py\b|<class|object at 0x|site-packages|/tmp/|/home/|/work/")
PREDICTION, MODEL = "/tensorflow.serving.PredictionService", "/tensorflow.serving.ModelService"
RELOAD = f"{MODEL}/HandleReloadConfigRequest"
ODD_SIZES = (-1, 0, 1, 3, 2**31 - 1, 2**40, 2**63 - 1, -2**63)
ODD_NAMES = ("", "none", "half/../several", "x" * 20_000, "\0", "é\u202e", "Half", "serving_default\n")
ODD_TYPES = (0, 2, 3, 4, 7, 9, 11, 14, 19, 20, 21, 22, 24, 29, 33, 99, 101, 107, 120, 2**31 - 1)
FIELDS: dict[str, Sequence[Any]] = {
    "float_val": (1.0, float("nan"), 1e38), "double_val": (1.0, 1e308), "int_val": (1, -1, 70_000, 2**31 - 1),
    "half_val": (1, -1, 70_000, 2**31 - 1), "string_val": (b"", b"a", b"\xff\0", b"x" * 100_000),
    "int64_val": (1, -2**63), "bool_val": (True, False), "uint32_val": (2**32 - 1,), "uint64_val": (2**64 - 1,),
    "scomplex_val": (1.0,), "dcomplex_val": (1.0,), "tensor_content": ()}


@dataclass
class Watched:
    """A server whose process is watched. pid: of the process. base: its memory at the start, in MiB."""

    server: Server
    pid: int
    channel: grpc.Channel
    config: bytes
    base: float = 0.0
    codes: set[str] = field(default_factory=set)

    def call(self, method: str, data: bytes, **more: Any) -> bytes:
        """The bytes of the answer to a call. Raises grpc.RpcError."""
        answer: bytes = self.channel.unary_unary(method)(data, timeout=SECONDS, **more)
        return answer

    def check(self) -> None:
        """A good request has its right answer, from the same process, whose memory has not grown."""
        answer = predict_pb2.PredictResponse.FromString(self.call(f"{PREDICTION}/Predict", good().SerializeToString()))
        assert list(answer.outputs["y"].float_val) == [2.5, 3.0], answer
        assert self.megabytes() < self.base + GROWTH, f"{self.megabytes():,.0f} MiB, at the start {self.base:,.0f}"

    def megabytes(self) -> float:
        """The memory of the process. Raises OSError where it is gone."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / 2**20

    def outcome(self, method: str, data: bytes, **more: Any) -> str:
        """What becomes of a call, and of the server. A call that reloads may have ended a model, as it was asked to."""
        start = time.monotonic()
        try:
            self.call(method, data, **more)
            result = "read"
        except grpc.RpcError as error:
            result, code, details = "refused", error.code(), error.details() or ""
            self.codes.add(code.name)
            assert code in REFUSALS or (method == RELOAD and NOT_LOADED in details), f"{code.name}: {details[:300]}"
            assert details.strip() and not INSIDE.search(details) and len(details) <= LONGEST, details[:500]
        finally:
            if method == RELOAD:
                self.call(RELOAD, self.config)
        assert time.monotonic() - start < SECONDS
        self.check()
        return result


def good() -> Any:
    """A request whose answer is known."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1, 2], np.float32)))
    return request


def watched(server: Server, pid: int, folder: Path, stack: ExitStack) -> Watched:
    """A server of the models that `models` has made, ready to be called."""
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.rpc}", [
        ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]))
    request = model_management_pb2.ReloadConfigRequest()
    for name in ("half", "several"):
        request.config.model_config_list.config.add(name=name, base_path=str(folder / name),
                                                    model_platform="tensorflow")
    made = Watched(server, pid, channel, request.SerializeToString())
    made.base = made.megabytes()
    made.check()
    return made


def models(folder: Path) -> Path:
    """A folder of two small models."""
    half_plus(folder / "half")
    several(folder / "several")
    return folder


def requests(config: bytes) -> dict[str, Message]:
    """A good request to each method. config: of a request to reload."""
    more = predict_pb2.PredictRequest(model_spec={"name": "several"})
    more.inputs["text"].CopyFrom(tf.make_tensor_proto(["a", "b"]))
    more.inputs["pair"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0], [3.0, 4.0]]))
    x = tf.train.Example(features=tf.train.Features(
        feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))}))
    made: Any = {"input": {"example_list": {"examples": [x]}}}
    classify = {"model_spec": {"name": "half", "signature_name": "classify_x_to_y"}, **made}
    regress = {"model_spec": {"name": "half", "signature_name": "regress_x_to_y"}, **made}
    task: Any = {"model_spec": regress["model_spec"], "method_name": "tensorflow/serving/regress"}
    spec: Any = {"model_spec": {"name": "half"}}
    return {
        f"{PREDICTION}/Predict": good(), f"{PREDICTION}/Predict ": more,
        f"{PREDICTION}/Classify": classification_pb2.ClassificationRequest(**classify),
        f"{PREDICTION}/Regress": regression_pb2.RegressionRequest(**regress),
        f"{PREDICTION}/MultiInference": inference_pb2.MultiInferenceRequest(tasks=[task], **made),
        f"{PREDICTION}/GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"], **spec),
        f"{MODEL}/GetModelStatus": get_model_status_pb2.GetModelStatusRequest(**spec),
        RELOAD: model_management_pb2.ReloadConfigRequest.FromString(config)}


# Damage


def bytes_damaged(request: Message, chance: random.Random) -> tuple[str, bytes]:
    """Some of the bytes are others, are missing, or say that more of them follow."""
    data = bytearray(request.SerializeToString())
    if chance.random() < 0.3:  # a length or a number that lies
        place = chance.randrange(len(data))
        data[place:place + 1] = chance.choice((b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\xff" * 12, b"\x80"))
        return "a number that lies", bytes(data)
    if chance.random() < 0.05:  # groups in groups
        return "nested", b"\x0b" * chance.choice((90, 200, 100_000))
    mutate = chance.choice(MUTATIONS)
    mutate(data, chance)
    return mutate.__name__, bytes(data)


def tensor_damaged(request: Message, chance: random.Random) -> tuple[str, bytes]:
    """A tensor whose type, shape and values do not fit each other, or that is of another input."""
    changed: Any = type(request)()
    changed.CopyFrom(request)
    if not isinstance(changed, predict_pb2.PredictRequest):
        return names_damaged(request, chance)
    name = chance.choice(sorted(changed.inputs))
    tensor, said = changed.inputs[name], []
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(("dtype", "shape", "values", "content", "rank", "name"))
        said.append(kind)
        if kind == "dtype":
            tensor.dtype = chance.choice(ODD_TYPES)
        elif kind == "shape":
            del tensor.tensor_shape.dim[:]
            for _ in range(chance.choice((0, 1, 1, 2, 3, 70))):
                tensor.tensor_shape.dim.add(size=chance.choice(ODD_SIZES))
        elif kind == "values":
            values = chance.choice(sorted(FIELDS))
            tensor.ClearField("tensor_content")
            if FIELDS[values]:
                getattr(tensor, values).extend(chance.choices(FIELDS[values], k=chance.choice((1, 2, 3, 40))))
        elif kind == "content":
            tensor.tensor_content = chance.randbytes(chance.choice((0, 1, 3, 8, 1000)))
        elif kind == "rank":
            tensor.tensor_shape.unknown_rank = not tensor.tensor_shape.unknown_rank
        else:
            changed.inputs[chance.choice(ODD_NAMES)].CopyFrom(tensor)
    return "tensor: " + ", ".join(said), changed.SerializeToString()


def names_damaged(request: Message, chance: random.Random) -> tuple[str, bytes]:
    """Another model, version, label, signature, output or field."""
    changed: Any = type(request)()
    changed.CopyFrom(request)
    odd = chance.choice(ODD_NAMES)
    if isinstance(changed, model_management_pb2.ReloadConfigRequest):
        config = changed.config.model_config_list.config
        if chance.random() < 0.5:
            setattr(config[0], chance.choice(("name", "base_path", "model_platform")), odd)
        else:
            config[0].model_version_policy.specific.versions.extend([chance.choice(ODD_SIZES)])
            changed.metric_names.append(odd)
        return "config", changed.SerializeToString()
    spec = changed.tasks[0].model_spec if isinstance(changed, inference_pb2.MultiInferenceRequest) else \
        changed.model_spec
    kind = chance.choice(("name", "version", "version_label", "signature_name", "other"))
    if kind == "version":
        spec.version.value = chance.choice(ODD_SIZES)
    elif kind != "other":
        setattr(spec, kind, odd)
    elif isinstance(changed, predict_pb2.PredictRequest):
        changed.output_filter.extend(["y", odd, "y"][:chance.randint(1, 3)])
    elif isinstance(changed, get_model_metadata_pb2.GetModelMetadataRequest):
        changed.metadata_field.append(odd)
    else:
        changed.ClearField("model_spec" if hasattr(changed, "model_spec") else "tasks")
    return kind, changed.SerializeToString()


def call_cases(count: int, seed: int, server: Watched) -> Iterator[tuple[str, Callable[[], str]]]:
    """Damaged calls of every method."""
    chance, made = random.Random(seed), requests(server.config)

    for method, request in made.items():
        assert server.outcome(method.strip(), request.SerializeToString()) == "read", method
    methods = [method for method in made for _ in range(4 if "Predict" in method.partition("Service/")[2] else 1)]
    for number in range(count):
        method = methods[number % len(methods)]
        damage = chance.choice((bytes_damaged, tensor_damaged, names_damaged))
        said, data = damage(made[method], chance)
        yield f"{number}, {method.strip()}, {said}, {data[:60]!r}", partial(server.outcome, method.strip(), data)
    for method in (f"{PREDICTION}/None", "/tensorflow.serving.SessionService/SessionRun", "/", "/a"):
        yield f"the method {method}", partial(server.outcome, method, b"")


# Connections

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"", length: int | None = None) -> bytes:
    """A frame of HTTP/2. length: that it claims to have, if another."""
    size = len(content) if length is None else length
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + content


def headers(stream: int, flags: int = END_HEADERS, more: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The beginning of a call of Predict."""
    pairs = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", f"{PREDICTION}/Predict".encode()),
             (b":authority", b"localhost"), (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more]
    block = b"".join(b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in pairs)
    return frame(HEADERS, flags, stream, block)


def connections(chance: random.Random) -> dict[str, bytes]:
    """What is sent on a connection, by name."""
    begin = PREFACE + frame(SETTINGS)
    streams = range(1, 601, 2)
    return {
        "nothing": b"", "random bytes": chance.randbytes(chance.choice((1, 100, 10_000))),
        "HTTP/1": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1 POST": b"POST /v1/models/half:predict HTTP/1.1\r\n"
        b"Content-Length: 1000000000\r\n\r\n{", "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        "a part of the preface": PREFACE[:chance.randrange(len(PREFACE))],
        "a preface, then random bytes": PREFACE + chance.randbytes(1000),
        "settings, then random bytes": begin + chance.randbytes(1000),
        "a frame that claims to be large": begin + frame(DATA, 0, 1, b"a", 2**24 - 1),
        "settings of an odd length": PREFACE + frame(SETTINGS, 0, 0, bytes(5)),
        "data of no stream": begin + frame(DATA, 0, 7, b"abc"),
        "headers that are no HPACK": begin + frame(HEADERS, END_HEADERS, 1, chance.randbytes(200)),
        "headers without an end": begin + headers(1, 0) + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 3000) * 20,
        "many streams without data": begin + b"".join(map(headers, streams)),
        "streams that are reset": begin + b"".join(
            headers(stream) + frame(RESET, 0, stream, bytes(4)) for stream in streams),
        "a message that is shorter than it says": begin + headers(1) + frame(DATA, END_STREAM, 1, b"\0\0\0\0\xffabc"),
        "a message that claims 4 GB": begin + headers(1) + frame(DATA, 0, 1, b"\0\xff\xff\xff\xffabc"),
        "a message of an unknown compression": begin + headers(1, more=[(b"grpc-encoding", b"odd")]) + frame(
            DATA, END_STREAM, 1, b"\x01\0\0\0\x03abc"),
        "a bad timeout": begin + headers(1, more=[(b"grpc-timeout", b"999999999999S")]) + frame(
            DATA, END_STREAM, 1, bytes(5)),
        "many pings": begin + frame(PING, 0, 0, bytes(8)) * 500,
        "windows that overflow": begin + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 3}


def connection_cases(count: int, seed: int, server: Watched) -> Iterator[tuple[str, Callable[[], str]]]:
    """Connections that do not speak gRPC, or not to its end. They stay open while a good request is sent."""
    chance = random.Random(seed)

    def tried(data: bytes) -> str:
        with socket.create_connection(("127.0.0.1", server.server.rpc), timeout=SECONDS) as connection:
            try:
                connection.sendall(data)
            except OSError:  # it was closed while it was sent
                return "refused"
            finally:
                server.check()
            connection.settimeout(0.05)
            try:
                while connection.recv(65536):
                    pass
                return "refused"  # it was closed
            except TimeoutError:
                return "read"
            except OSError:
                return "refused"

    for number in range(count):
        made = connections(chance)
        name = [*made][number % len(made)]
        yield f"{number}, {name}", partial(tried, made[name])
