"""Which versions of which models are in memory, and which of them answers a request.

The folders are looked at again and again. A new version is loaded and warmed up before the old one is unloaded, which
waits for the requests that it is answering. One that does not load changes nothing, and is tried again once its files
have changed.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from kerastl.display import visible
from kerastl.errors import KerastlError
from kerastl.files import released, whole
from kerastl.inputs.isolation.workers import Workers
from kerastl.server import loading
from kerastl.server.batching import Batcher, BatchingParameters
from kerastl.server.client_images import client_images
from kerastl.server.config import LATEST, Model
from kerastl.server.drift_gauges import drift_window
from kerastl.server.memory import return_memory
from kerastl.server.metrics import LOAD_FAILURES, VERSION, WARMUP, Metrics
from kerastl.server.request_log import RequestLog
from kerastl.server.served import Served, State, VersionStatus
from kerastl.server.signatures import CODES
from kerastl.server.status import Code, ServingError, invalid
from kerastl.server.version_folders import graph_of, looks_of, versions_in

log = logging.getLogger("kerastl.serve")
MOST_WORDS = 1000  # characters of a message of TensorFlow's
RETRIES, RETRY = 5, 60.0  # how often a version that does not load is tried again, and after how many seconds


@dataclass(frozen=True)
class Failure:
    """A version that did not load. looks: of its files. tries: so far. again: when it is tried again, by
    `time.monotonic`."""

    looks: object
    tries: int
    again: float


class Models:
    """The models that are served. trust: load graphs that could do more than compute. batching: of requests, if any.
    workers: that decode the images of clients, if any."""

    def __init__(self, models: Sequence[Model], metrics: Metrics, *, trust: bool = False,
                 batching: BatchingParameters | None = None, warm_up: bool = True, timeout: float = 30.0,
                 workers: Workers | None = None) -> None:
        self._models = {model.name: model for model in models}
        self._metrics, self._trust, self._batching, self._warm_up = metrics, trust, batching, warm_up
        self._timeout, self._workers = timeout, workers
        self._lock = threading.Lock()  # of what follows; held for moments only
        self._serving: dict[str, dict[int, Served]] = {}
        self._status: dict[str, dict[int, VersionStatus]] = {}
        self._labels: dict[str, dict[str, int]] = {}
        self._failed: dict[Path, Failure] = {}
        self._notes: dict[str, set[str]] = {}  # what was said of a model at the last look
        self._logs: dict[str, RequestLog] = {}
        self._polling = threading.Lock()  # of one look at the folders at a time
        self._garbage = False  # whether a version was unloaded, or did not load, during this look

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
            self._return_memory()

    def reload(self, models: Sequence[Model]) -> None:
        """Serve these models from now on. A label must name a version that is in memory then. Raises ServingError, also
        where a model has no version that loads."""
        with self._polling:
            for model in models:
                loaded = self._serving.get(model.name, {})
                available = {*loaded, *(model.policy.wanted(sorted(self._present(model)[0] or ())))}
                for _, version in model.labels:
                    if version not in available:
                        raise ServingError(Code.FAILED_PRECONDITION, f"Request to assign label to version {version} of "
                                           f"model {model.name}, which is not currently available for inference")
            gone = self._models.keys() - {model.name for model in models}
            self._models = {model.name: model for model in models}
            for model in models:
                self._update(model)
            for name in gone:
                for version in list(self._serving.get(name, {})):
                    self._unload(name, version)
            self._return_memory()
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

    def _present(self, model: Model) -> tuple[dict[int, Path] | None, list[str]]:
        """The versions in a model's folder, None where it cannot be listed, and what has to be said of them."""
        try:
            return ({model.version: model.path}, []) if model.version is not None else versions_in(model.path)
        except OSError as error:
            return None, [f"{error.filename or model.path} cannot be read ({error.strerror}); what is loaded stays"]

    def _update(self, model: Model) -> None:
        self._set_log(model)
        present, notes = self._present(model)
        if present is None:  # a fault of the storage unloads nothing
            self._note(model.name, [*notes, *self._assign_labels(model)])
            return
        wanted = model.policy.wanted(sorted(present))
        notes += [f"version {version}, which the model_version_policy names, is not in {model.path}"
                  for version in model.policy.versions if version not in present]
        for version in wanted:
            served = self._serving.get(model.name, {}).get(version)
            if served is None or served.folder.parent != present[version].parent:
                self._load(model.name, version, present[version])
            elif graph_of(served.folder) not in (None, served.graph):
                notes.append(f"the files of version {version} have changed; the version that was loaded goes on. Write "
                             "each version into a folder of its own")
        notes += self._load_older(model, present, wanted)
        notes += self._assign_labels(model)  # before the versions go that they named
        available = {*self._serving.get(model.name, {})}
        if not wanted or available & {*wanted}:  # the old version goes only when another one answers
            spare = sorted(available - {*wanted})
            missing = len({*wanted} - available)  # that do not load: as many others stay
            for version in spare[:len(spare) - missing] if missing else spare:
                self._unload(model.name, version)
        self._note(model.name, notes)
        with self._lock:
            for version in [version for version in self._status.get(model.name, {}) if version not in present
                            and version not in self._serving.get(model.name, {})]:
                status = self._status[model.name][version]
                self._status[model.name][version] = VersionStatus(version, State.END, status.code, status.message)

    def _load_older(self, model: Model, present: Mapping[int, Path], wanted: Sequence[int]) -> list[str]:
        """Load the newest of the other versions where those that are wanted do not load, so that a server starts with
        what it would have gone on with. Returns what has to be said of it."""
        for version in sorted({*present} - {*wanted}, reverse=True):
            if model.policy.kind != LATEST or len(self._serving.get(model.name, {})) >= len(wanted):
                break
            self._load(model.name, version, present[version])
        broken = {*wanted} - {*self._serving.get(model.name, {})}
        return [f"version {version} answers in the place of one that does not load"
                for version in self._serving.get(model.name, {}) if broken and version not in wanted]

    def _note(self, name: str, notes: Iterable[str]) -> None:
        """Log what was not said at the last look."""
        before, self._notes[name] = self._notes.get(name, set()), {*notes}
        for note in sorted(self._notes[name] - before):
            log.warning("%s: %s", name, note)

    def _assign_labels(self, model: Model) -> list[str]:
        """Assign the labels of a model to versions in memory. Returns what has to be said of the others."""
        with self._lock:
            available = self._serving.get(model.name, {})
            before = self._labels.get(model.name, {})
            self._labels[model.name] = {label: version if version in available else before[label]
                                        for label, version in model.labels if version in available or label in before}
        return [f"label {label} names version {version}, which is not loaded"
                for label, version in model.labels if version not in available]

    def _set(self, name: str, status: VersionStatus) -> None:
        with self._lock:
            self._status.setdefault(name, {})[status.version] = status

    def _load(self, name: str, version: int, folder: Path) -> None:
        looks, failure = looks_of(folder), self._failed.get(folder)
        if failure and failure.looks == looks and (failure.tries > RETRIES or time.monotonic() < failure.again):
            return
        before = self._serving.get(name, {}).get(version)  # the same number in another folder, which answers meanwhile
        if before is None:
            self._set(name, VersionStatus(version, State.LOADING))
        log.info("%s: loading version %d from %s", name, version, folder)
        start = time.perf_counter()
        try:
            graph = graph_of(whole(folder))
            model, record = loading.load(folder, self._trust)
            try:
                images = client_images(record, folder, self._workers)
                if self._warm_up:
                    loading.warm_up(model, folder)
            except BaseException:
                model.close()
                raise
            if self._warm_up:
                self._metrics.observe(WARMUP, 1e6 * (time.perf_counter() - start), model_path=str(folder), status="OK")
        except Exception as error:  # of any type: a version can be broken in any way, and the others go on
            self._release(folder)
            self._garbage = True
            tries = failure.tries + 1 if failure and failure.looks == looks else 1
            self._failed[folder] = Failure(looks, tries, time.monotonic() + RETRY)
            code, message = _reason(error)
            if before is None:
                self._set(name, VersionStatus(version, State.END, code, message))
            self._metrics.count(LOAD_FAILURES, model_name=name, version=str(version))
            log.error("%s: version %d does not load, and is not served: %s", name, version, message)
            return
        self._failed.pop(folder, None)
        batcher = Batcher(self._batching, lambda signature, arrays: signature.run(arrays)) if self._batching else None
        served = Served(name, version, folder, model, record, batcher, drift_window(name, version, folder, record),
                        self._metrics, self._timeout, graph, images=images)
        with self._lock:
            self._serving.setdefault(name, {})[version] = served
            self._status.setdefault(name, {})[version] = VersionStatus(version, State.AVAILABLE)
        self._metrics.set(VERSION, 1, model_name=name, version=str(version))
        log.info("%s: serving version %d, loaded in %.1f s", name, version, time.perf_counter() - start)
        if before:
            before.drained()
            self._garbage = True

    def _unload(self, name: str, version: int) -> None:
        with self._lock:
            served = self._serving[name].pop(version)
            self._status[name][version] = VersionStatus(version, State.UNLOADING)
        served.drained()
        self._garbage = True
        self._release(served.folder)
        self._set(name, VersionStatus(version, State.END))
        self._metrics.set(VERSION, 0, model_name=name, version=str(version))
        log.info("%s: unloaded version %d", name, version)

    def _return_memory(self) -> None:
        if self._garbage:
            return_memory()
        self._garbage = False

    def _release(self, folder: Path) -> None:
        """The files of a version are not needed any more, unless another model is in the same folder."""
        if all(served.folder != folder for served in self.served()):
            released(folder)


def _reason(error: Exception) -> tuple[Code, str]:
    """Why a version does not load: a code, and the whole message in one line."""
    if isinstance(error, KerastlError):
        return Code.FAILED_PRECONDITION, error.line
    if isinstance(error, ServingError):
        return error.code, error.message
    code = CODES.get(error.error_code, Code.UNKNOWN) if isinstance(error, tf.errors.OpError) else Code.UNKNOWN
    return code, visible(f"{type(error).__name__}: {' '.join(str(error).split())}"[:MOST_WORDS])
