"""The chart of a learning-rate range test, as inline SVG."""

from math import ceil, floor, log10

from kerastl.report.charts import Frame, svg
from kerastl.training.fine_tuning.result import LearningRateCurve


def learning_rate_chart(curve: LearningRateCurve | None) -> str:
    """The smoothed training loss by learning rate, and the suggested rate as a vertical line.

    Empty without a curve, or with one of a single rate.
    """
    if not curve or len(curve.learning_rates) < 2:
        return ""
    rates, losses, suggested = curve.learning_rates, curve.losses, curve.suggested
    frame = Frame((min(rates), max(rates)), (0.0, max(losses) * 1.05), log_x=True)
    points = " ".join(f"{x},{y}" for x, y in (frame.at(*point) for point in zip(rates, losses, strict=True)))
    parts = [f'<polyline class="line first" points="{points}"/>']
    if suggested and frame.x[0] <= suggested <= frame.x[1]:
        (x, low), (_, high) = frame.at(suggested, frame.y[0]), frame.at(suggested, frame.y[1])
        parts.append(f'<line class="ideal" x1="{x}" y1="{low}" x2="{x}" y2="{high}"><title>suggested: {suggested:.1e}'
                     "</title></line>")
    powers = range(ceil(log10(min(rates)) - 1e-9), floor(log10(max(rates)) + 1e-9) + 1)
    return svg("Learning-rate range test", frame, parts, [10.0 ** power for power in powers],
                [frame.y[1] * i / 4 for i in range(5)], "learning rate", "smoothed training loss")
