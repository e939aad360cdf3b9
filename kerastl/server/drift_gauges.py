"""Gauges of drift: the last answers of a version against the reference in its folder, computed when Prometheus reads.

A request only appends its probabilities to a window of bounded length. The tests are those of `kerastl drift` that need
nothing but answers: the outputs class by class, and the share of inputs that are unlike the training data.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import KerastlError
from kerastl.evaluation.drift import FEWEST, OUTPUTS, REJECTED, corrected, expected_of, of_all
from kerastl.evaluation.reference import FILE, Reference
from kerastl.server.bodies import Arrays
from kerastl.server.metrics import Gauge
from kerastl.versions.record import RunRecord
from kerastl.versions.reference import read_reference

WINDOW = 1000  # answers that are compared
PROBABILITIES, UNKNOWN_SCORE = "probabilities", "unknown_score"
ROWS = "/kerastl/drift_window_rows"
STATISTIC = "/kerastl/drift_statistic"
P_VALUE = "/kerastl/drift_pvalue"
PROBABILITY = "/kerastl/mean_probability"
CONFIDENCE = "/kerastl/mean_confidence"
REJECTION_RATE = "/kerastl/rejection_rate"
PROMISED = "/kerastl/promised_rejection_rate"
log = logging.getLogger("kerastl.serve")


class DriftWindow:
    """The last answers of a version, which are added by many threads."""

    def __init__(self, record: RunRecord, reference: Reference, rows: int = WINDOW) -> None:
        self._expected, self._reference = expected_of(record), reference.probabilities.astype(np.float64)
        self._probabilities: deque[NDArray[Any]] = deque(maxlen=rows)
        self._unknown: deque[float] = deque(maxlen=rows)
        self._lock = threading.Lock()  # of the windows, held while rows are appended or copied
        self._seen = 0
        self._computed: tuple[int, tuple[Gauge, ...]] = (-1, ())

    def add(self, outputs: Arrays) -> None:
        """Add the answers to a request. Outputs that it did not ask for are not known."""
        probabilities, unknown = outputs.get(PROBABILITIES), outputs.get(UNKNOWN_SCORE)
        if probabilities is None or probabilities.shape[1:] != (len(self._expected.classes),):
            return
        kept = probabilities[-(self._probabilities.maxlen or 0):].copy()  # so that no larger array stays in memory
        scores = [] if unknown is None or self._expected.promise is None else unknown[-len(kept):].tolist()
        with self._lock:
            self._probabilities.extend(kept)
            self._unknown.extend(scores)
            self._seen += len(probabilities)

    def gauges(self, **labels: str) -> tuple[Gauge, ...]:
        """What Prometheus reads. labels: of all gauges."""
        with self._lock:
            seen, rows, unknown = self._seen, list(self._probabilities), list(self._unknown)
        if seen != self._computed[0]:
            self._computed = seen, tuple(self._gauges(rows, unknown, labels))
        return self._computed[1]

    def _gauges(self, rows: list[NDArray[Any]], unknown: list[float], labels: dict[str, str]) -> Iterator[Gauge]:
        yield Gauge(ROWS, len(rows), labels)
        if len(rows) < FEWEST:
            return
        now, promise = np.array(rows, np.float64), self._expected.promise
        outputs = self._expected.output_tests(self._reference, now)
        tests = {OUTPUTS: of_all(outputs)}
        for sample, values in (("reference", self._reference), ("window", now)):
            yield Gauge(CONFIDENCE, float(values.max(axis=1).mean()), {**labels, "sample": sample})
        for test in outputs:
            for sample, mean in (("reference", test.mean_before), ("window", test.mean_now)):
                yield Gauge(PROBABILITY, mean, {**labels, "label": test.label, "sample": sample})
        if promise is not None and len(unknown) >= FEWEST:
            above = sum(score > promise.threshold for score in unknown)
            tests[REJECTED] = (above / len(unknown), promise.p_value(above, len(unknown)))
            yield Gauge(REJECTION_RATE, above / len(unknown), labels)
            yield Gauge(PROMISED, 1 - promise.coverage, labels)
        for found in corrected(tests):
            yield Gauge(STATISTIC, found.effect, {**labels, "test": found.name})
            yield Gauge(P_VALUE, found.p, {**labels, "test": found.name})


def drift_window(name: str, version: int, folder: Path, record: RunRecord | None) -> DriftWindow | None:
    """The window of a version; None without a reference. One that is damaged does not keep the version from being
    served, and is logged."""
    if record is None or not (folder / FILE).is_file():
        return None
    try:
        reference = read_reference(folder)
    except KerastlError as error:
        log.error("%s, version %d: no gauges of drift: %s", name, version, error.line)
        return None
    if reference.probabilities.shape[1:] != (len(record.classes),) or not len(reference):
        log.error("%s, version %d: no gauges of drift: %s is of %s rows and classes", name, version, FILE,
                  reference.probabilities.shape)
        return None
    return DriftWindow(record, reference)


def all_gauges(served: Iterable[Any]) -> list[Gauge]:
    """Of all versions that are served and have a reference."""
    return [gauge for version in served if version.drift is not None
            for gauge in version.drift.gauges(model_name=version.name, version=str(version.version))]
