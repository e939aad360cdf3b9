"""MODEL_CARD.md: what the model is, how it was evaluated, and what it cannot do."""

from kerastl.backbones import published_weights
from kerastl.display import visible
from kerastl.evaluation.result import Figures
from kerastl.report.calibration import calibration_chosen, interval, rates, unranked
from kerastl.report.limits import limits
from kerastl.report.rejection import rejected
from kerastl.report.sentences import (
    augmented,
    calibration_note,
    losses,
    macro_f1,
    no_transfer_note,
    protocol,
    warnings,
)
from kerastl.versions.record import RunRecord


def model_card(record: RunRecord) -> str:
    """The model card of a run record, in Markdown. Text from data is escaped."""
    test, (low, high), noun = record.test, record.test.accuracy_ci95, record.modality.noun
    tuned, note = record.fine_tuning, calibration_note(record.test)
    task = f"Classifies {_article(noun)} as one of" if record.task.exclusive else \
        f"Assigns any number of labels to {_article(noun)}, out of"
    lines = [
        f"# {plain(record.name)}, version {record.version}",
        "",
        *(line for warning in (*warnings(record), *losses(record)) for line in (f"**{warning}**", "")),
        f"{task} {len(record.classes)} classes: " + ", ".join(map(plain, record.classes)) + ".",
        "",
        f"- Backbone: {record.backbone}, {record.weights} weights (licence: {_licence(record)}), "
        + ("fine-tuned" if tuned and tuned.kept else "frozen"),
        *([f"- Augmentation in fine-tuning: {augmented(record)}"] if augmented(record) else []),
        f"- Head: {record.head}",
        f"- Data: {plain(record.data)}, {record.n_train} {record.modality.nouns} for training",
        *([f"- Labels: {plain(record.relabel.sentence)}"] if record.relabel else []),
        f"- Input: {_input(record)}",
        *([f"- Export: {record.large.ships}."] if record.large else []),
        *_python(record),
        "",
        "## Evaluation",
        "",
        protocol(record),
        "",
        f"- Accuracy {test.accuracy:.3f}, 95% confidence interval {low:.3f} to {high:.3f} ({test.interval})",
        f"- Macro F1 {macro_f1(test)}",
        *(f"- {name[0].upper()}{name[1:]} {figure.replace('  (', ' (')}" for name, figure in rates(test)),
        *([f"- {plain(unranked(test))}"] if unranked(test) else []),
        f"- After calibration (temperature {record.temperature:.3f}{', and a bias per class' if record.bias else ''}): "
        f"log loss {test.log_loss_calibrated:.3f}, expected calibration error {_ece(test)}",
        *([f"- {note}"] if note else []),
        *([f"- {calibration_chosen(test.calibration_choice)}"] if test.calibration_choice else []),
        *_target(test),
        *([f"- {record.competitors.sentence}"] if record.competitors and record.competitors.sentence else []),
        *([f"- Inputs of no class: {rejected(record)}"] if record.rejection else []),
        *([f"- {record.baseline.sentence} (Baseline: {record.baseline.name}.)"] if record.baseline else []),
        *([f"- {no_transfer_note(record)}"] if no_transfer_note(record) else []),
        *([f"- {plain(' '.join([record.previous.sentence, *record.previous.lines]))}"] if record.previous else []),
        "",
        "## What this model cannot do",
        "",
        *(f"- {sentence}" for sentence in limits(record, plain)),
        *_explained(record),
        *(["", "## How to reproduce it", "", record.reproduction.sentence] if record.reproduction else []),
    ]
    return visible("\n".join(lines) + "\n")


def _explained(record: RunRecord) -> list[str]:
    """What explanations of the model's answers are worth, where they were checked."""
    found = record.explanations
    if found is None:
        return []
    if found.withheld or not found.method:
        return [f"- Explanations of its answers are {plain(found.sentence)}."]
    return ["- Explanations of its answers (`kerastl explain`) show which parts speak for a class in this model, not "
            f"what is true of the world. Checked: {plain(found.sentence)}."]


def _target(test: Figures) -> list[str]:
    target = test.target
    if target is None:
        return []
    return [f"- Target {plain(target.asked)}: {plain(result.sentence)}" for result in target.classes]


def _ece(test: Figures) -> str:
    return interval(test.ece_calibrated, test.ece_calibrated_ci95) if test.ece_ci95 else f"{test.ece_calibrated:.3f}"


def _licence(record: RunRecord) -> str:
    """Of the backbone's weights; of a folder, the licences that published folders have."""
    weights = published_weights(record.backbone)
    known = {source.kind: source.licence for source in weights}
    published = [source.licence for source in weights if source.kind == "folder"]
    default = f"depends on the model in the folder: {' or '.join(published)}" if published else "unknown"
    return known.get(record.weights, default)


def _input(record: RunRecord) -> str:
    modality = record.modality
    described = modality.load(modality.input_module, "describe_input")(record.input)
    where = "by `kerastl predict`" if record.large else "inside the model"
    return f"{described}; raw {modality.nouns} are converted to {modality.unit} {where}"


def _python(record: RunRecord) -> list[str]:
    """What Python has to import before it loads the SavedModel; empty if nothing."""
    modules = record.modality.serving_modules
    if not modules or record.large:
        return []
    imports = ", ".join(f"`import {module}`" for module in modules)
    return [f"- In Python without kerastl: {imports} before `tf.saved_model.load`, because the SavedModel uses its "
            "operations. TF Serving has them built in."]


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def plain(text: str) -> str:
    """Text from data, safe in Markdown."""
    return "".join("\\" + c if c in "\\`*_{}[]<>()#+!|~" else " " if c in "\r\n" else c for c in text)
