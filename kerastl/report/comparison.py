"""The results of a comparison, for people: rows.csv, and report.html, one file that needs no network."""

import csv
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kerastl.display import csv_cell
from kerastl.files import write_atomically
from kerastl.report.charts import Frame, svg
from kerastl.report.page import page

COLUMNS = ("backbone", "head", "unfreeze", "accuracy", "accuracy_min", "accuracy_max", "head_seconds", "parameters",
           "megabytes", "milliseconds", "behind_best", "p", "within_noise", "recommended")


def write_comparison(folder: Path, result: dict[str, Any]) -> None:
    """Write both files into an existing folder, in place of older ones. result: as `kerastl compare --json` prints
    it."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: csv_cell(cell) for name, cell in row.items()} for row in result["table"])
    write_atomically(folder / "rows.csv", table.getvalue())
    write_atomically(folder / "report.html", comparison_html(result))


def comparison_html(result: dict[str, Any]) -> str:
    """The report as one HTML page; whatever comes from data or flags is escaped."""
    return page("comparison.html", run=result, chart=Markup(latency_chart(result["table"])))


def latency_chart(table: Sequence[dict[str, Any]]) -> str:
    """Accuracy on validation rows against latency in milliseconds: a dot for each combination, with a line from the
    worst seed to the best. The recommended one has the second colour."""
    times = [row["milliseconds"] for row in table]
    low, high = min(row["accuracy_min"] for row in table), max(row["accuracy_max"] for row in table)
    margin = max(0.01, (high - low) * 0.1)
    frame = Frame((min(times) * 0.8, max(times) * 1.25), (max(0.0, low - margin), min(1.0, high + margin)), log_x=True)
    parts = []
    for row in sorted(table, key=lambda row: bool(row["recommended"])):  # drawn last, on top
        x, y = frame.at(row["milliseconds"], row["accuracy"])
        ends = [frame.at(row["milliseconds"], row[f"accuracy_{name}"])[1] for name in ("min", "max")]
        style = "second" if row["recommended"] else "first"
        label = escape(f"{row['backbone']} + {row['head']}, unfreeze {row['unfreeze']}: {row['accuracy']:.3f}, "
                       f"{row['milliseconds']:.1f} ms")
        parts.append(f'<line class="line {style}" x1="{x}" y1="{ends[0]}" x2="{x}" y2="{ends[1]}"/>')
        parts.append(f'<circle class="point {style}" cx="{x}" cy="{y}" r="5"><title>{label}</title></circle>')
    y_ticks = [frame.y[0] + (frame.y[1] - frame.y[0]) * i / 4 for i in range(5)]
    middle = (frame.x[0] * frame.x[1]) ** 0.5
    return svg("Accuracy against latency", frame, parts, [frame.x[0], middle, frame.x[1]], y_ticks,
               "latency per row in ms (logarithmic)", "validation accuracy")
