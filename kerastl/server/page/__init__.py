"""The page on which a model can be tried: its files, and what it asks the server for.

Everything comes from this server: no script, font or image is loaded from elsewhere.
"""

import secrets
import unicodedata
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from kerastl.files import read_bytes, write_atomically
from kerastl.server.hosts import check_request
from kerastl.server.models import Models
from kerastl.server.page.in_browser import VOCABULARY, in_browser, tflite_file
from kerastl.server.page.web_runtime import SCRIPT, WebRuntime
from kerastl.server.served import Served
from kerastl.server.status import ServingError
from kerastl.versions.damage import file_of

FOLDER = Path(__file__).parent
FILES = {"/": ("page.html", "text/html"), "/kerastl/page.css": ("page.css", "text/css"),
         **{f"/kerastl/{name}": (name, "text/javascript")
            for name in ("page.js", "in_browser.js", "orientation.js", "pixels.js", "tokens.js")}}
KINDS = {".js": "text/javascript", ".wasm": "application/wasm"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
          "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
WASM = "'wasm-unsafe-eval'"  # LiteRT is WebAssembly; scripts still may not evaluate text
FIXED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
EXPLAIN = "explain"  # the signature of models whose maps are exact
REPORT, CARD = "report.html", "MODEL_CARD.md"
LARGEST = 10 * 2**20  # bytes of a recorded image
MOST = 10_000  # images that are recorded
NAME_BYTES = 255  # of a folder's name, in most file systems


@dataclass
class Recording:
    """Where labelled images are recorded, DIR/label/NUMBER.jpg, as `kerastl run` reads them. token: that a request has
    to carry, so that only the page of this server can record."""

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    count: int = 0

    def save(self, label: str, content: bytes) -> Path:
        """Write an image under its label. Raises ValueError for a label that is no folder name, or an image that is
        none or too large, OSError where it cannot be written."""
        if (not label or label.startswith(".") or len(label) > 80 or len(label.encode()) > NAME_BYTES
                or not all(c in " -_" or unicodedata.category(c)[0] in "LMN" for c in label)):
            raise ValueError(f"a label has letters, digits, spaces, - and _, at most 80 of them and {NAME_BYTES} bytes")
        if not content.startswith(b"\xff\xd8\xff") or len(content) > LARGEST:
            raise ValueError("an image must be a JPEG of at most 10 MB")
        if self.count >= MOST:
            raise ValueError(f"{MOST:,} images are recorded, which is the limit of one session")
        folder = self.folder / label
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}.jpg"
        write_atomically(path, content)
        self.count += 1
        return path


class Page:
    """Serves the page and the documents of the models. recording: where labelled images are saved, if anywhere.
    runtime: with which the page runs TFLite files in the browser, if any."""

    def __init__(self, models: Models, recording: Recording | None = None, runtime: WebRuntime | None = None) -> None:
        self._models, self._recording, self._runtime = models, recording, runtime

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/kerastl/models", self._about)
        app.router.add_get("/kerastl/models/{name}/{version}/{document:report|card}", self._document)
        app.router.add_get("/kerastl/models/{name}/{version}/{file:tflite|vocabulary}", self._client_file)
        if self._runtime:
            app.router.add_get("/kerastl/litert/{name}", partial(self._runtime_file, self._runtime))
        if self._recording:
            app.router.add_post("/kerastl/record", partial(self._record, self._recording))

    async def _file(self, request: web.Request) -> web.Response:
        self._check(request)
        name, kind = FILES[request.path]
        policy = POLICY.replace("script-src 'self'", f"script-src 'self' {WASM}") if self._runtime else POLICY
        headers = {**FIXED, "Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(body=read_bytes(FOLDER / name), content_type=kind, charset="utf-8", headers=headers)

    async def _about(self, request: web.Request) -> web.Response:
        """The models with what the page needs to know of them."""
        self._check(request)
        document = {"models": [about(served, self._runtime) for served in self._models.served()],
                    "record": self._recording.token if self._recording else None}
        return web.json_response(document, headers={"Cache-Control": "no-store"})

    async def _document(self, request: web.Request) -> web.Response:
        self._check(request)
        report = request.match_info["document"] == "report"
        name = REPORT if report else CARD
        path = file_of(self._folder(request), name)
        if path is None:
            raise web.HTTPNotFound(text=f"{name} is not part of this version")
        return web.Response(body=read_bytes(path), charset="utf-8",
                            content_type="text/html" if report else "text/plain",
                            headers={"Content-Security-Policy": REPORT_POLICY, "X-Content-Type-Options": "nosniff"})

    async def _client_file(self, request: web.Request) -> web.FileResponse:
        """What a client needs to run a version by itself."""
        self._check(request)
        folder, name = self._folder(request), request.match_info["file"]
        path = tflite_file(folder) if name == "tflite" else file_of(folder, VOCABULARY)
        if path is None:
            raise web.HTTPNotFound(text=f"a {name} file is not part of this version")
        return web.FileResponse(path, headers={**FIXED, "Content-Type": "application/octet-stream"})

    async def _runtime_file(self, runtime: WebRuntime, request: web.Request) -> web.StreamResponse:
        self._check(request)
        name = request.match_info["name"]
        path = runtime.path(name)
        if path is None:
            raise web.HTTPNotFound(text=f"{name} is not part of the web runtime")
        kind = KINDS.get(path.suffix, "text/plain")
        if name == SCRIPT:
            return web.Response(text=runtime.script(), content_type=kind, headers=FIXED)
        return web.FileResponse(path, headers={**FIXED, "Content-Type": kind})

    def _folder(self, request: web.Request) -> Path:
        try:
            with self._models.lease(request.match_info["name"], int(request.match_info["version"])) as served:
                return served.folder
        except (ServingError, ValueError) as error:
            raise web.HTTPNotFound(text=str(error)) from error

    async def _record(self, recording: Recording, request: web.Request) -> web.Response:
        self._check(request)
        token = request.headers.get("X-Kerastl-Token", "").encode(errors="surrogateescape")
        if not secrets.compare_digest(token, recording.token.encode()):
            raise web.HTTPForbidden(text="the token is not that of this server")
        try:
            path = recording.save(request.query.get("label", "").strip(), await request.read())
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        except OSError as error:
            raise web.HTTPInsufficientStorage(text=f"the image cannot be saved: {error.strerror or error}") from error
        return web.json_response({"recorded": recording.count, "file": path.name})

    def _check(self, request: web.Request) -> None:
        try:
            check_request(request)
        except ServingError as error:
            raise web.HTTPForbidden(text=error.message) from error


def about(served: Served, runtime: WebRuntime | None = None) -> dict[str, Any]:
    """What the page needs to know of a version. runtime: as `Page` has it."""
    record = served.record
    inputs = served.model.signatures["serving_default"].inputs if "serving_default" in served.model.signatures else {}
    facts: dict[str, Any] = {
        "name": served.name, "version": served.version, "input": next(iter(inputs), ""), "modality": None,
        "classes": [], "explained": False, "report": file_of(served.folder, REPORT) is not None,
        "card": file_of(served.folder, CARD) is not None}
    if record is not None and record.large is None:
        found = record.explanations
        facts |= {
            "modality": record.modality.name, "classes": list(record.classes), "exclusive": record.task.exclusive,
            "accuracy": record.test.accuracy, "accuracy_ci95": list(record.test.accuracy_ci95),
            "n_test": record.test.n, "explained": found is not None and found.exact and not found.withheld
            and EXPLAIN in served.model.signatures,
            "rejects": record.rejection is not None and record.rejection.reject,
            "in_browser": in_browser(served.folder, record, runtime)}
    return facts
