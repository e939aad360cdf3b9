"""A server in a process of its own, and clients that send it requests and measure how long each takes."""

import http.client
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kerastl.errors import ModelError

STARTED = 600.0  # seconds within which a server has to start
STOPPED = 60.0  # and to stop
TIMEOUT = 60.0  # of a request
PREDICT = "/tensorflow.serving.PredictionService/Predict"
Ask = Callable[[], str]  # sends one request; returns what went wrong, empty where nothing did


@dataclass(frozen=True)
class ServerProcess:
    """Where a server listens. pid: its process."""

    rest: int
    rpc: int
    pid: int


@dataclass(frozen=True)
class Sent:
    """What some clients measured. latencies: the seconds that each answered request took; seconds: from the first to
    the last request; errors: requests that failed, by the message; processor: the seconds that the clients computed."""

    latencies: list[float]
    seconds: float
    errors: dict[str, int]
    processor: float

    @property
    def per_second(self) -> float:
        """Answered requests."""
        return len(self.latencies) / self.seconds


@contextmanager
def server_process(path: str | os.PathLike[str] | None, **options: Any) -> Iterator[ServerProcess]:
    """`kerastl serve` in another process, on free ports of this machine, until the block ends. options: of `serve`.
    Raises ModelError, with its message, where it does not start or does not stop in good order."""
    rest, rpc = free_port(), free_port()
    options = {**options, "host": "127.0.0.1", "rest_api_port": rest, "port": rpc}
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
             for name, value in options.items() if value is not None and value is not False]
    words = [sys.executable, "-m", "kerastl", "serve", *([] if path is None else [str(path)]), *flags]
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # a pipe that nobody reads would stop the server
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_for(process, rpc, log)
            yield ServerProcess(rest, rpc, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOPPED)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.returncode:
            raise ModelError(f"the server ended with exit code {process.returncode}: {_last(log)}")


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Any) -> None:
    """Until the server listens: it binds its ports, that of gRPC last, once its models are loaded."""
    end = time.monotonic() + STARTED
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as client:
            client.settimeout(1)
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise ModelError(f"the server did not start: {_last(log)}")


def _last(log: Any) -> str:
    log.seek(0)
    lines = [line.strip().removeprefix("error: ") for line in log.read().splitlines() if line.strip()]
    return " ".join(lines[-3:]) or "it printed nothing"


def free_port() -> int:
    """A port that nothing listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def send(client: Callable[[int], Ask], clients: int, seconds: float, pace: float = math.inf) -> Sent:
    """Let some clients send one request after the other for some seconds. client: makes the one of a number, with a
    connection of its own; its first request is not counted. pace: requests per second that each sends at most."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    errors: list[dict[str, int]] = [{} for _ in range(clients)]
    started = threading.Barrier(clients + 1)
    stop = threading.Event()

    def run(number: int) -> None:
        ask = client(number)
        ask()
        started.wait(2 * TIMEOUT)
        due = time.perf_counter()
        while not stop.is_set():
            if (now := time.perf_counter()) < due:
                time.sleep(due - now)
            due = max(due + 1 / pace, time.perf_counter() - 1 / pace)
            start = time.perf_counter()
            error = ask()
            if error:
                errors[number][error] = errors[number].get(error, 0) + 1
            else:
                latencies[number].append(time.perf_counter() - start)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    started.wait(2 * TIMEOUT)  # a client that cannot be made would be waited for without end
    start, processor = time.perf_counter(), time.process_time()
    try:
        time.sleep(seconds)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    together: dict[str, int] = {}
    for counts in errors:
        for message, count in counts.items():
            together[message] = together.get(message, 0) + count
    return Sent([latency for some in latencies for latency in some], time.perf_counter() - start, together,
                time.process_time() - processor)


def rest_client(port: int, path: str, bodies: Sequence[bytes]) -> Callable[[int], Ask]:
    """Clients that post bodies in turn, each over one connection."""

    def client(number: int) -> Ask:
        connection, count = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT), number

        def ask() -> str:
            nonlocal count
            count += 1
            try:
                connection.request("POST", path, bodies[count % len(bodies)])
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return f"{type(error).__name__}: {error}"
            return "" if answer.status == 200 else f"{answer.status}: {content[:200].decode('utf-8', 'replace')}"

        return ask

    return client


def grpc_client(port: int, request: bytes) -> Callable[[int], Ask]:
    """Clients that send a serialised PredictRequest, each over one connection."""
    import grpc

    def client(number: int) -> Ask:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)])
        call = channel.unary_unary(PREDICT)  # without serializers, bytes are sent as they are

        def ask() -> str:
            try:
                call(request, timeout=TIMEOUT)
            except grpc.RpcError as error:
                return f"{error.code().name}: {error.details()}"
            return ""

        return ask

    return client


def rest_body(request: Any) -> bytes:
    """A PredictRequest as the body of a REST request, in column format."""
    import base64

    import tensorflow as tf

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    inputs = {name: plain(tf.make_ndarray(tensor).tolist()) for name, tensor in request.inputs.items()}
    return json.dumps({"signature_name": request.model_spec.signature_name, "inputs": inputs}).encode()
