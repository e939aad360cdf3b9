"""Serve models by TF Serving's protocols, REST and gRPC."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
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
    json: bool = False  # print the number of requests as one JSON document at the end


def run(config: Config) -> "ServerResult":
    """Serve until SIGINT or SIGTERM."""
    from dataclasses import asdict

    from kerastl.server.serve import serve

    return serve(**{name: value for name, value in asdict(config).items() if name != "json"})


def show(result: "ServerResult") -> str:
    """How many requests were answered."""
    return f"answered {result.requests:,} requests"
