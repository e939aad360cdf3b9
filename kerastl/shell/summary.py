"""The printed summary of a run: its metrics in a few lines, and tables of its artifacts."""

from collections.abc import Sequence
from textwrap import wrap

from kerastl.data.near_duplicates.record import GROUP, NearDuplicates
from kerastl.evaluation.competitors import Competitors
from kerastl.evaluation.result import Figures
from kerastl.explanation.record import Explanations
from kerastl.report.calibration import ece_in_words, rates, unranked
from kerastl.report.private_lines import private_lines
from kerastl.report.rejection import counted, rejected
from kerastl.report.sentences import (
    augmented,
    calibration_note,
    evaluated_by,
    few_test_rows,
    fine_tuned,
    losses,
    macro_f1,
    no_transfer_note,
    text_lengths,
    warnings,
)
from kerastl.shell.terminal import table
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import Ablation, DistilledForm, Parity, Trial
from kerastl.versions.version_comparison import VersionComparison

WIDTH = 100
INDENT = " " * 11  # of what follows under a name


def run_summary(record: RunRecord) -> str:
    """A run in a few lines, for the terminal."""
    if record.private is not None:
        return _private_summary(record)
    test, (low, high) = record.test, record.test.accuracy_ci95
    lines = [
        *warnings(record),
        f"{record.backbone} + {record.head}, {len(record.classes)} classes",
        f"data       {evaluated_by(record)}" + (f" ({record.split_reason})" if record.split_reason else ""),
        *(f"{INDENT}{note}" for note in record.notes),
        *(f"{INDENT}{remark}" for remark in (record.data_summary.remarks if record.data_summary else ())),
    ]
    optional = [("length", text_lengths(record)), ("skipped", _skipped(record)), ("search", _search(record.search)),
                ("fine-tuned", fine_tuned(record))]
    lines += [f"{name:<10} {text}" for name, text in optional if text]
    if text := augmented(record):
        lines += wrap(f"augmented  {text}", WIDTH, subsequent_indent=INDENT)
    lines += [
        f"accuracy   {test.accuracy:.3f}  (95% CI {low:.3f} to {high:.3f}; {test.interval})",
        f"macro F1   {macro_f1(test)}",
        *more_rates(test),
        f"log loss   {test.log_loss:.3f}, after calibration {test.log_loss_calibrated:.3f}",
        f"ECE        {test.ece:.3f}, after calibration {test.ece_calibrated:.3f}" + (
            f"  (95% CI {test.ece_calibrated_ci95[0]:.3f} to {test.ece_calibrated_ci95[1]:.3f})"
            if test.ece_calibrated_ci95 else ""),
        *_indented(ece_in_words(test)),
        *([f"calibrated {test.calibration_choice.chosen}"] if test.calibration_choice else []),
        *_indented(calibration_note(test)),
        *target_lines(test),
        *_indented(few_test_rows(record)),
    ]
    if record.previous:
        lines += comparison_lines(record.previous)
    if record.baseline:
        lines += [f"transfer   {record.baseline.sentence}", *_indented(no_transfer_note(record))]
    if record.linear_beside:
        lines += wrap(f"linear     {record.linear_beside.sentence}", WIDTH, subsequent_indent=INDENT)
    if record.competitors:
        lines += _competitors(record.competitors)
    if record.rejection:
        sentences = ". ".join(filter(None, [rejected(record), counted(record)]))
        lines += wrap(f"unknown    {sentences}", WIDTH, subsequent_indent=INDENT)
    if record.near_duplicates:
        lines += _near_duplicates(record.near_duplicates)
    if record.label_errors and not record.label_errors.reason:
        lines += wrap(f"labels     {record.label_errors.sentence} (shown in the report)", WIDTH,
                      subsequent_indent=INDENT, break_long_words=False)
        lines += wrap(record.label_errors.caution, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    if record.explanations:
        lines += _explanations(record.explanations)
    if record.learning_curve:
        lines += wrap(f"more rows  {record.learning_curve.sentence}", WIDTH, subsequent_indent=INDENT)
        lines += _indented(record.learning_curve.exported)
        lines += _indented(record.learning_curve.class_sentence) if record.learning_curve.gains else []
    if record.ablation:
        lines += ["", ablation_table(record.ablation)]
    if record.distilled:
        lines += ["", f"teacher    {record.distilled.teacher}", forms_table(record.distilled.forms)]
    if record.large:
        lines.append(f"export     {record.large.ships}")
    return "\n".join([*lines, "", parity_table(record.parity), "", f"written    {record.path}", *losses(record)])


def _private_summary(record: RunRecord) -> str:
    lines = [line for sentence in private_lines(record) for line in wrap(sentence, WIDTH)]
    first = f"{record.backbone} + {record.head}, {len(record.classes)} classes"
    return "\n".join([*warnings(record), first, *lines, "", parity_table(record.parity), "",
                      f"written    {record.path}"])


def more_rates(test: Figures) -> list[str]:
    """Balanced accuracy, ROC-AUC and average precision, a line each, and the classes that these leave out."""
    names = {"balanced accuracy": "balanced", "average precision": "avg. prec."}
    return [*(f"{names.get(name, name):<10} {figure}" for name, figure in rates(test)), *_indented(unranked(test))]


def comparison_lines(compared: VersionComparison) -> list[str]:
    """Two versions on the same rows."""
    sentences = " ".join([compared.sentence, *compared.lines])
    return wrap(f"versions   {sentences}", WIDTH, subsequent_indent=INDENT, break_long_words=False)


def target_lines(test: Figures) -> list[str]:
    """What was asked of the predictions, and what they reach for each class; none without a target."""
    if test.target is None:
        return []
    lines = [line for result in test.target.classes for line in _indented(result.sentence)]
    return [f"target     {test.target.asked}", *lines,
            *_indented("Accuracy and F1 are with the target; a comparison with the baseline is without it.")]


def _indented(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def ablation_table(ablation: Ablation) -> str:
    """What each part of a blend contributes, as a table, with the verdicts."""
    rows = [("part", "accuracy", "range over seeds")]
    rows += [(arm.name, f"{arm.accuracy:.3f}", f"{min(arm.accuracies):.3f} to {max(arm.accuracies):.3f}")
             for arm in ablation.arms]
    return "\n".join([table(rows), *(contrast.sentence for contrast in ablation.contrasts)])


def forms_table(forms: Sequence[DistilledForm]) -> str:
    """Teacher and student, each in every form, as a table."""
    rows = [("", "format", "accuracy", "size", "latency")]
    rows += [(form.who, form.form, f"{form.accuracy:.3f}", f"{form.bytes / 1e6:.1f} MB", f"{form.milliseconds:.1f} ms")
             for form in forms]
    return table(rows)


def parity_table(parity: Sequence[Parity]) -> str:
    """How each artifact compares with Keras, as a table."""
    rows = [("artifact", "max logit error", "same label", "accuracy", "size", "latency", "bound", "")]
    rows += [(artifact.kind, f"{artifact.max_difference:.1e}", f"{artifact.agreement:.1%}",
              f"{100 * artifact.accuracy_change:+.1f} pt", f"{artifact.bytes / 1e6:.1f} MB",
              f"{artifact.milliseconds:.1f} ms", artifact.bound, _status(artifact))
             for artifact in parity]
    return table(rows)


def _status(artifact: Parity) -> str:
    if not artifact.kept:
        return "NOT WRITTEN"
    return f"ok, without unknown_score (rank {artifact.rank:.3f})" if artifact.without_scores else "ok"


def _near_duplicates(duplicates: NearDuplicates) -> list[str]:
    """What was found of near-duplicates, and what they change in the accuracy."""
    if not duplicates.groups:
        return []
    groups = f"{duplicates.rows:,} rows in {duplicates.groups:,} group{'s' * (duplicates.groups != 1)}"
    skipped = f"; {duplicates.skipped:,} rows skipped" if duplicates.skipped else ""
    effect = duplicates.effect.sentence if duplicates.effect else ""
    text = f"{groups}, {'kept apart' if duplicates.mode == GROUP else 'ignored by the split'}{skipped}. {effect}"
    first, *more = wrap(text, WIDTH - len(INDENT))
    return [f"near-dupl. {first}", *(f"{INDENT}{line}" for line in more)]


def _competitors(competitors: Competitors) -> list[str]:
    figures = ", ".join(f"{other.head} {other.accuracy:.3f}" for other in competitors.heads)
    lines = [f"head       {competitors.chosen}: {figures or competitors.reason}"]
    return lines + wrap(f"WARNING: {competitors.sentence}", WIDTH, initial_indent=INDENT,
                        subsequent_indent=INDENT) if competitors.sentence else lines


def _explanations(explanations: Explanations) -> list[str]:
    method = f"{explanations.method}: " * bool(explanations.method and not explanations.withheld)
    return wrap(f"explained  {method}{explanations.sentence}", WIDTH, subsequent_indent=INDENT)


def _skipped(record: RunRecord) -> str:
    listed = " (listed in the report)" if record.skipped else ""
    if record.data_summary and record.data_summary.lost:
        return f"{record.data_summary.losses_line.removeprefix('skipped ')}{listed}"
    return f"{len(record.skipped)}{listed}" if record.skipped else ""


def _search(trials: Sequence[Trial]) -> str:
    if not trials:
        return ""
    first, losses = trials[0], [trial.log_loss for trial in trials if trial.log_loss is not None]
    defaults = "not finite" if first.log_loss is None else f"{first.log_loss:.4f}"
    best = f"{min(losses):.4f}" if losses else "not finite"
    return f"{len(trials)} trials: best validation log loss {best} (first trial, {first.head}: {defaults})"
