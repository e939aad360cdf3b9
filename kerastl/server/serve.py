"""`kerastl serve`: what a path names, and the options of the server."""

import logging
import sys
from pathlib import Path

from kerastl.errors import ModelError, OptionError
from kerastl.files import is_file, model_path
from kerastl.inputs.isolation import check_mode, is_possible
from kerastl.server.batching import DEFAULTS
from kerastl.server.config import Model, Policy, read_batching, read_models, read_monitoring
from kerastl.server.memory import keep_imports
from kerastl.server.metrics import PATH
from kerastl.server.options import ServerOptions
from kerastl.server.page.web_runtime import find_runtime
from kerastl.server.server import ServerResult, serve_models
from kerastl.server.version_folders import has_versions, version_of
from kerastl.versions.folder import VERIFY, is_version
from kerastl.versions.saved_graph import FILE

LARGEST_MB = 2047  # of a message of gRPC
LONGEST = 10 * 365 * 86_400  # seconds


def serve(path: str | Path | None = None, *, model_config_file: str | None = None, host: str = "127.0.0.1",
          port: int = 8500, rest_api_port: int = 8501, monitoring_config_file: str | None = None,
          enable_batching: bool = False, batching_parameters_file: str | None = None, max_request_mb: int = 64,
          rest_api_timeout_in_ms: int = 30_000, file_system_poll_wait_seconds: float = 1.0,
          model_config_file_poll_wait_seconds: float = 0.0, all_or_nothing: bool = False, record: str | None = None,
          trust: bool = False, web_runtime: str | None = None, isolate: str = "auto") -> ServerResult:
    """Serve models by TF Serving's protocols until the process is stopped by SIGINT or SIGTERM.

    path: a model (the folder of its versions), a version, or a folder of models; of kerastl or any SavedModel.
    model_config_file: the models, as TF Serving's text format has them, instead of a path. port, rest_api_port: of gRPC
    and REST; 0: without. monitoring_config_file: where Prometheus reads; default: `/monitoring/prometheus/metrics`.
    batching_parameters_file: rows of several requests are computed together; enable_batching: the same with defaults.
    all_or_nothing: one row that cannot be computed fails its request, as in TF Serving. trust: also load graphs that
    could read or write files. record: the folder in which the page may save labelled images. web_runtime: the
    folder in which npm installed LiteRT for browsers, with which the page also runs the TFLite file itself; default:
    where `make web` puts it. isolate: whether the images of clients are decoded in processes with limits, for models
    that kerastl wrote; `auto`: on Linux. The seconds are between two looks at the folders, and two readings of the
    config file.

    Raises ModelError where nothing can be served, OptionError for options that cannot be used.
    """
    if (path is None) == (model_config_file is None):
        raise OptionError("both a path and `model_config_file` are set" if path is not None else "no model is named",
                          "a path or `model_config_file`", "kerastl serve saved_models/NAME")
    for name, value in (("port", port), ("rest_api_port", rest_api_port)):
        if not 0 <= value < 65536:
            raise OptionError(f"`{name}` is {value}", "a port from 1 to 65535, or 0 for none")
    if not port and not rest_api_port:
        raise OptionError("`port` and `rest_api_port` are both 0", "at least one of them", "omit one")
    if not 1 <= max_request_mb <= LARGEST_MB or rest_api_timeout_in_ms < 1:
        raise OptionError(f"`max_request_mb` must be 1 to {LARGEST_MB}, and `rest_api_timeout_in_ms` at least 1 (got "
                          f"{max_request_mb}, {rest_api_timeout_in_ms})")
    for name, seconds in (("file_system_poll_wait_seconds", file_system_poll_wait_seconds),
                          ("model_config_file_poll_wait_seconds", model_config_file_poll_wait_seconds)):
        if not 0 <= seconds <= LONGEST:
            raise OptionError(f"`{name}` is {seconds}", f"seconds from 0 to {LONGEST:,}; 0: once, at the start")
    check_mode(isolate)
    batching = read_batching(batching_parameters_file) if batching_parameters_file else \
        DEFAULTS if enable_batching else None
    options = ServerOptions(
        host=host, port=port, rest_api_port=rest_api_port,
        metrics_path=read_monitoring(monitoring_config_file) if monitoring_config_file else PATH, batching=batching,
        max_request_mb=max_request_mb, timeout=rest_api_timeout_in_ms / 1000,
        threads=max(64, 2 * batching.rows if batching else 0), all_or_nothing=all_or_nothing, trust=trust,
        record=record or "", web_runtime=find_runtime(web_runtime),
        isolate=isolate != "off" and is_possible(), file_system_poll_wait_seconds=file_system_poll_wait_seconds,
        model_config_file_poll_wait_seconds=model_config_file_poll_wait_seconds)
    _log_to_stderr()
    keep_imports()
    if model_config_file is not None:
        config = model_config_file
        return serve_models(read_models(config), options, reread=lambda: read_models(config))
    return serve_models(models_at(model_path(str(path))), options)


def models_at(path: Path) -> tuple[Model, ...]:
    """The models that a path names. Raises ModelError where there are none, or one has a name that is no text."""
    models = _models_at(path.absolute())
    for model in models:
        if model.name.encode("utf-8", "replace").decode() != model.name:
            raise ModelError(f"the name of the model {model.name!r} is not UTF-8", "a name that a client can send",
                             "rename the folder")
    return models


def _models_at(path: Path) -> tuple[Model, ...]:
    if not path.is_dir():
        raise ModelError(f"{path}: {'this is a file' if path.exists() else 'no such path'}",
                         "a model, a version, or a folder of models", "list them: ls saved_models")
    if is_file(path / FILE):
        if (number := version_of(path.name)) is not None:
            return (Model(path.parent.name, path.parent, Policy("specific", versions=(number,))),)
        return (Model(path.name, path, version=1),)
    if has_versions(path):
        return (Model(path.name, path),)
    models = tuple(Model(folder.name, folder) for folder in sorted(path.iterdir())
                   if folder.is_dir() and has_versions(folder))
    if not models:
        for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
            if is_version(folder):
                raise ModelError(f"{folder} is damaged: {FILE} is missing", "the files as they were written", VERIFY)
        raise ModelError(f"{path} contains no model", "a folder NAME/VERSION/saved_model.pb", "make one: kerastl run")
    return models


def _log_to_stderr() -> None:
    """What happens is logged to standard error; requests one JSON object a line."""
    log = logging.getLogger("kerastl.serve")
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns that its sessions are deprecated
