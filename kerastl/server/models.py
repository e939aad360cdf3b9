"""Which versions of which models are in memory, and which of them answers a request.

The folders are looked at again and again. A new version is loaded and warmed up before the old one is unloaded, which
waits for the requests that it is answering. One that does not load changes nothing, and is tried again once its files
have changed.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from kerastl.errors import KerastlError, one_line
from kerastl.server import loading
from kerastl.server.batching import Batcher, BatchingParameters
from kerastl.server.bodies import Arrays
from kerastl.server.config import Model
from kerastl.server.drift_gauges import DriftWindow, drift_window
from kerastl.server.metrics import LOAD_FAILURES, RUNTIME, VERSION, WARMUP, Metrics
from kerastl.server.request_log import RequestLog
from kerastl.server.signatures import SavedModel, Signature
from kerastl.server.status import Code, ServingError, invalid
from kerastl.versions.record import RunRecord
from kerastl.versions.saved_graph import FILE

log = logging.getLogger("kerastl.serve")
DRAIN = 60.0  # seconds for which unloading waits for requests that are being answered


class State(Enum):
    """Where a version is between being found and being gone, by TF Serving's numbers."""

    START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version. message: why it was not loaded; empty where nothing is wrong."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass
class Served:
    """A version in memory. drift: its last answers, where it has a reference to compare them with. timeout: seconds
    until a request has waited too long for its batch. requests: that it is answering."""

    name: str
    version: int
    folder: Path
    model: SavedModel
    record: RunRecord | None
    batcher: Batcher | None = None
    drift: DriftWindow | None = None
    metrics: Metrics | None = None
    timeout: float = 30.0
    requests: int = 0
    idle: threading.Condition = field(default_factory=threading.Condition)

    def run(self, signature: Signature, arrays: Arrays, wanted: Sequence[str] = ()) -> Arrays:
        """Outputs for checked inputs, those that are wanted or all. Raises ServingError."""
        start = time.perf_counter()
        if self.batcher is None or not signature.batches:
            outputs = signature.run(arrays, wanted)
        else:
            try:
                outputs = self.batcher.submit(signature, arrays).result(self.timeout)
            except TimeoutError as error:
                raise ServingError(Code.DEADLINE_EXCEEDED, f"no answer within {self.timeout:g} seconds") from error
            outputs = {name: outputs[name] for name in wanted} if wanted else outputs
        if self.metrics is not None:
            self.metrics.observe(RUNTIME, 1e6 * (time.perf_counter() - start), model_name=self.name, API="Predict",
                                 runtime="TF2")
        return outputs

    @contextmanager
    def leased(self) -> Iterator["Served"]:
        """While a request uses it, it is not unloaded."""
        try:
            yield self
        finally:
            with self.idle:
                self.requests -= 1
                self.idle.notify_all()

    def drained(self) -> None:
        """Wait until no request uses it, then end its batches."""
        with self.idle:
            self.idle.wait_for(lambda: not self.requests, DRAIN)
        if self.batcher:
            self.batcher.close()
        self.model.close()


class Models:
    """The models that are served. trust: load graphs that could do more than compute. batching: of requests, if any."""

    def __init__(self, models: Sequence[Model], metrics: Metrics, *, trust: bool = False,
                 batching: BatchingParameters | None = None, warm_up: bool = True, timeout: float = 30.0) -> None:
        self._models = {model.name: model for model in models}
        self._metrics, self._trust, self._batching, self._warm_up = metrics, trust, batching, warm_up
        self._timeout = timeout
        self._lock = threading.Lock()  # of what follows; held for moments only
        self._serving: dict[str, dict[int, Served]] = {}
        self._status: dict[str, dict[int, VersionStatus]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._failed: dict[Path, object] = {}  # what a version looked like that did not load
        self._logs: dict[str, RequestLog] = {}
        self._polling = threading.Lock()  # of one look at the folders at a time

    # Requests

    @contextmanager
    def lease(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Served]:
        """The version that answers a request: by number, by label, or the newest. Raises ServingError where there is
        none."""
        if not name:
            raise invalid("ModelSpec has no name specified.")
        with self._lock:
            if label is not None:
                version = self._version_of(name, label)
            loaded = self._serving.get(name, {})
            number = version if version is not None else max(loaded, default=None)
            served = loaded.get(number) if number is not None else None
            if served is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
            served.requests += 1
        with served.leased():
            yield served

    def _version_of(self, name: str, label: str) -> int:
        try:
            return self._labels.get(name, {})[label]
        except KeyError:
            raise invalid(f"Unrecognized servable version label: {label}") from None

    def status(self, name: str, version: int | None = None, label: str | None = None) -> list[VersionStatus]:
        """The states of a model's versions, the newest first, or of one of them. Raises ServingError where there is
        none."""
        with self._lock:
            if label is not None:
                version = self._version_of(name, label)
            known = self._status.get(name, {})
            if version is not None and version not in known:
                raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
            if not known:
                raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return [known[number] for number in (sorted(known, reverse=True) if version is None else [version])]

    def served(self) -> list[Served]:
        """What is in memory: by name, the newest version first."""
        with self._lock:
            return [loaded[version] for _, loaded in sorted(self._serving.items())
                    for version in sorted(loaded, reverse=True)]

    def log_of(self, name: str) -> RequestLog | None:
        """Where requests to a model are logged, if they are."""
        return self._logs.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all models, also of those that have no version in memory."""
        return tuple(self._models)

    # Versions

    def poll(self) -> None:
        """Look at the folders once, and load and unload what has to be."""
        with self._polling:
            for model in list(self._models.values()):
                self._update(model)

    def reload(self, models: Sequence[Model]) -> None:
        """Serve these models from now on. A label must name a version that is in memory then. Raises ServingError, also
        where a model has no version that loads."""
        with self._polling:
            for model in models:
                present = self._serving.get(model.name, {})
                for _, version in model.labels:
                    if version not in present and version not in model.policy.wanted(sorted(_found(model))):
                        raise ServingError(Code.FAILED_PRECONDITION, f"Request to assign label to version {version} of "
                                           f"model {model.name}, which is not currently available for inference")
            gone = self._models.keys() - {model.name for model in models}
            self._models = {model.name: model for model in models}
            for model in models:
                self._update(model)
            for name in gone:
                for version in list(self._serving.get(name, {})):
                    self._unload(name, version)
            failed = [model.name for model in models if not self._serving.get(model.name)]
            if failed:
                raise ServingError(Code.UNKNOWN, f"{len(failed)} servable(s) did not become available: "
                                   f"{'; '.join(map(self._why, failed))}")

    def _why(self, name: str) -> str:
        """Why a model has no version in memory."""
        reasons = [f"version {status.version}: {status.message}" for status in self._status.get(name, {}).values()
                   if status.message]
        return f"{name} ({', '.join(reasons) or 'no version with a saved_model.pb'})"

    def close(self) -> None:
        """Unload everything."""
        with self._polling:
            for name, loaded in list(self._serving.items()):
                for version in list(loaded):
                    self._unload(name, version)
            for log in self._logs.values():
                log.close()

    def _set_log(self, model: Model) -> None:
        log = self._logs.get(model.name)
        if (log.settings if log else None) == model.logging:
            return
        if model.logging:
            self._logs[model.name] = RequestLog(model.name, model.logging, self._metrics)
        else:
            self._logs.pop(model.name)
        if log:
            log.close()

    def _update(self, model: Model) -> None:
        self._set_log(model)
        try:
            present = _found(model)
        except OSError as error:  # a fault of the storage unloads nothing
            log.warning("%s: %s cannot be listed (%s); what is loaded stays", model.name, model.path, error.strerror)
            return
        wanted = model.policy.wanted(sorted(present))
        loaded = self._serving.get(model.name, {})
        for version in wanted:
            if version not in loaded:
                self._load(model.name, version, present[version])
        available = {*self._serving.get(model.name, {})}
        if not wanted or available & {*wanted}:  # the old version goes only when another one answers
            spare = sorted(available - {*wanted})
            missing = len({*wanted} - available)  # that do not load: as many others stay
            for version in spare[:len(spare) - missing] if missing else spare:
                self._unload(model.name, version)
        self._assign_labels(model)
        with self._lock:
            for version in [version for version in self._status.get(model.name, {}) if version not in present
                            and version not in self._serving.get(model.name, {})]:
                status = self._status[model.name][version]
                self._status[model.name][version] = VersionStatus(version, State.END, status.code, status.message)

    def _assign_labels(self, model: Model) -> None:
        with self._lock:
            available = self._serving.get(model.name, {})
            before = self._labels.get(model.name, {})
            self._labels[model.name] = {label: version if version in available else before[label]
                                        for label, version in model.labels if version in available or label in before}
        for label, version in model.labels:
            if version not in available:
                log.warning("%s: label %s names version %d, which is not loaded", model.name, label, version)

    def _set(self, name: str, status: VersionStatus) -> None:
        with self._lock:
            self._status.setdefault(name, {})[status.version] = status

    def _load(self, name: str, version: int, folder: Path) -> None:
        looks = _looks(folder)
        if self._failed.get(folder) == looks:
            return
        self._set(name, VersionStatus(version, State.LOADING))
        log.info("%s: loading version %d from %s", name, version, folder)
        start = time.perf_counter()
        try:
            model, record = loading.load(folder, self._trust)
            if self._warm_up:
                loading.warm_up(model, folder)
                self._metrics.observe(WARMUP, 1e6 * (time.perf_counter() - start), model_path=str(folder), status="OK")
        except Exception as error:  # of any type: a version can be broken in any way, and the others go on
            self._failed[folder] = looks
            message = error.line if isinstance(error, KerastlError) else one_line(error) or type(error).__name__
            code = error.code if isinstance(error, ServingError) else Code.FAILED_PRECONDITION \
                if isinstance(error, KerastlError) else Code.UNKNOWN
            self._set(name, VersionStatus(version, State.END, code, message))
            self._metrics.count(LOAD_FAILURES, model_name=name, version=str(version))
            log.error("%s: version %d does not load, and is not served: %s", name, version, message)
            return
        self._failed.pop(folder, None)
        batcher = Batcher(self._batching, lambda signature, arrays: signature.run(arrays)) if self._batching else None
        served = Served(name, version, folder, model, record, batcher, drift_window(name, version, folder, record),
                        self._metrics, self._timeout)
        with self._lock:
            self._serving.setdefault(name, {})[version] = served
            self._status.setdefault(name, {})[version] = VersionStatus(version, State.AVAILABLE)
        self._metrics.set(VERSION, 1, model_name=name, version=str(version))
        log.info("%s: serving version %d, loaded in %.1f s", name, version, time.perf_counter() - start)

    def _unload(self, name: str, version: int) -> None:
        with self._lock:
            served = self._serving[name].pop(version)
            self._status[name][version] = VersionStatus(version, State.UNLOADING)
        served.drained()
        self._set(name, VersionStatus(version, State.END))
        self._metrics.set(VERSION, 0, model_name=name, version=str(version))
        log.info("%s: unloaded version %d", name, version)


def _found(model: Model) -> Mapping[int, Path]:
    """The versions in a model's folder that are complete enough to be loaded. Raises OSError."""
    if model.version is not None:
        return {model.version: model.path}
    found = {}
    for folder in model.path.iterdir():
        if folder.name.isdigit() and (folder / FILE).is_file():
            found[int(folder.name)] = folder
    return found


def _looks(folder: Path) -> object:
    """What changes when the files of a version do."""
    looks = []
    with suppress(OSError):
        for path in sorted(folder.rglob("*")):
            stat = path.stat()
            looks.append((str(path), stat.st_size, stat.st_mtime_ns))
    return looks
