"""The report's section about the learning curve, and the page of `kerastl curve`."""

from math import ceil, floor
from pathlib import Path

from markupsafe import Markup

from kerastl.files import write_atomically
from kerastl.report.charts import Frame, svg
from kerastl.report.page import fragment, page
from kerastl.versions.learning_curve import LearningCurve, SizeAccuracy

SHOWN = 12  # classes in the table
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)  # of the grid, in accuracy
LINES = 6  # of the grid at most


def learning_curve_section(curve: LearningCurve | None) -> Markup:
    """A section of the page; nothing for a run that has no curve."""
    if curve is None:
        return Markup("")
    return fragment("learning_curve.html", curve=curve, chart=Markup(learning_curve_chart(curve)),
                    classes=curve.classes[:SHOWN], rest=len(curve.classes) - SHOWN)


def write_curve_page(path: Path, source: str, curve: LearningCurve) -> None:
    """Write the curve of a source as one HTML page."""
    write_atomically(path, page("learning_curve_page.html", source=source, section=learning_curve_section(curve)))


def learning_curve_chart(curve: LearningCurve) -> str:
    """Accuracy by the number of training rows: what was measured with its intervals, and what is predicted as a line in
    its band. Empty where nothing was measured."""
    if not curve.measured:
        return ""
    drawn = [*curve.measured, *curve.predicted]
    ends = [end for size in drawn for end in size.accuracy_ci80]
    step = next((step for step in STEPS if max(ends) - min(ends) <= step * (LINES - 2)), STEPS[-1])
    grid = [step * i for i in range(floor(min(ends) / step), ceil(max(ends) / step) + 1)]
    frame = Frame((drawn[0].rows, drawn[-1].rows), (grid[0], grid[-1]), log_x=True)
    parts = [*_band(frame, curve.predicted), *_fit(frame, curve), *_target(frame, curve), *_now(frame, curve)]
    for size in curve.measured:
        x, y = frame.at(size.rows, size.accuracy)
        (_, low), (_, high) = (frame.at(size.rows, end) for end in size.accuracy_ci80)
        parts.append(f'<line class="line first" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>')
        parts.append(f'<circle class="point first" cx="{x}" cy="{y}" r="3.5"><title>{size.rows:,} rows: '
                     f"{size.accuracy:.3f}</title></circle>")
    sizes = [size.rows for size in curve.measured]
    x_ticks = [*sizes[::2], *([2 * curve.rows] if curve.predicted else [])]
    return svg("Learning curve", frame, parts, x_ticks, grid, "training rows (logarithmic scale)", "accuracy")


def _band(frame: Frame, predicted: tuple[SizeAccuracy, ...]) -> list[str]:
    """The 80% band of the prediction."""
    if not predicted:
        return []
    lower = [frame.at(size.rows, size.accuracy_ci80[0]) for size in predicted]
    upper = [frame.at(size.rows, size.accuracy_ci80[1]) for size in predicted]
    return [f'<polygon points="{_points([*lower, *reversed(upper)])}" fill="rgb(var(--shade) / .16)"/>']


def _fit(frame: Frame, curve: LearningCurve) -> list[str]:
    """The fitted curve, through what was measured and on to what is predicted."""
    if not curve.fitted:
        return []
    line = [*(frame.at(size.rows, accuracy) for size, accuracy in zip(curve.measured, curve.fitted, strict=True)),
            *(frame.at(size.rows, size.accuracy) for size in curve.predicted)]
    return [f'<polyline class="line second" points="{_points(line)}"/>']


def _target(frame: Frame, curve: LearningCurve) -> list[str]:
    target = curve.target_accuracy
    if not curve.predicted or target is None or not frame.y[0] <= target <= frame.y[1]:
        return []
    (start, y), (end, _) = frame.at(frame.x[0], target), frame.at(frame.x[1], target)
    return [f'<line class="ideal" x1="{start}" y1="{y}" x2="{end}" y2="{y}"><title>{target:.3f}</title></line>']


def _now(frame: Frame, curve: LearningCurve) -> list[str]:
    if not curve.predicted:
        return []
    (x, low), (_, high) = frame.at(curve.rows, frame.y[0]), frame.at(curve.rows, frame.y[1])
    return [f'<line class="ideal" x1="{x}" y1="{low}" x2="{x}" y2="{high}"><title>now: {curve.rows:,} rows</title>'
            "</line>"]


def _points(places: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
