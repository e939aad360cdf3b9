"""The report's section about the learning curve, and the page of `kerastl curve`."""

from pathlib import Path

from markupsafe import Markup

from kerastl.errors import OptionError
from kerastl.files import write_atomically
from kerastl.report.charts import Frame, svg
from kerastl.report.page import fragment, page
from kerastl.versions.learning_curve import LearningCurve, SizeAccuracy

SHOWN = 12  # classes in the table
ROOM = 0.02  # above and below what is drawn, in accuracy


def learning_curve_section(curve: LearningCurve | None) -> Markup:
    """A section of the page; nothing for a run that has no curve."""
    if curve is None:
        return Markup("")
    return fragment("learning_curve.html", curve=curve, chart=Markup(learning_curve_chart(curve)),
                    classes=curve.classes[:SHOWN], rest=len(curve.classes) - SHOWN)


def curve_page_file(path: str) -> Path:
    """The file of the page. Raises OptionError if it cannot be written there."""
    file = Path(path)
    if file.suffix.lower() not in (".html", ".htm") or not file.parent.is_dir():
        raise OptionError(f"`html` is {path}", "a file that ends in .html, in a folder that exists", "choose another")
    return file


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
    frame = Frame((drawn[0].rows, drawn[-1].rows), (max(0.0, min(ends) - ROOM), min(1.0, max(ends) + ROOM)), log_x=True)
    parts = [*_band(frame, curve.predicted), *_target(frame, curve), *_now(frame, curve)]
    for size in curve.measured:
        x, y = frame.at(size.rows, size.accuracy)
        (_, low), (_, high) = (frame.at(size.rows, end) for end in size.accuracy_ci80)
        parts.append(f'<line class="line first" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>')
        parts.append(f'<circle class="point first" cx="{x}" cy="{y}" r="3.5"><title>{size.rows:,} rows: '
                     f"{size.accuracy:.3f}</title></circle>")
    sizes = [size.rows for size in curve.measured]
    x_ticks = [*sizes[:-1:2], sizes[-1], *(times * curve.rows for times in (2, 4) if curve.predicted)]
    span = frame.y[1] - frame.y[0]
    return svg("Learning curve", frame, parts, x_ticks, [frame.y[0] + span * i / 4 for i in range(5)],
               "training rows (logarithmic scale)", "accuracy")


def _band(frame: Frame, predicted: tuple[SizeAccuracy, ...]) -> list[str]:
    """The 80% band, and the prediction in it."""
    if not predicted:
        return []
    lower = [frame.at(size.rows, size.accuracy_ci80[0]) for size in predicted]
    upper = [frame.at(size.rows, size.accuracy_ci80[1]) for size in predicted]
    line = [frame.at(size.rows, size.accuracy) for size in predicted]
    return [f'<polygon points="{_points([*lower, *reversed(upper)])}" fill="rgb(var(--shade) / .16)"/>',
            f'<polyline class="line second" points="{_points(line)}"/>']


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
