"""A sample of the requests and their answers, as `PredictionLog` records in TFRecord files.

The format is that of the warm-up requests in a version, so a log can be replayed: one kind of record for each kind of
request. A gRPC request is logged as it was received, a REST request as the same request by gRPC. A log contains what
clients sent, such as their images or texts: it is off unless the model's `logging_config` asks for it.
"""

import logging
import os
import random
import re
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, prediction_log_pb2, regression_pb2

from kerastl.files import FRESH_SECONDS, PARTIAL, hold, open_file
from kerastl.server.bodies import Arrays
from kerastl.server.config import RequestLogging
from kerastl.server.metrics import LOGGED, Metrics

log = logging.getLogger("kerastl.serve")
FILE_BYTES = 64 * 2**20  # a file that is larger is closed, and another one begun
FILES = 16  # of a model; the oldest is removed when there are more


class RequestLog:
    """The log of a model. Files are named PREFIX-YYYYMMDD-HHMMSS-N.tfrecord; a file in use ends in `.part`, and is
    locked. Those of servers that were killed are completed when the next server begins a file."""

    def __init__(self, name: str, settings: RequestLogging, metrics: Metrics, file_bytes: int = FILE_BYTES,
                 files: int = FILES) -> None:
        self.settings = settings
        self._name, self._metrics, self._file_bytes, self._files = name, metrics, file_bytes, files
        self._lock = threading.Lock()
        self._draw = random.Random()
        self._writer: Any = None
        self._path: Path | None = None
        self._held: int | None = None
        self._size = self._count = 0

    def sampled(self) -> bool:
        """Whether the next request is logged."""
        return self._draw.random() < self.settings.rate

    def write(self, record: Any, version: int, signature: str) -> None:
        """Append a PredictionLog of a version's answer. A fault of the disk is logged, and loses the record only."""
        about = record.log_metadata
        about.sampling_config.sampling_rate, about.timestamp_secs = self.settings.rate, int(time.time())
        about.model_spec.name, about.model_spec.signature_name = self._name, signature
        about.model_spec.version.value = version
        content = record.SerializeToString()
        with self._lock:
            try:
                if self._writer is None or self._size + len(content) > self._file_bytes:
                    self._next_file()
                self._writer.write(content)
                self._writer.flush()
                self._size += len(content)
                status = "OK"
            except (OSError, tf.errors.OpError) as error:
                log.error("%s: a request could not be logged to %s: %s", self._name, self.settings.prefix, error)
                status = "UNAVAILABLE"
        self._metrics.count(LOGGED, model_name=self._name, status=status)

    def close(self) -> None:
        """Complete the file in use."""
        with self._lock:
            self._complete()

    def _next_file(self) -> None:
        self._complete()
        prefix = Path(self.settings.prefix)
        prefix.parent.mkdir(parents=True, exist_ok=True)
        for part in self._named(PARTIAL):
            complete_killed(part)
        begun = f"{prefix.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        while True:
            self._count += 1
            self._path, self._size = prefix.with_name(f"{begun}-{self._count:04d}.tfrecord"), 0
            with suppress(FileExistsError):  # of a log with this prefix that was closed, or is used, in this second
                if not self._path.exists():
                    Path(f"{self._path}{PARTIAL}").touch(exist_ok=False)
                    break
        self._held = hold(Path(f"{self._path}{PARTIAL}"))
        self._writer = tf.io.TFRecordWriter(f"{self._path}{PARTIAL}")
        for old in self.completed()[:-(self._files - 1) or None]:
            old.unlink(missing_ok=True)

    def completed(self) -> list[Path]:
        """The complete files, the oldest first."""
        return self._named("")

    def _named(self, ending: str) -> list[Path]:
        """The files of this prefix, and not of a longer one that begins with it. ending: behind the name."""
        prefix = Path(self.settings.prefix)
        name = re.compile(rf"{re.escape(prefix.name)}-\d{{8}}-\d{{6}}-\d{{4,}}\.tfrecord{re.escape(ending)}")
        return sorted(path for path in prefix.parent.iterdir() if name.fullmatch(path.name))

    def _complete(self) -> None:
        if self._writer is not None and self._path is not None:
            self._writer.close()
            Path(f"{self._path}{PARTIAL}").rename(self._path)
            self._writer = None
            if self._held is not None:
                os.close(self._held)


def complete_killed(part: Path) -> None:
    """Complete a file that no server holds any more, but for a record at its end that was not written whole."""
    try:
        handle = hold(part)
    except (BlockingIOError, FileNotFoundError):  # it is in use, or another server has just done this
        return
    if handle is None:  # the file system has no locks, so that nobody knows
        return
    try:
        if abs(time.time() - part.stat().st_mtime) < FRESH_SECONDS:  # it may have been made a moment ago
            return
        whole = whole_records(part)
        if whole:
            os.truncate(part, whole)
            part.rename(part.with_name(part.name.removesuffix(PARTIAL)))
        else:
            part.unlink()
    finally:
        os.close(handle)


def whole_records(path: Path) -> int:
    """The bytes of the records at the start of a TFRecord file that are whole: each is a length in 8 bytes, its
    checksum in 4, the content, and its checksum in 4."""
    end, size = 0, path.stat().st_size
    with open_file(path) as file:
        while len(head := file.read(12)) == 12 and (following := end + 16 + int.from_bytes(head[:8], "little")) <= size:
            end = following
            file.seek(end)
    return end


# PredictionLog records, without their metadata


def as_received(kind: str, request: Any, response: Any) -> Any:
    """A record of a gRPC request. kind: the field of PredictionLog, such as `predict_log`."""
    record = prediction_log_pb2.PredictionLog()
    getattr(record, kind).request.CopyFrom(request)
    getattr(record, kind).response.CopyFrom(response)
    return record


def of_arrays(spec: Any, inputs: Arrays, outputs: Arrays, without: Collection[int] = ()) -> Any:
    """A record of a REST request to predict. spec: the ModelSpec of the answer. without: rows of the inputs that have
    no answer; they are not logged."""
    record = prediction_log_pb2.PredictionLog()
    request, response = record.predict_log.request, record.predict_log.response
    request.model_spec.CopyFrom(spec)
    response.model_spec.CopyFrom(spec)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(np.delete(array, sorted(without), 0) if without else array))
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
    return record


def of_examples(kind: str, spec: Any, examples: Any, result: Any) -> Any:
    """A record of a REST request to `classify` or to `regress` examples. spec: the ModelSpec of the answer."""
    if kind == "classify":
        return as_received("classify_log", classification_pb2.ClassificationRequest(model_spec=spec, input=examples),
                           classification_pb2.ClassificationResponse(model_spec=spec, result=result))
    return as_received("regress_log", regression_pb2.RegressionRequest(model_spec=spec, input=examples),
                       regression_pb2.RegressionResponse(model_spec=spec, result=result))
