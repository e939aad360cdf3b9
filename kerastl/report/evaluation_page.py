"""The page of `kerastl evaluate`: the figures of a model on other data, where its errors concentrate, and the most
confident ones."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from kerastl.files import write_atomically
from kerastl.modality import modality_named
from kerastl.report import calibration, sentences
from kerastl.report.charts import confusion_cells, reliability_chart
from kerastl.report.page import page, page_file
from kerastl.report.previous import previous_section
from kerastl.report.report import MOST_CLASSES, excerpt, thumbnail
from kerastl.serving.evaluate_model import EvaluateResult

MOST = 200  # mistakes on a page, which may be thumbnails
CONFUSIONS = 30  # pairs of classes


def write_evaluation_page(result: EvaluateResult, path: str | Path) -> None:
    """Write an evaluation as one HTML page that needs no network. Raises OptionError for a path that does not end in
    .html, or where no file can be written."""
    write_atomically(page_file(str(path), "path"), evaluation_page(result))


def evaluation_page(result: EvaluateResult) -> str:
    """An evaluation as one HTML page: that of `result.test.mistakes` which the page has room for, with thumbnails or
    texts."""
    modality, test = modality_named(result.modality), result.test
    mistakes = list(zip(test.mistakes, result.items, strict=True))[:MOST]
    origins = [row.origin for row in result.against.changed] if result.against else []
    changed = dict(zip(origins, result.changed_items, strict=True))
    return page(
        "evaluation.html", result=result, test=test, modality=modality, sentences=sentences, calibration=calibration,
        mistakes=[{"row": mistake, **_preview(item, modality.in_files)} for mistake, item in mistakes],
        reliability=Markup(reliability_chart(test.reliability)),
        names=[scores.name for scores in test.classes], too_many=len(test.confusion) > MOST_CLASSES,
        confusion=confusion_cells(test.confusion) if len(test.confusion) <= MOST_CLASSES else [],
        confusions=result.confusions[:CONFUSIONS], rows=modality.nouns,
        against=previous_section(result.against, lambda row: _preview(changed[row.origin], modality.in_files)))


def _preview(item: Any, is_file: bool) -> dict[str, str]:
    return {"thumbnail": thumbnail(item) if is_file else "", "text": "" if is_file else excerpt(item)}
