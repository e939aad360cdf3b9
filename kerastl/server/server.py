"""Starts the server, looks at the folders from time to time, and stops without dropping a request."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from kerastl.errors import ModelError, OptionError
from kerastl.inputs.isolation.limits import Limits
from kerastl.inputs.isolation.workers import Workers
from kerastl.server.config import Model
from kerastl.server.core import Core
from kerastl.server.drift_gauges import all_gauges
from kerastl.server.grpc_services import ModelService, Parsing, PredictionService
from kerastl.server.hosts import LOCAL, check_request, is_local
from kerastl.server.metrics import REQUESTS, Metrics
from kerastl.server.models import Models
from kerastl.server.options import ServerOptions
from kerastl.server.page import Page, Recording
from kerastl.server.rest import Rest
from kerastl.server.served import State
from kerastl.server.status import ServingError

log = logging.getLogger("kerastl.serve")
SHORTEST = 0.05  # seconds between two looks at the folders
LEAST = 10.0  # seconds that a worker has for an image, though its request may have been given up by then
GRACE = 30.0  # seconds in which requests are finished at the end


@dataclass(frozen=True)
class ServerResult:
    """What a server did until it was stopped."""

    requests: int
    models: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def serve_models(models: Sequence[Model], options: ServerOptions, *,
                 reread: Callable[[], Sequence[Model]] | None = None,
                 stop: threading.Event | None = None, ready: Callable[[], None] | None = None) -> ServerResult:
    """Serve models until SIGINT or SIGTERM, or until `stop` is set. reread: the models of a config file that may have
    changed. ready: called when requests are answered.

    Raises ModelError where no model can be loaded, OptionError for an address that cannot be used.
    """
    metrics = Metrics()
    workers = Workers(Limits(seconds=max(LEAST, options.timeout))) if options.isolate else None
    try:
        return _serve(models, metrics, options, workers, reread, stop or threading.Event(), ready)
    finally:
        if workers is not None:
            workers.close()


def _serve(models: Sequence[Model], metrics: Metrics, options: ServerOptions, workers: Workers | None,
           reread: Callable[[], Sequence[Model]] | None, stop: threading.Event, ready: Callable[[], None] | None
           ) -> ServerResult:
    served = Models(models, metrics, trust=options.trust, batching=options.batching, warm_up=options.warm_up,
                    timeout=options.timeout, workers=workers)
    served.poll()
    _require_one(served)
    try:
        asyncio.run(_run(served, metrics, options, reread, stop, ready))
    finally:
        served.close()
    return ServerResult(int(metrics.total(REQUESTS)), served.names)


def _require_one(served: Models) -> None:
    """Raises ModelError where nothing can be served, with the reason."""
    reasons = []
    for name in served.names:
        try:
            statuses = served.status(name)
        except ServingError:
            reasons.append(f"{name}: no version with a saved_model.pb")
            continue
        if any(status.state is State.AVAILABLE for status in statuses):
            return
        reasons += [f"{name}, version {status.version}: {status.message}" for status in statuses]
    raise ModelError(f"no model can be served: {'; '.join(reasons)}", "a SavedModel", "see kerastl verify MODEL")


async def _run(served: Models, metrics: Metrics, options: ServerOptions,
               reread: Callable[[], Sequence[Model]] | None, stop: threading.Event, ready: Callable[[], None] | None
               ) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    installed = _stop_at_signals(loop, ended)
    core = Core(served, metrics, most_bytes=options.max_request_mb * 2**20, all_or_nothing=options.all_or_nothing)
    with ThreadPoolExecutor(options.threads, "request") as threads:
        runner = await _start_rest(core, metrics, options, threads) if options.rest_api_port else None
        rpc = await _start_grpc(core, options, threads) if options.port else None
        if ready:
            ready()
        watching = threading.Event()
        watcher = threading.Thread(target=_watch, args=(served, options, reread, watching), daemon=True)
        watcher.start()
        try:
            while not ended.is_set() and not stop.is_set():
                try:
                    await asyncio.wait_for(ended.wait(), 0.2)
                except TimeoutError:
                    pass
        finally:
            log.info("stopping: requests in flight are finished first")
            watching.set()
            await asyncio.gather(*([rpc.stop(GRACE)] if rpc else []), *([runner.cleanup()] if runner else []))
            for number in installed:
                loop.remove_signal_handler(number)
            await loop.run_in_executor(None, watcher.join)


def _stop_at_signals(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> list[int]:
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [int(signal.SIGINT), int(signal.SIGTERM)]
    for number in numbers:
        loop.add_signal_handler(number, ended.set)
    return numbers


async def _start_rest(core: Core, metrics: Metrics, options: ServerOptions, threads: ThreadPoolExecutor
                      ) -> web.AppRunner:
    app = web.Application(client_max_size=options.max_request_mb * 2**20)
    try:
        app[LOCAL] = is_local(options.host)
    except OSError as error:
        raise OptionError(f"`host` is {options.host!r}: {error.strerror}", "an address or a name of this machine",
                          "omit it for loopback only, or 0.0.0.0 for all addresses") from error

    async def page(request: web.Request) -> web.Response:
        try:
            check_request(request)
        except ServingError as error:
            raise web.HTTPForbidden(text=error.message) from error
        gauges = await asyncio.get_running_loop().run_in_executor(None, all_gauges, core.models.served())
        return web.Response(text=metrics.page(gauges), content_type="text/plain")

    if options.metrics_path:
        app.router.add_get(options.metrics_path, page)
    Page(core.models, Recording(Path(options.record)) if options.record else None,
         options.web_runtime).add_to(app)
    app.router.add_route("*", "/{path:[vV]1/.*|[vV]1}", Rest(core, threads, options.timeout).handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GRACE, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.rest_api_port).start()
    except OSError as error:
        await runner.cleanup()
        raise OptionError(f"`rest_api_port` is {options.rest_api_port}, but {options.host} cannot be bound: "
                          f"{error.strerror}", "a free port", "choose another, or 0 for no REST server") from error
    place = f"http://{_bracketed(options.host)}:{options.rest_api_port}"
    log.info("REST at %s/v1/models/NAME:predict; open %s to try a model", place, place)
    return runner


async def _start_grpc(core: Core, options: ServerOptions, threads: ThreadPoolExecutor) -> Any:
    limit = options.max_request_mb * 2**20
    server = grpc.aio.server(interceptors=[Parsing(core.metrics)], options=[
        ("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(core, threads, limit), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core, threads, limit), server)
    host = _bracketed(options.host)
    try:
        bound = server.add_insecure_port(f"{host}:{options.port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise OptionError(f"`port` is {options.port}, but {options.host} cannot be bound", "a free port",
                          "choose another, or 0 for no gRPC server")
    await server.start()
    log.info("gRPC at %s:%d", host, bound)
    return server


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _watch(served: Models, options: ServerOptions, reread: Callable[[], Sequence[Model]] | None,
           ended: threading.Event) -> None:
    """Look for new versions, and for another config, until the end."""
    look, read = options.file_system_poll_wait_seconds, options.model_config_file_poll_wait_seconds if reread else 0.0
    periods = [seconds for seconds in (look, read) if seconds > 0]
    looked_at = read_at = time.monotonic()
    while periods and not ended.wait(max(min(periods), SHORTEST)):
        now = time.monotonic()
        try:
            if reread and 0 < read <= now - read_at:
                looked_at = read_at = now
                served.reload(reread())
            elif 0 < look <= now - looked_at:
                looked_at = now
                served.poll()
        except Exception as error:  # of any type: what is served goes on
            log.error("the models could not be looked for: %s", error)
