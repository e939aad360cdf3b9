"""Serve models by TF Serving's protocols, REST and gRPC."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.errors import OptionError
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.server.capacity import Capacity
    from kerastl.server.server import ServerResult


@dataclass(frozen=True)
class Config:
    """Serve models by TF Serving's protocols, REST and gRPC, until the process is stopped."""

    path: Positional[str | None] = None  # saved_models/NAME, a version, or a folder of models; any SavedModel
    model_config_file: str | None = None  # TF Serving's list of models, instead of a path
    host: str = "127.0.0.1"  # address to bind to; 0.0.0.0 for all
    port: int = 8500  # gRPC port; 0 for none
    rest_api_port: int = 8501  # REST port; 0 for none
    monitoring_config_file: str | None = None  # TF Serving's file that says where Prometheus reads
    enable_batching: bool = False  # compute rows of several requests together
    batching_parameters_file: str | None = None  # TF Serving's file of batching parameters; enables batching
    max_request_mb: int = 64  # size of the largest request
    rest_api_timeout_in_ms: int = 30_000  # give up a REST request after this time
    file_system_poll_wait_seconds: float = 1.0  # time between two looks for new versions; 0: look once
    model_config_file_poll_wait_seconds: float = 0.0  # time between two readings of the config file; 0: read once
    all_or_nothing: bool = False  # one bad row fails the whole request, as in TF Serving
    record: str | None = None  # folder in which the page may save labelled images of the webcam
    web_runtime: str | None = None  # folder in which npm installed @litertjs/core, for the page; default: of `make web`
    trust: bool = False  # load a model even if its graph could read or write files: a model is a program
    isolate: str = "auto"  # decode clients' images in processes with limits: auto (on Linux), on or off
    benchmark: bool = False  # instead measure requests per second and latencies of the model, and stop
    benchmark_seconds: float = 3.0  # time for each number of clients and each protocol
    out: str | None = None  # with --benchmark, write a page with charts to this .html file
    json: bool = False  # print the number of requests, or the measurements, as one JSON document at the end


def check(config: Config) -> None:
    """Raises OptionError for a page that cannot be written, and for options of measurements without them."""
    for name in ("out", "benchmark_seconds"):
        if not config.benchmark and getattr(config, name) != getattr(Config, name):
            raise OptionError(f"`{name}` is set without `benchmark`", "measurements", "add --benchmark")
    if config.out is not None:
        from kerastl.report.page import page_file

        page_file(config.out, "out")


def run(config: Config) -> "ServerResult | Capacity":
    """Serve until SIGINT or SIGTERM, or measure."""
    options = asdict(config)
    own = {name: options.pop(name) for name in ("benchmark", "benchmark_seconds", "out", "json")}
    if own["benchmark"]:
        from kerastl.report.capacity import measure_capacity

        return measure_capacity(seconds=own["benchmark_seconds"], out=own["out"], **options)
    from kerastl.server.serve import serve

    return serve(**options)


def show(result: "ServerResult | Capacity") -> str:
    """How many requests were answered, or the measurements."""
    from kerastl.server.capacity import Capacity

    if not isinstance(result, Capacity):
        return f"answered {result.requests:,} requests"
    rows: list[tuple[str, ...]] = [("protocol", "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "errors")]
    rows += [(load.protocol, str(load.clients), f"{load.per_second:,.1f}",
              *("-" if value is None else f"{value:,.1f}" for value in (
                  load.milliseconds_p50, load.milliseconds_p90, load.milliseconds_p99)), str(load.errors))
             for load in result.loads]
    return "\n".join([table(rows), "", result.sentence, *result.errors])
