"""Servers that are killed at random moments, for chaos.py: while they load a model, and while they answer."""

import base64
import json
import os
import random
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from chaos_cases import PATIENT
from child_runs import Run, Server

from kerastl.server.load import free_port

CLIENTS, BUSY, PATIENCE = 4, 3.0, 20.0  # threads; seconds of requests; seconds until what a server started has ended


def ask(port: int, image: bytes) -> str:
    """The answer to a request for a prediction. Raises OSError."""
    body = json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/m:predict", body, timeout=300) as answer:
        text: str = answer.read().decode()
    return text


def start(server: Server, model: Path, port: int) -> Run:
    """A server that loads a model."""
    return server.start(["serve", model, "--port", 0, "--rest-api-port", port])


def ready(run: Run, port: int, image: bytes) -> str:
    """Wait until a server answers. Returns its first answer."""
    while True:
        with suppress(OSError):
            return ask(port, image)
        assert run.server.code_of(run.pid) is None, run.files[1].read_text()
        time.sleep(0.1)


def rounds(server: Server, model: Path, image: bytes, count: int, chance: random.Random) -> Iterator[str]:
    """Kill servers, each before the next one has its port. Yields what was wrong."""
    port, begun = free_port(), time.monotonic()
    run = start(server, model, port)
    expected, seconds = ready(run, port, image), time.monotonic() - begun
    for number in range(1, count + 1):
        answers: list[str] = []
        if number % 2:  # the one that answers
            clients = [threading.Thread(target=_ask_on, args=(port, image, answers)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0, BUSY))
            os.kill(run.pid, signal.SIGKILL)
            for client in clients:
                client.join()
        else:  # one that loads
            os.kill(run.pid, signal.SIGKILL)
            run.end(PATIENT)
            run = start(server, model, port)
            time.sleep(chance.uniform(0, seconds))
            os.kill(run.pid, signal.SIGKILL)
        run.end(PATIENT)
        if wrong := {answer for answer in answers if answer != expected}:
            yield f"serve, round {number}: {len(wrong)} wrong answers, such as {min(wrong)[:200]}"
        yield from (f"serve, round {number}: the process {pid} is left over" for pid in _left(server))
        run = start(server, model, port)
        if (answer := ready(run, port, image)) != expected:
            yield f"serve, round {number}: the next server answers {answer[:200]} instead of {expected[:200]}"
    os.kill(run.pid, signal.SIGTERM)
    if (ended := run.end(PATIENT)).code:
        yield f"serve: a server that is stopped ends with {ended.code}: {ended.err[-1000:]}"
    if left := [path.name for path in (server.folder / "tmp").iterdir() if path.stat().st_mtime > time.time() - 1]:
        yield f"serve: {left} are left behind"


def _ask_on(port: int, image: bytes, answers: list[str]) -> None:
    with suppress(OSError):  # until the server is killed
        while True:
            answers.append(ask(port, image))


def _left(server: Server) -> list[int]:
    end = time.monotonic() + PATIENCE
    while (strays := server.strays()) and time.monotonic() < end:
        time.sleep(0.1)
    return strays
