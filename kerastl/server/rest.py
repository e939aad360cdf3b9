"""The REST API, with the paths, formats and status codes of TF Serving."""

import asyncio
import json
import logging
import re
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import numpy as np
from aiohttp import web
from google.protobuf import json_format

from kerastl.server import bodies
from kerastl.server.config import LARGEST_VERSION
from kerastl.server.core import Core, Spec
from kerastl.server.grpc_messages import metadata_response, spec_of, status_response
from kerastl.server.hosts import check_request
from kerastl.server.metrics import LATENCY, REQUESTS
from kerastl.server.request_log import of_arrays, of_examples
from kerastl.server.served import Served
from kerastl.server.status import FAULT, Code, ServingError, invalid
from kerastl.server.tensors import written

NAME = r"([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?"
PREDICT = re.compile(rf"/v1/models/{NAME}:(classify|regress|predict)", re.IGNORECASE)
STATUS = re.compile(rf"/v1/models(?:/{NAME})?(?:/(metadata))?", re.IGNORECASE)
log, access = logging.getLogger("kerastl.serve"), logging.getLogger("kerastl.serve.access")


@dataclass
class Request:
    """What is known of a request for the access log and the metrics."""

    model: str = ""
    method: str = ""
    version: int | None = None
    rows: int | None = None


class Rest:
    """The handler of `/v1/...`. threads: that compute; a GET, such as a health check, does not wait for them. timeout:
    seconds until a request is given up."""

    def __init__(self, core: Core, threads: Executor, timeout: float) -> None:
        self._core, self._threads, self._timeout = core, threads, timeout

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request; errors are JSON too."""
        start, about = time.perf_counter(), Request()
        code, text, status = Code.OK, "", 0
        try:
            check_request(request)
            async with asyncio.timeout(self._timeout):  # also of the body, which a client may send slowly
                body = await request.read()
                asked = request.method, request.rel_url.raw_path, body, about
                text = self._answer(*asked) if request.method == "GET" else \
                    await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, *asked)
        except ServingError as error:
            code, text = error.code, bodies.error_body(error.message)
        except TimeoutError:
            code, text = Code.DEADLINE_EXCEEDED, bodies.error_body(f"no answer within {self._timeout:g} seconds")
        except web.HTTPRequestEntityTooLarge as error:
            code, status = Code.INVALID_ARGUMENT, error.status
            text = bodies.error_body("the request is larger than the server takes (its option `max_request_mb`): "
                                     f"{error.text}")
        except (web.RequestPayloadError, ConnectionError) as error:  # also of a client that is gone
            code = Code.INVALID_ARGUMENT
            text = bodies.error_body(f"the body cannot be read: {' '.join(str(error).split())}")
        except Exception:  # a fault of the server's own: the request fails, the others go on
            log.exception("the request failed")
            code, text = Code.INTERNAL, bodies.error_body(FAULT)
        name = self._core.counted(about.model)
        self._core.metrics.count(REQUESTS, model_name=name, status=code.name)
        if code is Code.OK and about.method:
            self._core.metrics.observe(LATENCY, 1e6 * (time.perf_counter() - start), model_name=name,
                                       API=about.method, entrypoint="REST")
        return self._logged(request, about, start, web.Response(
            body=text.encode(), status=status or code.http, headers={"Content-Type": "application/json"}))

    def _logged(self, request: web.Request, about: Request, start: float, response: web.Response) -> web.Response:
        access.info(json.dumps({
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "client": request.remote, "method": request.method,
            "path": request.rel_url.raw_path, "model": about.model, "version": about.version, "rows": about.rows,
            "status": response.status, "milliseconds": round(1000 * (time.perf_counter() - start), 2),
            "bytes": request.content_length}))
        return response

    def _answer(self, method: str, path: str, body: bytes, about: Request) -> str:
        if method == "POST" and (match := PREDICT.fullmatch(path)):
            about.model, about.method = unquote(match[1]), match[4].lower()
            spec = _spec(match)
            if about.method == "predict":
                return self._predict(spec, body, about)
            return self._examples(spec, body, about)
        if method == "GET" and (match := STATUS.fullmatch(path)):
            if match[1] is None:
                raise invalid("Missing model name in request.")
            spec = _spec(match)
            about.model = spec.name
            return self._metadata(spec) if match[4] else self._status(spec)
        raise invalid(f"Malformed request: {method} {path}")

    def _predict(self, spec: Spec, body: bytes, about: Request) -> str:
        rows, inputs = True, bodies.Arrays()

        def read(served: Served) -> tuple[str, bodies.Arrays]:
            nonlocal rows, inputs
            about.version = served.version
            request = bodies.predict_body(body, lambda name: {
                key: tensor.dtype for key, tensor in served.model.signature(name).inputs.items()})
            rows, inputs = request.rows, request.inputs
            about.rows = len(next(iter(request.inputs.values()))) if rows else None
            return request.signature, request.inputs

        # in columns there is no place for the error of a row
        answer = self._core.predict(spec, read, partial=True)
        if answer.errors and not rows:
            listed = "; ".join(f"row {row}: {message}" for row, message in sorted(answer.errors.items()))
            raise invalid(listed)
        self._core.log(answer.served, answer.signature, lambda: of_arrays(
            spec_of(answer.served, answer.signature), inputs, answer.outputs, answer.errors))
        return bodies.answer_body(answer.outputs, rows, answer.errors)

    def _examples(self, spec: Spec, body: bytes, about: Request) -> str:
        signature, examples = bodies.examples_body(body)
        if about.method == "classify":
            served, result = self._core.classify(spec, signature, examples)
            if not result.classifications:
                raise invalid("Cannot convert empty ClassificationResults to JSON")
            rows = ["[" + ", ".join(f"[{json.dumps(entry.label, ensure_ascii=False)}, {_decimal(entry.score)}]"
                                    for entry in row.classes) + "]" for row in result.classifications]
        else:
            served, result = self._core.regress(spec, signature, examples)
            if not result.regressions:
                raise invalid("Cannot convert empty RegressionResults to JSON")
            rows = [_decimal(entry.value) for entry in result.regressions]
        about.version, about.rows = served.version, len(rows)
        self._core.log(served, signature, lambda: of_examples(about.method, spec_of(served, signature), examples,
                                                              result))
        return bodies.results_body(rows)

    def _status(self, spec: Spec) -> str:
        message = status_response(self._core.models.status(spec.name, spec.version, spec.label))
        return json_format.MessageToJson(message, always_print_fields_with_no_presence=True,
                                         preserving_proto_field_name=True)

    def _metadata(self, spec: Spec) -> str:
        with self._core.models.lease(spec.name, spec.version, spec.label) as served:
            response, signatures = metadata_response(served)
        options: dict[str, Any] = {"always_print_fields_with_no_presence": True, "preserving_proto_field_name": True}
        document = {"model_spec": json_format.MessageToDict(response.model_spec, **options),
                    "metadata": {"signature_def": json_format.MessageToDict(signatures, **options)}}
        return json.dumps(document, indent=1)


def _spec(match: re.Match[str]) -> Spec:
    version = match[2]
    if version is not None and int(version) > LARGEST_VERSION:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return Spec(unquote(match[1]), None if version is None else int(version),
                None if match[3] is None else unquote(match[3]))


def _decimal(value: float) -> str:
    return written(np.array(value, np.float32))


