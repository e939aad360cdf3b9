"""Counters and histograms, and the page on which Prometheus reads them, with TF Serving's names."""

import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

PATH = "/monitoring/prometheus/metrics"
REQUESTS = "/tensorflow/serving/request_count"
EXAMPLES = "/tensorflow/serving/request_example_count_total"
EXAMPLES_EACH = "/tensorflow/serving/request_example_counts"
LATENCY = "/tensorflow/serving/request_latency"
RUNTIME = "/tensorflow/serving/runtime_latency"
WARMUP = "/tensorflow/serving/model_warmup_latency"
LOGGED = "/tensorflow/serving/request_log_count"
PREDICTED = "/kerastl/predicted_class_count"
CONFIDENCE = "/kerastl/confidence"
UNKNOWN = "/kerastl/none_of_these_count"
LOAD_FAILURES = "/kerastl/load_failure_count"
VERSION = "/kerastl/served_version"
MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
POWERS_OF_2 = tuple(float(2**power) for power in range(15))
SHARES = tuple(step / 10 for step in range(1, 11))
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gauge:
    """A value that is computed when the page is read."""

    name: str
    value: float
    labels: Mapping[str, str]


class Metrics:
    """All metrics of a server. They are updated by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scalars: dict[str, dict[Labels, float]] = {}
        self._gauges: set[str] = set()
        self._histograms: dict[str, dict[Labels, list[float]]] = {}  # counts of each bucket, then the sum
        self._limits: dict[str, Sequence[float]] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            values = self._scalars.setdefault(name, {})
            key = tuple(labels.items())
            values[key] = values.get(key, 0) + by

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges.add(name)
            self._scalars.setdefault(name, {})[tuple(labels.items())] = value

    def observe(self, name: str, value: float, limits: Sequence[float] = MICROSECONDS, **labels: str) -> None:
        """Add a value to a histogram. limits: the upper ends of its buckets; one more has no end."""
        with self._lock:
            self._limits[name] = limits
            counts = self._histograms.setdefault(name, {}).setdefault(tuple(labels.items()), [0.0] * (len(limits) + 2))
            counts[bisect_left(limits, value)] += 1
            counts[-1] += value

    def total(self, name: str) -> float:
        """The sum of a counter over its labels."""
        with self._lock:
            return sum(self._scalars.get(name, {}).values())

    def page(self, computed: Iterable[Gauge] = ()) -> str:
        """The metrics in Prometheus' text format. computed: gauges that are not kept here."""
        gauges: dict[str, dict[Labels, float]] = {}
        for gauge in computed:
            gauges.setdefault(gauge.name, {})[tuple(gauge.labels.items())] = gauge.value
        with self._lock:
            lines = [*self._scalar_lines(), *self._histogram_lines()]
        for name, values in sorted(gauges.items()):
            lines += _lines_of(name, "gauge", values)
        return "\n".join(lines) + "\n"

    def _scalar_lines(self) -> Iterator[str]:
        for name, values in sorted(self._scalars.items()):
            yield from _lines_of(name, "gauge" if name in self._gauges else "counter", values)

    def _histogram_lines(self) -> Iterator[str]:
        for name, values in sorted(self._histograms.items()):
            shown = metric_name(name)
            yield f"# TYPE {shown} histogram"
            for labels, (*counts, total) in values.items():
                text, so_far = _labels(labels), 0.0
                for limit, count in zip((*self._limits[name], None), counts, strict=True):
                    so_far += count
                    end = "+Inf" if limit is None else f"{limit:g}"
                    yield f'{shown}_bucket{{{text + "," if text else ""}le="{end}"}} {so_far:.15g}'
                yield f"{shown}_sum{{{text}}} {total:.15g}"
                yield f"{shown}_count{{{text}}} {so_far:.15g}"


def _lines_of(name: str, kind: str, values: Mapping[Labels, float]) -> Iterator[str]:
    shown = metric_name(name)
    yield f"# TYPE {shown} {kind}"
    for labels, value in values.items():
        yield f"{shown}{{{_labels(labels)}}} {value:.15g}"


def metric_name(name: str) -> str:
    """A name as Prometheus takes it: `/` and others become `:`."""
    name = re.sub(r"[^a-zA-Z0-9_]", ":", name)
    return f"_{name}" if name[:1].isdigit() else name


def _labels(labels: Labels) -> str:
    return ",".join(f'{_label_name(name)}="{_label_value(value)}"' for name, value in labels)


def _label_name(name: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9]", "_", name)
    return f"_{name}" if name[:1].isdigit() else name


def _label_value(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
