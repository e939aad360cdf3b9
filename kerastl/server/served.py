"""A version in memory, and the states of versions."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from kerastl.server.batching import Batcher, rows_of
from kerastl.server.bodies import Arrays
from kerastl.server.client_images import ClientImages
from kerastl.server.drift_gauges import DriftWindow
from kerastl.server.metrics import RUNTIME, Metrics
from kerastl.server.signatures import SavedModel, Signature
from kerastl.server.status import Code
from kerastl.versions.record import RunRecord

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
    until a request has waited too long for its batch. graph: what its file looked like. requests: that it is
    answering. images: what decodes those of clients, where the graph does not."""

    name: str
    version: int
    folder: Path
    model: SavedModel
    record: RunRecord | None
    batcher: Batcher | None = None
    drift: DriftWindow | None = None
    metrics: Metrics | None = None
    timeout: float = 30.0
    graph: object = None
    requests: int = 0
    images: ClientImages | None = None
    idle: threading.Condition = field(default_factory=threading.Condition)

    def run(self, signature: Signature, arrays: Arrays, wanted: Sequence[str] = ()) -> Arrays:
        """Outputs for checked inputs, those that are wanted or all. Raises ServingError."""
        start = time.perf_counter()
        if self.batcher is None or not signature.batches or rows_of(arrays) is None:
            outputs = signature.run(arrays, wanted)
        else:
            outputs = self.batcher.run(signature, arrays, self.timeout)
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
