"""The configuration files of TF Serving: models, batching and monitoring, in protobuf's text format."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from kerastl.errors import OptionError
from kerastl.files import is_mirrored, is_remote, local_path, read_text
from kerastl.server.batching import BatchingParameters
from kerastl.server.metrics import PATH

ALL, LATEST, SPECIFIC = "all", "latest", "specific"
PLATFORM = "tensorflow"
LARGEST_VERSION = 2**63 - 1
WRAPPED = {"max_batch_size": "Int64Value", "batch_timeout_micros": "Int64Value", "max_enqueued_batches": "Int64Value",
           "num_batch_threads": "Int64Value", "thread_pool_name": "StringValue",
           "enable_large_batch_splitting": "BoolValue", "max_execution_batch_size": "Int64Value"}
NUMBERS = {"max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "num_batch_threads": 1,
           "max_execution_batch_size": 0}  # least
PLACE = re.compile(r"/[\w.-]+(/[\w.-]+)*", re.ASCII)  # where metrics can be read
OWN = ("/v1", "/kerastl")  # paths that have another meaning
MODELS, BATCHING, MONITORING = "model_config_file", "batching_parameters_file", "monitoring_config_file"


@dataclass(frozen=True)
class Policy:
    """Which versions are served: `latest`, the highest `count`; `all`; or `specific`, those in `versions`."""

    kind: str = LATEST
    count: int = 1
    versions: tuple[int, ...] = ()

    def wanted(self, present: list[int]) -> list[int]:
        """The versions to serve of those that are present, in ascending order."""
        if self.kind == ALL:
            return sorted(present)
        if self.kind == SPECIFIC:
            return sorted({*present} & {*self.versions})
        return sorted(present)[-self.count:]


@dataclass(frozen=True)
class RequestLogging:
    """A sample of requests and answers is written to files that begin with `prefix`. rate: the share of requests."""

    prefix: str
    rate: float


@dataclass(frozen=True)
class Model:
    """A model to serve. path: the folder of its versions; or of a single one, where `version` is its number. labels:
    names of versions."""

    name: str
    path: Path
    policy: Policy = Policy()
    labels: tuple[tuple[str, int], ...] = ()
    logging: RequestLogging | None = None
    version: int | None = None


def read_models(path: str) -> tuple[Model, ...]:
    """The models of a model config file. Raises OptionError where it cannot be read."""
    message = model_server_config_pb2.ModelServerConfig()
    _parse(path, MODELS, message, "model_config_list { config { name: 'NAME' base_path: '/PATH' model_platform: "
           "'tensorflow' } }")
    return models_of(message, path, remote=True)


def models_of(message: Any, source: str, *, remote: bool = False) -> tuple[Model, ...]:
    """The models of a `ModelServerConfig`. remote: whether a base_path may be a URL, which it may not where a client
    sent the message: nothing that a client sends makes the server fetch anything. Raises OptionError for one that
    cannot be served."""
    if message.WhichOneof("config") != "model_config_list":
        raise OptionError(f"{source} has no model_config_list", "a list of models", "see docs/how-to/serve.md")
    models = tuple(_model(config, source, remote) for config in message.model_config_list.config)
    names = [model.name for model in models]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise OptionError(f"{source} has several models named {', '.join(repeated)}", "a name for each model",
                          "rename them")
    return models


def _model(config: Any, source: str, remote: bool) -> Model:
    if not config.name or not config.base_path:
        raise OptionError(f"{source} has a model without {'a name' if not config.name else 'a base_path'}",
                          "name and base_path for each model", "add it")
    _check_path(config.base_path, f"{source}: the base_path of {config.name}")
    if config.model_platform not in ("", PLATFORM):
        raise OptionError(f"{source}: the model_platform of {config.name} is {config.model_platform!r}",
                          repr(PLATFORM), "other platforms cannot be served")
    path, local = Path(config.base_path), config.base_path.startswith("/")
    if not remote and is_mirrored(path):
        raise OptionError(f"{source}: the base_path of {config.name} is in the cache of remote files", "a local folder",
                          "name remote models where the server is started")
    if not local and not (remote and is_remote(config.base_path)):
        raise OptionError(f"{source}: the base_path of {config.name} is {config.base_path!r}", "an absolute path"
                          + " or a URL" * remote, "write the whole path")
    return Model(config.name, path if local else local_path(config.base_path), _policy(config, source),
                 tuple(config.version_labels.items()), _logging(config, source))


def _check_path(path: str, argument: str) -> None:
    if "\0" in path:
        raise OptionError(f"{argument} is {path!r}", "a path, in which no zero byte can be", "correct it")


def _policy(config: Any, source: str) -> Policy:
    chosen = config.model_version_policy.WhichOneof("policy_choice")
    if chosen == ALL:
        return Policy(ALL)
    if chosen == SPECIFIC:
        versions = tuple(config.model_version_policy.specific.versions)
        if not versions:
            raise OptionError(f"{source}: the model_version_policy of {config.name} names no versions",
                              "specific { versions: N }", "add the versions")
        return Policy(SPECIFIC, versions=versions)
    return Policy(LATEST, max(1, config.model_version_policy.latest.num_versions))


def _logging(config: Any, source: str) -> RequestLogging | None:
    if not config.HasField("logging_config"):
        return None
    rate, prefix = config.logging_config.sampling_config.sampling_rate, \
        config.logging_config.log_collector_config.filename_prefix
    if not prefix:
        raise OptionError(f"{source}: the logging_config of {config.name} has no filename_prefix",
                          "log_collector_config { filename_prefix: '/PATH/NAME' }", "add it")
    _check_path(prefix, f"{source}: the filename_prefix of {config.name}")
    if not 0 <= rate <= 1:
        raise OptionError(f"{source}: the sampling_rate of {config.name} is {rate}", "a number from 0 to 1",
                          "change it")
    return RequestLogging(prefix, rate)


def read_batching(path: str) -> BatchingParameters:
    """The parameters of a batching parameters file. Raises OptionError where it cannot be read or they contradict each
    other."""
    message = _message("BatchingParameters", WRAPPED, {"allowed_batch_sizes": "int64s",
                                                       "pad_variable_length_inputs": "bool"})
    _parse(path, BATCHING, message, "max_batch_size { value: 32 } batch_timeout_micros { value: 1000 }")
    numbers = {name: getattr(message, name).value for name in NUMBERS if message.HasField(name)}
    parameters = BatchingParameters(**numbers, allowed_batch_sizes=tuple(message.allowed_batch_sizes),
                                    pad_variable_length_inputs=message.pad_variable_length_inputs,
                                    enable_large_batch_splitting=message.enable_large_batch_splitting.value)
    sizes, most = parameters.allowed_batch_sizes, parameters.max_execution_batch_size
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != parameters.rows):
        raise OptionError(f"{path}: allowed_batch_sizes is {list(sizes)}, max_batch_size is "
                          f"{parameters.max_batch_size}", "ascending sizes, the last of which is max_batch_size, or "
                          "max_execution_batch_size where that is set", "change one of them")
    if most and (most > parameters.max_batch_size or not parameters.enable_large_batch_splitting):
        raise OptionError(f"{path}: max_execution_batch_size is {most}, max_batch_size is {parameters.max_batch_size}",
                          "at most max_batch_size, with enable_large_batch_splitting { value: true }",
                          "change one of them")
    for name, least in NUMBERS.items():
        if getattr(parameters, name) < least:
            raise OptionError(f"{path}: {name} is {getattr(parameters, name)}", f"at least {least}", "change it")
    return parameters


def read_monitoring(path: str) -> str:
    """The path at which metrics are served, by a monitoring config file; empty where they are not. Raises OptionError
    where it cannot be read."""
    inner = _message("PrometheusConfig", {}, {"enable": "bool", "path": "string"})
    message = _message("MonitoringConfig", {}, {}, {"prometheus_config": inner})
    _parse(path, MONITORING, message, f"prometheus_config {{ enable: true path: '{PATH}' }}")
    if not message.prometheus_config.enable:
        return ""
    served = message.prometheus_config.path or PATH
    if not PLACE.fullmatch(served) or served.lower().startswith(OWN):
        raise OptionError(f"{path}: the path of prometheus_config is {served!r}", "a path that begins with /, of "
                          f"letters, digits, ., - and _, other than {', '.join(OWN)}", "change it")
    return str(served)


def _parse(path: str, argument: str, message: Any, example: str) -> None:
    try:
        text_format.Parse(read_text(path), message)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"`{argument}` is {path!r}: {getattr(error, 'strerror', None) or error}",
                          "a readable text file", "check the path") from error
    except text_format.ParseError as error:
        raise OptionError(f"{path} cannot be parsed: {error}", f"protobuf's text format, such as {example}",
                          "correct this place") from error


def _message(name: str, wrapped: dict[str, str], plain: dict[str, str], inner: dict[str, Any] | None = None) -> Any:
    """An empty message of a type that TF Serving defines and its Python package does not contain."""
    kinds = descriptor_pb2.FieldDescriptorProto
    types = {"int64s": kinds.TYPE_INT64, "bool": kinds.TYPE_BOOL, "string": kinds.TYPE_STRING}
    file = descriptor_pb2.FileDescriptorProto(name=f"kerastl/{name}.proto", package="kerastl.serving",
                                              syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name])
    made = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(plain.items(), 1):
        label = kinds.LABEL_REPEATED if kind == "int64s" else kinds.LABEL_OPTIONAL
        made.field.add(name=field, number=number, type=types[kind], label=label)
    for number, (field, kind) in enumerate(wrapped.items(), 100):
        made.field.add(name=field, number=number, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
                       type_name=f".google.protobuf.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    for number, (field, message) in enumerate((inner or {}).items(), 200):
        pool.AddSerializedFile(message.DESCRIPTOR.file.serialized_pb)
        file.dependency.append(message.DESCRIPTOR.file.name)
        made.field.add(name=field, number=number, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
                       type_name=f".{message.DESCRIPTOR.full_name}")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kerastl.serving.{name}"))()
