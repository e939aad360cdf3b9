"""A sample of the requests and their answers, as `PredictionLog` records in TFRecord files.

The format is that of the warm-up requests in a version, so a log can be replayed. A log contains what clients sent,
such as their images or texts: it is off unless the model's `logging_config` asks for it.
"""

import logging
import random
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerastl.server.config import RequestLogging
from kerastl.server.metrics import LOGGED, Metrics

log = logging.getLogger("kerastl.serve")
FILE_BYTES = 64 * 2**20  # a file that is larger is closed, and another one begun
FILES = 16  # of a model; the oldest is removed when there are more


class RequestLog:
    """The log of a model. Files are named PREFIX-YYYYMMDD-HHMMSS-N.tfrecord; a file in use ends in `.part`."""

    def __init__(self, name: str, settings: RequestLogging, metrics: Metrics, file_bytes: int = FILE_BYTES,
                 files: int = FILES) -> None:
        self.settings = settings
        self._name, self._metrics, self._file_bytes, self._files = name, metrics, file_bytes, files
        self._lock = threading.Lock()
        self._draw = random.Random()
        self._writer: Any = None
        self._path: Path | None = None
        self._size = self._count = 0

    def sampled(self) -> bool:
        """Whether the next request is logged."""
        return self._draw.random() < self.settings.rate

    def write(self, record: Any) -> None:
        """Append a PredictionLog. A fault of the disk is logged, and loses the record only."""
        record.log_metadata.sampling_config.sampling_rate = self.settings.rate
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
        self._count += 1
        name = f"{prefix.name}-{time.strftime('%Y%m%d-%H%M%S')}-{self._count:04d}.tfrecord"
        self._path, self._size = prefix.with_name(name), 0
        self._writer = tf.io.TFRecordWriter(f"{self._path}.part")
        for old in self.completed()[:-(self._files - 1) or None]:
            old.unlink(missing_ok=True)

    def completed(self) -> list[Path]:
        """The complete files, the oldest first."""
        prefix = Path(self.settings.prefix)
        return sorted(prefix.parent.glob(f"{prefix.name}-*.tfrecord"))

    def _complete(self) -> None:
        if self._writer is not None and self._path is not None:
            self._writer.close()
            Path(f"{self._path}.part").rename(self._path)
            self._writer = None
