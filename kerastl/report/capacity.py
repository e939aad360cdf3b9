"""`kerastl serve --benchmark`: the figures, and a page with charts if one is asked for."""

import os
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
    charts = [throughput_chart(result.loads)]
    charts += [latency_chart(result.loads, name, title) for name, title in (
        ("milliseconds_p50", "latency, median, ms"), ("milliseconds_p99", "latency, 99th percentile, ms"))]
    write_atomically(path, page("capacity.html", result=result, charts=charts, styles=STYLES))


def throughput_chart(loads: tuple[Load, ...]) -> str:
    """Requests per second by the number of clients, a line for each protocol."""
    return _chart(loads, "per_second", "requests per second")


def latency_chart(loads: tuple[Load, ...], name: str, title: str) -> str:
    """A percentile of the latency by the number of clients, a line for each protocol."""
    return _chart(loads, name, title)


def _chart(loads: tuple[Load, ...], name: str, title: str) -> str:
    points = {protocol: [(load.clients, getattr(load, name)) for load in loads
                         if load.protocol == protocol and getattr(load, name) is not None] for protocol in STYLES}
    values = [value for line in points.values() for _, value in line]
    if not values:
        return ""
    clients = sorted({load.clients for load in loads})
    frame = Frame((clients[0], max(clients[-1], clients[0] + 1)), (0.0, max(values) * 1.05 or 1.0), log_x=True)
    parts = []
    for protocol, line in points.items():
        at = [frame.at(*point) for point in line]
        parts.append(f'<polyline class="line {STYLES[protocol]}" points="{" ".join(f"{x},{y}" for x, y in at)}"/>')
        parts += [f'<circle class="point {STYLES[protocol]}" cx="{x}" cy="{y}" r="3"><title>{protocol}, {number} '
                  f"clients: {value:,.1f}</title></circle>" for (x, y), (number, value) in zip(at, line, strict=True)]
    return svg(f"{title} by number of clients", frame, parts, clients, [frame.y[1] * i / 4 for i in range(5)],
               "clients that ask at a time", title)
