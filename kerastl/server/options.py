"""The options of a server."""

from dataclasses import dataclass

from kerastl.server.batching import BatchingParameters
from kerastl.server.metrics import PATH
from kerastl.server.page.web_runtime import WebRuntime


@dataclass(frozen=True)
class ServerOptions:
    """host: address to bind to. port, rest_api_port: of gRPC and REST; 0: without. metrics_path: where Prometheus
    reads; empty: nowhere. batching: of requests, if any. max_request_mb: the largest request. timeout: seconds until a
    request is given up. threads: that answer requests. all_or_nothing: a row that cannot be computed fails its whole
    request, as in TF Serving. trust: load graphs that could do more than compute. file_system_poll_wait_seconds:
    between two looks at the folders; 0: one look, at the start. model_config_file_poll_wait_seconds: between two
    readings of the config; 0: one. warm_up: run a version's warm-up requests before it answers. record: the folder
    in which the page may save labelled images; empty: it may not. web_runtime: with which the page runs TFLite
    files in the browser, if any. isolate: decode the images of clients in processes with limits."""

    host: str = "127.0.0.1"
    port: int = 8500
    rest_api_port: int = 8501
    metrics_path: str = PATH
    batching: BatchingParameters | None = None
    max_request_mb: int = 64
    timeout: float = 30.0
    threads: int = 64
    all_or_nothing: bool = False
    trust: bool = False
    file_system_poll_wait_seconds: float = 1.0
    model_config_file_poll_wait_seconds: float = 0.0
    warm_up: bool = True
    record: str = ""
    web_runtime: WebRuntime | None = None
    isolate: bool = False
