"""report.html, one file that needs no network, and the model card. Whatever comes from data is escaped."""

import base64
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from markupsafe import Markup

from kerastl.data.examples import Examples
from kerastl.display import excerpt_of
from kerastl.files import write_file
from kerastl.inputs.batches import decode_file, decoder_for
from kerastl.report import calibration, sentences
from kerastl.report.ablation import ablation_section
from kerastl.report.augmentation import augmentation_context
from kerastl.report.card_files import exported_section
from kerastl.report.charts import confusion_cells, curve_chart, reliability_chart
from kerastl.report.explanations import explanations_context
from kerastl.report.label_errors import label_errors_section
from kerastl.report.learning_curve import learning_curve_section
from kerastl.report.learning_rate_chart import learning_rate_chart
from kerastl.report.model_card import model_card
from kerastl.report.near_duplicates import near_duplicates_context
from kerastl.report.page import page
from kerastl.report.previous import previous_section
from kerastl.report.rejection import rejection_context
from kerastl.versions.folder import Version
from kerastl.versions.record import RunRecord

THUMBNAIL = 132  # pixels
EXCERPT = 400  # characters of a text
MOST_CLASSES = 60  # a larger confusion matrix cannot be read


def write_report(version: Version, record: RunRecord, examples: Examples) -> None:
    """Write run.json, report.html and MODEL_CARD.md into a version. examples: the rows that the record's mistakes are
    among, for their thumbnails or texts."""
    record.write(version.folder)
    write_file(version.folder / "report.html", report_html(record, examples))
    write_file(version.folder / "MODEL_CARD.md", model_card(record) + exported_section(version.folder, record))
    version.manifest.update(backbone=record.backbone, weights_hash=record.weights_hash, config=record.config)


def report_html(record: RunRecord, examples: Examples) -> str:
    """The report of a run record as one HTML page."""
    modality, tuned = record.modality, record.fine_tuning
    place = {origin: row for row, origin in enumerate(examples.origins)}
    preview = PREVIEWS[modality.preview]
    readable = len(record.classes) <= MOST_CLASSES
    return page(
        "report.html", run=record, test=record.test, modality=modality, sentences=sentences,
        calibration=calibration,
        input=modality.load(modality.input_module, "describe_input")(record.input),
        mistakes=[{"row": mistake, **preview(examples, place.get(mistake.origin))} for mistake in record.test.mistakes],
        reliability=Markup(reliability_chart(record.test.reliability)),
        curve=Markup(curve_chart(record.training_curve)),
        rates=Markup(learning_rate_chart(tuned.curve if tuned else None)),
        tuning=Markup(curve_chart(tuned.epochs)) if tuned else "",
        ablation=ablation_section(record.ablation),
        label_errors=label_errors_section(record.label_errors, record.relabel, modality.nouns, record.data,
                                          lambda _, error: preview(examples, place.get(error.origin))),
        learning_curve=learning_curve_section(record.learning_curve),
        previous=previous_section(record.previous, lambda row: preview(examples, place.get(row.origin))),
        confusion=confusion_cells(record.test.confusion) if readable else [],
        **near_duplicates_context(record, examples, preview), **explanations_context(record, examples),
        **rejection_context(record), **augmentation_context(record, examples),
    )


def _thumbnail(examples: Examples, row: int | None) -> dict[str, Any]:
    return {"thumbnail": "" if row is None else thumbnail(examples.items[row]), "text": ""}


def _excerpt(examples: Examples, row: int | None) -> dict[str, Any]:
    return {"thumbnail": "", "text": "" if row is None else excerpt(examples.items[row])}


# How the report shows a row, by `Modality.preview`; None for a row that is gone.
PREVIEWS: dict[str, Callable[[Examples, int | None], dict[str, Any]]] = {"thumbnail": _thumbnail, "text": _excerpt}


def excerpt(item: Any) -> str:
    """The beginning of a text, or of a pair of them."""
    return excerpt_of(item if isinstance(item, str) else " ⟷ ".join(item), EXCERPT)


def thumbnail(item: str | bytes) -> str:
    """An image, the path or the content of its file, as the model sees it: as a data address; empty when the file is
    gone."""
    pixels = decoder_for(THUMBNAIL, True)(item) if isinstance(item, bytes) else \
        decode_file(item, THUMBNAIL, accept_truncated=True)
    if isinstance(pixels, str):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(tf.io.encode_jpeg(pixels, quality=80).numpy()).decode()
