"""What the report, the model card and the terminal say about inputs that belong to no class."""

from typing import Any

from markupsafe import Markup, escape

from kerastl.evaluation.rejection import LABEL, LeftOutClass, RejectionResult
from kerastl.versions.record import RunRecord

NEAR = ("Classes that resemble the known ones are hard to tell from them: expect the score to miss many of these. "
        "Inputs of quite another kind are much easier.")
BAR, WIDTH, NAMES = 22, 460, 150  # pixels: height of a bar, width of the chart, room for names
MOST = 30  # classes in the chart


def rejection_context(record: RunRecord) -> dict[str, Any]:
    """What the section is filled in with."""
    result = record.rejection
    if result is None:
        return {"rejection": {"lines": []}}
    lines = [*(line for line in (calibrated(result), counted(record), without_score(record)) if line), *result.limits]
    if not result.trials and result.reason not in result.limits:
        lines.append(result.reason)
    return {"rejection": {"lines": lines, "lead": lead(record, result), "about": "about " * _about(record),
                          "near": NEAR, "chart": Markup(_chart(result.classes))}}


def lead(record: RunRecord, result: RejectionResult) -> str:
    """What the score is for, in words."""
    noun = record.modality.noun
    article = "an" if noun[0] in "aeiou" else "a"
    if result.reject:
        effect = f'{article} {noun} above 0 gets the label "{LABEL}"'
    elif result.threshold is None:
        effect = "a higher score means less like the training data; there is no threshold"
    else:
        effect = (f"{article} {noun} above 0 is less like the training data than the threshold allows, but keeps its "
                  f'label; with `--reject on` the label is "{LABEL}"')
    return f"Every prediction has an `unknown_score`: {effect}. It is computed from {HOW[result.score]}."


HOW = {
    "neighbours": "the distance of the features from the nearest training examples",
    "mahalanobis": "the distance of the features from the nearest class, in units of the variation within classes",
    "relative mahalanobis": "the distance of the features from the nearest class, relative to that from all classes",
    "max logit": "the largest logit",
    "energy": "the sum of the exponentials of the logits",
}


def calibrated(result: RejectionResult) -> str:
    """Where the threshold comes from, in words; empty without a threshold."""
    if result.threshold is None:
        return ""
    return (f"The threshold is the score that {100 * result.coverage:.3g}% of {result.calibration_rows:,} rows stay "
            f"below: {result.calibrated_on} (split conformal). The rejected share is measured on rows that did not set "
            "the threshold they are compared with.")


def counted(record: RunRecord) -> str:
    """How rejected rows count in the figures of the evaluation, in words; empty where none is."""
    if record.rejection is None or not record.rejection.reject:
        return ""
    return (f'Accuracy and the other figures of the evaluation count every held-out {record.modality.noun} with its '
            f'predicted class, also those that would get the label "{LABEL}".')


def without_score(record: RunRecord) -> str:
    """The files that do not return the score, in words; empty where all do."""
    kinds = [artifact.kind for artifact in record.parity if artifact.kept and artifact.without_scores]
    return f"TFLite {' and '.join(kinds)} does not return the score: 8 bits change its order too much." if kinds else ""


def rejected(record: RunRecord) -> str:
    """How many of the user's own rows would be rejected, in a sentence; empty for records of earlier versions."""
    result = record.rejection
    if result is None:
        return ""
    if result.rejected is None or result.rejected_ci95 is None:
        return result.limits[-1] if result.limits else "The rejected share was not measured."
    low, high = result.rejected_ci95
    others = "" if result.auroc is None else f"; AUROC for a class that was left out {result.auroc:.2f} (0.5 is chance)"
    return (f"{100 * result.rejected:.1f}% of {result.n:,} held-out {record.modality.nouns} would be rejected (95% CI "
            f"{100 * low:.1f} to {100 * high:.1f}; asked for: {'about ' * _about(record)}"
            f"{100 - 100 * result.coverage:.3g}%){others}")


def limitation(record: RunRecord) -> str:
    """What the model card says the model cannot do with inputs of no known class."""
    noun, result = record.modality.noun, record.rejection
    article = "an" if noun[0] in "aeiou" else "a"
    always = f"The model always predicts one of its classes, even for {article} {noun} that belongs to none of them"
    if result is None or not record.task.exclusive:
        return f"{always}." if record.task.exclusive else ""
    if result.reject:
        start = f'{article.capitalize()} {noun} that is unlike the training data gets the label "{LABEL}"'
    else:
        start = f"{always}; `unknown_score` is above 0 where it is unlike the training data" if \
            result.threshold is not None else f"{always}; there were too few rows for a threshold of `unknown_score`"
    return " ".join(filter(None, [f"{start}. This misses many inputs that resemble a known class.", counted(record),
                                  without_score(record)]))


def _about(record: RunRecord) -> bool:
    return record.split == "cv"


def _chart(classes: tuple[LeftOutClass, ...]) -> str:
    """The AUROC of each class as a bar from 0.5, the hardest class first; no more than 30."""
    shown = sorted(classes, key=lambda left: left.auroc)[:MOST]
    room, parts = WIDTH - NAMES - 50, []
    for place, left in enumerate(shown):
        y, width = place * BAR + 4, max(1.0, room * (left.auroc - 0.5) / 0.5)
        name = left.name if len(left.name) <= 20 else left.name[:19] + "…"
        parts.append(f'<text class="label" x="{NAMES - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
                     f'<rect class="dot" x="{NAMES}" y="{y}" width="{width:.1f}" height="{BAR - 7}"/>'
                     f'<text class="tick" x="{NAMES + width + 6:.1f}" y="{y + 12}">{left.auroc:.2f}</text>')
    height = len(shown) * BAR + 8
    title = "AUROC of each class that was left out"
    return (f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>'
            + "".join(parts) + "</svg>")
