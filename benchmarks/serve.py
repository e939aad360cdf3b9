"""`kerastl serve` in a process of its own: throughput and latency over bare calls of the model, its capacity, and a
soak in which versions are swapped while clients ask."""

import base64
import http.client
import json
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure, at_least, at_most
from kerastl.server.capacity import find_capacity
from kerastl.server.load import Ask, Sent, ServerProcess, rest_client, send, server_process

MODEL = Path("saved_models/stamps")
STAMPS = Path("samples/stamps")
REQUESTS, CLIENTS, MALFORMED = 10_000, 8, 0.05
SECONDS = 20.0


def throughput() -> list[Figure]:
    """Requests of one row, and of batches that the server makes, over calls of the SavedModel on the same bytes."""
    if not MODEL.exists() or not STAMPS.exists():
        return [Figure("`kerastl serve`", "not measured: run `make quickstart` first")]
    files = [path.read_bytes() for path in sorted(STAMPS.rglob("*.png"))[:64]]
    bodies = [json.dumps({"instances": [{"b64": base64.b64encode(content).decode()}]}).encode() for content in files]
    bare = np.array(_bare(files, 1))
    alone, together = 1 / bare.mean(), 32 / np.mean(_bare(files, 32))
    with server_process(MODEL) as server:
        client = rest_client(server.rest, "/v1/models/stamps:predict", bodies)
        send(client, 1, SECONDS / 2)  # not counted
        full = _sent(client, 1)
        half = _sent(client, 1, 0.5 * full.per_second)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as parameters:
        parameters.write("max_batch_size { value: 32 } batch_timeout_micros { value: 5000 }\n"
                         "num_batch_threads { value: 2 }")
        parameters.flush()
        with server_process(MODEL, batching_parameters_file=parameters.name) as server:
            batched = _sent(rest_client(server.rest, "/v1/models/stamps:predict", bodies), 64).per_second
    # Percentile by percentile, because images of several sizes do not take equally long without a server either.
    median, highest = 1000 * (np.percentile(half.latencies, (50, 99)) - np.percentile(bare, (50, 99)))
    return [at_least(f"REST, one row at a time ({full.per_second:.0f} rows/s) over the model's calls",
                     full.per_second / alone, 0.85),
            at_least(f"REST, 64 clients in dynamic batches ({batched:.0f} rows/s) over the model's calls with 32 rows",
                     batched / together, 0.85),
            at_most(f"milliseconds added at half load, median ({np.median(full.latencies) * 1000:.1f} in all at full "
                    "load)", float(median), 3),
            at_most("milliseconds added at half load, 99th percentile over that of the model's calls "
                    f"({np.percentile(bare, 99) * 1000:.1f})", float(highest), 10)]


def _bare(files: list[bytes], size: int) -> list[float]:
    """Seconds that the signature itself takes for each of some batches of `size` rows."""
    import kerastl as tl

    classifier = tl.load(MODEL)
    batches = [files[start:start + size] for start in range(0, len(files), size)]
    for batch in batches[:2]:
        classifier.probabilities(batch)
    end, seconds = time.perf_counter() + SECONDS / 2, []
    while time.perf_counter() < end:
        for batch in batches:
            start = time.perf_counter()
            classifier.probabilities(batch)
            seconds.append(time.perf_counter() - start)
    return seconds


def capacity() -> list[Figure]:
    """What `kerastl serve --benchmark` prints of the sample model, with and without dynamic batches."""
    if not MODEL.exists():
        return [Figure("`kerastl serve --benchmark`", "not measured: run `make quickstart` first")]
    figures = []
    for options, kind in (({}, "one request at a time"), ({"enable_batching": True}, "dynamic batches")):
        found = find_capacity(MODEL, **options)
        figures += [Figure(f"{kind}, {load.protocol}, {load.clients} clients: requests/s (p50, p90, p99 in ms; cores "
                           "of the clients)", f"{load.per_second:.1f} ({load.milliseconds_p50}, "
                           f"{load.milliseconds_p90}, {load.milliseconds_p99}; {load.client_cores:.2f})", "no errors",
                           not load.errors)
                    for load in found.loads]
    return figures


def _sent(client: Callable[[int], Ask], clients: int, pace: float = math.inf) -> Sent:
    """What clients measure, none of whose requests fails."""
    sent = send(client, clients, SECONDS / 2, pace)
    assert not sent.errors, sent.errors
    return sent


def soak(requests: int = REQUESTS) -> list[Figure]:
    """Mixed REST and gRPC requests from 8 clients, 1 in 20 malformed; three versions follow each other, and a broken
    one is offered between them."""
    sys.path.insert(0, "tests")
    from served import half_plus

    with tempfile.TemporaryDirectory() as folder:
        made, home = Path(folder) / "made", Path(folder) / "half"
        home.mkdir()
        for version in (1, 2, 3, 5):
            half_plus(made, float(version), version)
        shutil.copytree(made / "1", home / "1")
        with server_process(home, file_system_poll_wait_seconds=0.2) as server:
            for number in range(200):  # what is allocated once
                _ask_rest(server.rest, number, False)
            before = _memory(server.pid)
            wrong, dropped, asked = _swapped(server, made, home, Path(folder) / "partial", requests)
            time.sleep(2)
            after = _memory(server.pid)
    return [Figure(f"wrong answers to {asked:,} requests, 4 versions and a broken one", str(wrong), "0", wrong == 0),
            Figure(f"requests of {asked:,} that were dropped", str(dropped), "0", dropped == 0),
            at_most(f"memory after ({after:.0f} MB) over memory before", after / before, 1.1)]


def _swapped(server: ServerProcess, made: Path, home: Path, partial: Path, requests: int) -> tuple[int, int, int]:
    left, lock = iter(range(requests)), threading.Lock()
    wrong, dropped, done = 0, 0, 0

    def client(seed: int) -> None:
        nonlocal wrong, dropped, done
        draw, ask_rpc = random.Random(seed), _grpc_asker(server.rpc)
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            malformed = draw.random() < MALFORMED
            ask: Callable[..., bool] = ask_rpc if draw.random() < 0.5 else lambda n, bad: _ask_rest(server.rest, n, bad)
            try:
                right = ask(number % 100, malformed)
            except Exception:
                dropped += 1
                right = True
            wrong += not right
            done += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, seed) for seed in range(CLIENTS)]
        for share, version in ((0.2, 2), (0.4, 3), (0.6, 4), (0.8, 5)):
            while done < share * requests and not all(one.done() for one in clients):
                time.sleep(0.05)
            if version == 4:
                (home / "4").mkdir()
                (home / "4" / "saved_model.pb").write_bytes(b"broken")
                continue
            shutil.copytree(made / str(version), partial)
            partial.rename(home / str(version))
        for one in clients:
            one.result()
    return wrong, dropped, done


def _right(x: float, y: float) -> bool:
    return y - x / 2 in (1.0, 2.0, 3.0, 5.0)


def _ask_rest(port: int, x: int, malformed: bool) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"instances": ["nonsense" if malformed else float(x)]})
    connection.request("POST", "/v1/models/half:predict", body)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    if malformed:
        return answer.status == 400 and "not of expected type" in document["error"]
    return answer.status == 200 and _right(x, document["predictions"][0])


def _grpc_asker(port: int) -> Callable[[int, bool], bool]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def ask(x: int, malformed: bool) -> bool:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "half"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(["a"] if malformed else np.array([x], np.float32)))
        try:
            answer = stub.Predict(request, timeout=60)
        except grpc.RpcError as error:
            if malformed and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                return True
            raise
        return not malformed and _right(x, tf.make_ndarray(answer.outputs["y"]).item())

    return ask


def _memory(pid: int) -> float:
    """Megabytes in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024
