"""The report and the model card of a private version: what is protected, what was paid for, what was not measured."""

from pathlib import Path

from kerastl.display import visible
from kerastl.privacy.record import Private
from kerastl.report.card_files import exported_section
from kerastl.report.model_card import plain
from kerastl.report.page import page
from kerastl.report.private_lines import private_lines, protection_of
from kerastl.report.sentences import warnings
from kerastl.versions.record import RunRecord

LIMITS = (
    "It protects the groups of its training data, up to epsilon and delta. It does not protect what is said of all "
    "groups together, and not the inputs that it is asked about.",
    "The budget is spent by this version. Every other version that is trained on the same groups spends another: the "
    "losses add up.",
    "The feature cache, the messages of the run and the data themselves are not protected: keep them where the data "
    "are.",
    "Its probabilities are not calibrated: calibration reads held-out rows. A score of 0.8 need not be correct in 80% "
    "of cases.",
    "It has no score for inputs of no class, and no reference for drift.",
)


def payments_text(private: Private) -> list[str]:
    """What was paid for what, a line for each release."""
    return [f"{payment.what}, {payment.rows} groups: standard deviation of the noise {payment.noise:.3g} "
            "(a group changes it by at most 1)" for payment in private.payments]


def private_report(record: RunRecord) -> str:
    """The report as one HTML page. It shows no row of the data."""
    return page("private.html", run=record, private=protection_of(record), lines=private_lines(record),
                payments=protection_of(record).payments, limits=LIMITS, warnings=warnings(record))


def private_card(record: RunRecord, folder: Path) -> str:
    """MODEL_CARD.md, in Markdown. folder: of the version that is being written."""
    private = protection_of(record)
    lines = [
        f"# {plain(record.name)}, version {record.version}", "",
        *(line for warning in warnings(record) for line in (f"**{warning}**", "")),
        f"Classifies {record.modality.nouns} as one of {len(record.classes)} classes: "
        + ", ".join(map(plain, record.classes)) + ".", "",
        f"- Backbone: {record.backbone}, {record.weights} weights, frozen",
        f"- Head: {record.head}, private, in {private.dimensions} dimensions",
        f"- Data: {plain(record.data)}", "",
        "## Protection of the training data", "",
        plain(private.sentence), "",
        f"- Neighbouring data: {private.neighbours}", f"- Mechanism: {private.mechanism}",
        f"- Noise from: {private.entropy}", "- Training groups and held-out groups are disjoint; each pays the whole "
        "budget once", *(f"- Paid: {plain(line)}" for line in payments_text(private)),
        f"- Taken as public: {plain('; '.join(private.public))}", f"- Fixed: {plain('; '.join(private.fixed))}",
        f"- Not in this version: {plain('; '.join(private.omitted))}", f"- {plain(private.caution)}", "",
        "## Evaluation", "", *(f"- {plain(line)}" for line in private_lines(record)[1:]), "",
        "## What this model cannot do", "", *(f"- {sentence}" for sentence in LIMITS),
    ]
    return visible("\n".join(lines) + "\n") + exported_section(folder, record)
