"""What comes over the wire of the REST server: slow, packed, broken and forged requests."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, half_plus, serving, until

import kerastl as tl
from kerastl.server.config import Model
from kerastl.server.core import MOST_UNKNOWN
from kerastl.server.hosts import is_local
from kerastl.server.metrics import PATH
from kerastl.server.options import ServerOptions
from kerastl.server.serve import serve

BODY = b'{"instances": [[1]]}'
RESERVED, ENCODED = "!#$%&'()*+,/:;=?@[]", "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models") / "half"
    half_plus(folder)
    models = (Model("half", folder), Model(f"m{RESERVED}", folder, labels=((f"l{RESERVED}", 1),)))
    with serving(models, ServerOptions(max_request_mb=1, timeout=1.0)) as running:
        yield running


def sent(server: Server, *lines: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """The status, the headers and the body of the answer to a request as it is written."""
    with socket.create_connection(("127.0.0.1", server.rest), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        with connection.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            headers = dict(line.decode().strip().split(": ", 1) for line in iter(answer.readline, b"\r\n"))
            return status, headers, b"" if lines[0].startswith("HEAD") else answer.read(int(headers["Content-Length"]))


PREDICT = "POST /v1/models/half:predict HTTP/1.1"


def test_bodies_come_whole_in_chunks_or_packed(server: Server) -> None:
    length = f"Content-Length: {len(BODY)}"
    chunks = b"4\r\n" + BODY[:4] + b"\r\n%x\r\n" % (len(BODY) - 4) + BODY[4:] + b"\r\n0\r\n\r\n"
    packed = gzip.compress(BODY)
    for lines, body in (
            ((PREDICT, "Host: localhost", length), BODY), ((PREDICT.replace("1.1", "1.0"), length), BODY),
            ((PREDICT, "Host: localhost", "Transfer-Encoding: chunked"), chunks),
            ((PREDICT, "Host: [::1]:9", length, "Content-Type: text/plain"), BODY),
            ((PREDICT, "Host: x", "Content-Encoding: gzip", f"Content-Length: {len(packed)}"), packed)):
        lines = tuple(line.replace("Host: x", "Host: localhost") for line in lines)
        status, headers, content = sent(server, *lines, body=body)
        assert (status, json.loads(content)) == (200, {"predictions": [[2.5]]}), lines
        assert headers["Content-Type"] == "application/json"


def test_a_body_that_cannot_be_read_is_the_fault_of_the_client(server: Server) -> None:
    packed = {"Content-Encoding": "gzip"}
    status, body = server.post("/v1/models/half:predict", b"no gzip", packed)
    assert status == 400 and "the body cannot be read" in body["error"]
    bomb = gzip.compress(b'{"instances": [' + b"1, " * 10_000_000 + b"1]}")
    assert len(bomb) < 2**20
    status, body = server.post("/v1/models/half:predict", bomb, packed)
    assert status == 413 and "`max_request_mb`" in body["error"]
    with socket.create_connection(("127.0.0.1", server.rest)) as connection:  # gone before its body is sent
        connection.sendall(f"{PREDICT}\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{".encode())
    status, _, content = sent(server, PREDICT, "Host: localhost", "Content-Length: 99", body=b"{")
    assert status == 504 and "no answer within 1 seconds" in json.loads(content)["error"]
    until(lambda: "INTERNAL" not in (page := server.ask(PATH)[1]) and "DEADLINE_EXCEEDED" in page)


@pytest.mark.parametrize(("headers", "status"), [
    (["Host: localhost"], 200), (["Host: localhost.:8501"], 200), (["Host: 127.0.0.1"], 200), (["Host: [::1]"], 200),
    (["Host: 127.8.8.8:1"], 200), (["Host: [::ffff:127.0.0.1]"], 200), (["Host: LOCALHOST"], 200),
    (["Host: elsewhere.example"], 403), (["Host: localhost.elsewhere.example"], 403), (["Host: 0.0.0.0"], 403),
    (["Host: 127.0.0.1.elsewhere.example"], 403), (["Host: "], 403), (["Host: [::2]"], 403),
    (["Host: localhost:5", "Origin: http://localhost:5"], 200), (["Host: localhost", "Origin: https://localhost"], 200),
    (["Host: localhost:5", "Origin: http://localhost:6"], 403),
    (["Host: localhost:5", "Origin: http://localhost"], 403),
    (["Host: localhost", "Origin: null"], 403), (["Host: localhost", "Origin: file://"], 403),
    (["Host: localhost", "Origin: http://localhost.elsewhere.example"], 403),
    (["Host: localhost", "Origin: http://127.0.0.1"], 403),
    (["Host: localhost", "Upgrade: websocket", "Origin: http://elsewhere.example"], 403),
])
def test_only_pages_of_this_server_may_ask(server: Server, headers: list[str], status: int) -> None:
    for path in ("/v1/models/half", PATH, "/kerastl/models"):
        assert sent(server, f"GET {path} HTTP/1.1", *headers)[0] == status, path


def test_an_address_of_this_machine_alone_is_local(tmp_path: Path) -> None:
    assert all(map(is_local, ("127.0.0.1", "localhost", "127.0.0.2", "::1")))
    assert not is_local("0.0.0.0") and not is_local("::")
    with pytest.raises(tl.OptionError, match="`host` is 'nowhere.invalid'"):
        serve(half_plus(tmp_path / "half"), host="nowhere.invalid", port=0)


def test_names_and_labels_are_decoded(server: Server) -> None:
    for path in (f"/v1/models/m{ENCODED}", f"/v1/models/m{ENCODED}/versions/1", f"/v1/models/m{ENCODED}/metadata",
                 f"/v1/models/m{ENCODED}/labels/l{ENCODED}", f"/v1/models/m{ENCODED}/labels/l{ENCODED}/metadata"):
        assert server.ask(path)[0] == 200, path
    path = f"/v1/models/m{ENCODED}/labels/l{ENCODED}:predict"
    assert server.post(path, {"instances": [2]}) == (200, {"predictions": [3.0]})


def test_names_that_clients_make_up_do_not_fill_the_metrics(server: Server) -> None:
    for number in range(MOST_UNKNOWN + 20):
        assert server.ask(f"/v1/models/none{number}")[0] == 404
    lines = [line for line in server.ask(PATH)[1].splitlines() if "request_count" in line]
    assert len(lines) < MOST_UNKNOWN + 20 and any('model_name="none0",status="NOT_FOUND"} 1' in line for line in lines)
    assert any('model_name="",status="NOT_FOUND"' in line for line in lines)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_malformed(server: Server, method: str) -> None:
    status, headers, content = sent(server, f"{method} /v1/models/half HTTP/1.1", "Host: localhost")
    assert status == 400 and (method == "HEAD" or b"Malformed request" in content)
    assert not any(name.startswith("Access-Control") for name in headers)
