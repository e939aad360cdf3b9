"""`kerastl serve --benchmark`: the figures, and a page with charts if one is asked for."""

import os
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from kerastl.files import write_atomically
from kerastl.report.charts import Frame, svg
from kerastl.report.page import page, page_file
from kerastl.server.capacity import Capacity, Load, find_capacity

STYLES = {"REST": "first", "gRPC": "second"}


def measure_capacity(path: str | os.PathLike[str] | None = None, *, out: str | None = None, **more: Any) -> Capacity:
    """Measure how many requests a served model answers per second, see `find_capacity`. out: also write a page."""
    file = None if out is None else page_file(out, "out")
    result = find_capacity(path, **more)
    if file is not None:
        write_capacity_page(file, result)
    return result


def write_capacity_page(path: Path, result: Capacity) -> None:
    """Write the result as one HTML page."""
    charts = [throughput_chart(result.loads), latency_chart(result.loads, "milliseconds_p50", "median latency"),
              latency_chart(result.loads, "milliseconds_p99", "99th percentile of latency")]
    write_atomically(path, page("capacity.html", result=result, charts=charts, styles=STYLES))


def throughput_chart(loads: tuple[Load, ...]) -> str:
    """Requests per second by the number of clients, a line for each protocol."""
    return _chart(loads, "per_second", "requests per second")


def latency_chart(loads: tuple[Load, ...], name: str, title: str) -> str:
    """A percentile of the latency by the number of clients, a line for each protocol; in seconds where it is long."""
    long = max((getattr(load, name) or 0 for load in loads), default=0) >= 1000
    return _chart(loads, name, f"{title}, {'s' if long else 'ms'}", 0.001 if long else 1.0)


def _chart(loads: tuple[Load, ...], name: str, title: str, unit: float = 1.0) -> str:
    points = {protocol: [(load.clients, unit * getattr(load, name)) for load in loads
                         if load.protocol == protocol and getattr(load, name) is not None] for protocol in STYLES}
    values = [value for line in points.values() for _, value in line]
    if not values:
        return ""
    clients = sorted({load.clients for load in loads})
    ticks = _ticks(max(values))
    frame = Frame((clients[0], max(clients[-1], clients[0] + 1)), (0.0, ticks[-1]), log_x=True)
    parts = []
    for protocol, line in points.items():
        at = [frame.at(*point) for point in line]
        parts.append(f'<polyline class="line {STYLES[protocol]}" points="{" ".join(f"{x},{y}" for x, y in at)}"/>')
        parts += [f'<circle class="point {STYLES[protocol]}" cx="{x}" cy="{y}" r="3"><title>{protocol}, {number} '
                  f"clients: {value:,.1f}</title></circle>" for (x, y), (number, value) in zip(at, line, strict=True)]
    return svg(f"{title} by number of clients", frame, parts, clients, ticks, "clients that ask at a time", title)


def _ticks(most: float) -> list[float]:
    """From 0 to the first round number above the largest value, at most 6."""
    most = most or 1.0
    step = next(step for power in range(floor(log10(most)) - 1, 20) for step in (10.0**power, 2 * 10.0**power,
                                                                               5 * 10.0**power) if 5 * step >= most)
    return [number * step for number in range(ceil(most / step - 1e-9) + 1)]
