"""report.html, one file that needs no network, and MODEL_CARD.md. Whatever comes from data is escaped."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import tensorflow as tf
from markupsafe import Markup

from kerastl.backbones import published_weights
from kerastl.data.examples import Examples
from kerastl.inputs.batches import decode_file
from kerastl.report.ablation import ablation_section
from kerastl.report.charts import confusion_cells, curve_chart, reliability_chart
from kerastl.report.learning_rate_chart import learning_rate_chart
from kerastl.versions.folder import Version, write_json

THUMBNAIL = 132  # pixels
EXCERPT = 400  # characters of a text
MOST_CLASSES = 60  # a larger confusion matrix cannot be read


def write_report(version: Version, run: dict[str, Any], examples: Examples, *, name: str) -> dict[str, Any]:
    """Write run.json, report.html and MODEL_CARD.md into a version. Returns the run record with its version and path.

    examples: the rows that the record's mistakes are among, by origin, for their thumbnails.
    """
    run = {**run, "name": name, "version": version.number, "path": str(version.folder.parent / str(version.number))}
    run = json.loads(json.dumps(run))  # tuples become lists, as they will be when read again
    write_json(version.folder / "run.json", run)
    (version.folder / "report.html").write_text(report_html(run, examples), encoding="utf-8")
    (version.folder / "MODEL_CARD.md").write_text(model_card(run), encoding="utf-8")
    version.about.update(backbone=run["backbone"], weights_hash=run["weights_hash"], config=run["config"])
    return run


def report_html(run: dict[str, Any], examples: Examples) -> str:
    """The report of a run record as one HTML page."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True)
    test = run["test"]
    place = {origin: row for row, origin in enumerate(examples.origins)}
    mistakes = [{**one, **_shown(examples, place.get(one["origin"]))} for one in test["mistakes"]]
    readable = len(run["classes"]) <= MOST_CLASSES
    return environment.get_template("report.html").render(
        name=run["name"], run=run, mistakes=mistakes, made=datetime.now(UTC).strftime("%d %B %Y"),
        reliability=Markup(reliability_chart(test["reliability"])), curve=Markup(curve_chart(run["curve"])),
        rates=Markup(learning_rate_chart((run["unfrozen"] or {}).get("rates"))),
        tuning=Markup(curve_chart(run["unfrozen"]["history"])) if run["unfrozen"] else "",
        ablation=ablation_section(run.get("ablation")),
        confusion=confusion_cells(test["confusion"]) if readable else [],
    )


def _shown(examples: Examples, row: int | None) -> dict[str, Any]:
    """How a row looks in the report: an image's thumbnail, or what a text says."""
    item = "" if row is None else examples.items[row]
    if examples.modality.name == "image":
        return {"thumbnail": thumbnail(item), "text": ""}
    text = item if isinstance(item, str) else " ⟷ ".join(item)
    return {"thumbnail": "", "text": text if len(text) <= EXCERPT else text[:EXCERPT] + " …"}


def thumbnail(path: str) -> str:
    """An image as the model sees it, as a data address; empty when the file is gone."""
    pixels = decode_file(path, THUMBNAIL)
    if isinstance(pixels, str):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(tf.io.encode_jpeg(pixels, quality=80).numpy()).decode()


def model_card(run: dict[str, Any]) -> str:
    """The model card in Markdown: what it is, what it was judged on, what it must not be used for."""
    test = run["test"]
    weights = published_weights(run["backbone"])
    known = {w.kind: w.licence for w in weights}
    published = [w.licence for w in weights if w.kind == "folder"]
    licence = known.get(run["weights"], f"of the folder's model, one of: {'; '.join(published)}" if published else
                        "unknown")
    thing = {"image": "image", "text": "text"}[run["kind"]]
    lines = [
        f"# {_plain(run['name'])}, version {run['version']}",
        "",
        *(["**RANDOM WEIGHTS: this model is a test and must not be used.**", ""] if run["random_weights"] else []),
        *([f"**RANDOM PART: {', '.join(run['random_parts'])} was never trained.**", ""] if run.get("random_parts") else
          []),
        f"Classifies a {thing} as one of {len(run['classes'])} classes: "
        + ", ".join(_plain(one) for one in run["classes"]) + ".",
        "",
        f"- Backbone: {run['backbone']}, {run['weights']} weights (licence: {licence}), "
        + ("partly unfrozen" if run["unfrozen"] and run["unfrozen"]["kept"] else "frozen"),
        f"- Head: {run['head']}",
        f"- Data: {_plain(run['config']['data'])}, {run['n_train']} rows to train on",
        f"- Input: {_input(run)}",
        *([f"- Ships: {run['large']['ships']}."] if run.get("large") else []),
        "",
        "## Judged",
        "",
        f"On {test['n']} held-out rows ({run['split']}: {run['split_reason']}):",
        "",
        f"- accuracy {test['accuracy']:.3f}, 95% interval {test['accuracy_ci95'][0]:.3f} to "
        f"{test['accuracy_ci95'][1]:.3f} ({test['interval']})",
        f"- macro F1 {test['macro_f1']:.3f}, log loss {test['log_loss_calibrated']:.3f}, "
        f"ECE {test['ece_calibrated']:.3f} (after temperature {run['temperature']:.3f})",
        *([f"- {run['baseline']['word']} (Without it: {run['baseline']['name']}.)"] if run["baseline"] else []),
        "",
        "## Limits",
        "",
        f"- It always answers with one of its classes, also for a {thing} of none of them.",
        f"- The figures hold for {thing}s like those of the data, and for no others.",
        "- What the backbone learnt from its own data, biases included, is in its features.",
    ]
    return "\n".join(lines) + "\n"


def _input(run: dict[str, Any]) -> str:
    if run["kind"] == "text":
        about = run["input"]
        where = "by `kerastl predict`" if run.get("large") else "inside the model"
        return (f"{'pairs of texts' if about['pair'] else 'texts'} in UTF-8; at most {about['max_length']} tokens, of "
                f"longer ones {about['long']}; tokenised {where}")
    size = run["input"]["size"]
    return f"JPEG, PNG, GIF, BMP or WebP; squashed to {size} x {size} inside the model"


def _plain(text: str) -> str:
    """Text from data, safe in Markdown."""
    return "".join("\\" + c if c in "\\`*_{}[]<>()#+!|~" else " " if c in "\r\n" else c for c in text)
