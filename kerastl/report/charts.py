"""Charts of the report as inline SVG. Sizes are in pixels; colours come from the page's style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

from kerastl.evaluation.result import ReliabilityBin

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 360, 240, 48, 34, 12, 14


@dataclass(frozen=True)
class Frame:
    """The ranges of a plot. log_x: whether x is on a logarithmic scale."""

    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The position of a value on the page."""
        low, high = (log10(v) for v in self.x) if self.log_x else self.x
        share = ((log10(x) if self.log_x else x) - low) / ((high - low) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (round(LEFT + share * (WIDTH - LEFT - RIGHT), 1),
                round(HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP), 1))


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Confidence against accuracy: a dot for each bin, its area the fraction of predictions. On the diagonal,
    confidence equals accuracy."""
    frame = Frame((0, 1), (0, 1))
    total = sum(part.n for part in bins) or 1
    (x0, y0), (x1, y1) = frame.at(0, 0), frame.at(1, 1)
    parts = [f'<line class="ideal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>']
    for part in bins:
        x, y = frame.at(part.confidence, part.accuracy)
        ideal = frame.at(part.confidence, part.confidence)[1]
        radius = round(3 + 14 * (part.n / total) ** 0.5, 1)
        parts.append(f'<line class="gap" x1="{x}" y1="{y}" x2="{x}" y2="{ideal}"/>')
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="{radius}"><title>{part.n:.0f} predictions, mean '
                     f'confidence {part.confidence:.2f}, accuracy {part.accuracy:.2f}</title></circle>')
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return svg("Reliability diagram", frame, parts, ticks, ticks, "confidence", "accuracy")


def curve_chart(curve: Sequence[dict[str, float]]) -> str:
    """Training and validation loss by epoch, or the log loss of each L2 strength that was tried."""
    if not curve:
        return ""
    if "l2" in curve[0]:
        series = {"log_loss": "first"}
        xs, label, log_x = [point["l2"] for point in curve], "L2 strength", True
    else:
        series = {"loss": "first", "val_loss": "second"}
        xs, label, log_x = [point["epoch"] for point in curve], "epoch", False
    drawn = {name: [point[name] for point in curve if name in point] for name in series}
    values = [loss for losses in drawn.values() for loss in losses]
    frame = Frame((min(xs), max(xs)), (min(0.0, *values), max(values) * 1.05), log_x)
    parts = []
    for name, style in series.items():
        points = " ".join(f"{x},{y}" for x, y in (frame.at(*point) for point in zip(xs, drawn[name], strict=False)))
        if points:
            parts.append(f'<polyline class="line {style}" points="{points}"/>')
            parts += [f'<circle class="point {style}" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5"/>'
                      for p in points.split(" ")]
    if log_x:
        x_ticks: tuple[float, ...] = tuple(xs[:: max(1, len(xs) // 4)])
    else:
        x_ticks = tuple(sorted({min(xs), round((min(xs) + max(xs)) / 2), max(xs)}))
    y_ticks = tuple(frame.y[1] * i / 4 for i in range(5))
    title = "Log loss by L2 strength" if log_x else "Training curve"
    return svg(title, frame, parts, x_ticks, y_ticks, label, "log loss")


def svg(title: str, frame: Frame, parts: Sequence[str], x_ticks: Sequence[float], y_ticks: Sequence[float],
        x_label: str, y_label: str) -> str:
    """A chart as an SVG element: axes with ticks and labels, then `parts`, which are elements drawn in the frame."""
    axes: list[str] = []
    for x in x_ticks:
        at, base = frame.at(x, frame.y[0])
        axes.append(f'<text class="tick" x="{at}" y="{base + 14}" text-anchor="middle">{_number(x)}</text>')
    for y in y_ticks:
        (start, at), (end, _) = frame.at(frame.x[0], y), frame.at(frame.x[1], y)
        axes.append(f'<line class="grid" x1="{min(start, end)}" y1="{at}" x2="{max(start, end)}" y2="{at}"/>')
        axes.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 3}" text-anchor="end">{_number(y)}</text>')
    axes.append(f'<text class="label" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{x_label}</text>')
    axes.append(f'<text class="label" x="12" y="{HEIGHT / 2}" text-anchor="middle" '
                f'transform="rotate(-90 12 {HEIGHT / 2})">{y_label}</text>')
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
            + "".join([*axes, *parts]) + "</svg>")


def _number(value: float) -> str:
    return f"{value:.0e}" if 0 < abs(value) < 0.01 else f"{value:.2f}".rstrip("0").rstrip(".")


def confusion_cells(confusion: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
    """The confusion matrix, each cell with its fraction of the row, which decides its shade."""
    return [[{"n": n, "share": n / max(1, sum(line)), "correct": i == j} for j, n in enumerate(line)]
            for i, line in enumerate(confusion)]
