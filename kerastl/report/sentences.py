"""Sentences about a run, shared by the report, the model card and the terminal."""

from kerastl.data.split import REQUESTED, SMALL_TEST
from kerastl.evaluation.competitors import PLAIN
from kerastl.evaluation.result import ClassResult, Figures
from kerastl.report.calibration import interval
from kerastl.stats import HELPED, in_points
from kerastl.tasks import NONE
from kerastl.versions.record import RunRecord


def warnings(record: RunRecord) -> list[str]:
    """Warnings about random weights, which make the figures meaningless."""
    if record.random_weights:
        return ["RANDOM WEIGHTS: the backbone was not pretrained, so the figures say nothing about transfer learning. "
                "Do not use this model."]
    if record.random_parts:
        return [f"RANDOM WEIGHTS in {', '.join(record.random_parts)}: the figures say nothing about combining two "
                "pretrained networks."]
    return []


def losses(record: RunRecord) -> list[str]:
    """Warnings about rows that were skipped, if they were many, or mostly of one class."""
    return [f"WARNING: {warning}" for warning in (record.data_summary.warnings if record.data_summary else ())]


def no_transfer_note(record: RunRecord) -> str:
    """What to know beside the gain over the baseline, where plain features may be what makes it; else empty."""
    if record.baseline is None or record.competitors is None:
        return ""
    if record.head == PLAIN:
        return f"The exported head, {PLAIN}, does not use the backbone: neither of the two models transfers anything."
    plain = next((head for head in record.competitors.heads if head.head == PLAIN), None)
    if plain is None or record.baseline.verdict != HELPED or plain.gain_ci95[0] > 0:
        return ""
    return (f"However, the head {PLAIN}, which does not use the backbone either, scores {plain.accuracy:.3f}. Over it "
            f"the gain is {in_points(plain.gain, plain.gain_ci95, '+')}, which does not show that the backbone helps.")


def evaluated_by(record: RunRecord) -> str:
    """How the figures were obtained: `84 images, evaluated by 5-fold cross-validation`."""
    nouns = record.modality.nouns
    if record.split == "cv":
        return f"{record.n_test:,} {nouns}, evaluated by 5-fold cross-validation"
    parts = f"{record.n_train:,} for training, {record.n_validation:,} for validation, {record.n_test:,} for testing"
    split = "the split that came with the data" if record.split == "given" else "a hold-out split"
    return f"{record.n_train + record.n_validation + record.n_test:,} {nouns}, evaluated on {split} ({parts})"


def protocol(record: RunRecord) -> str:
    """How the model was evaluated, and that no reported figure comes from rows that chose anything."""
    nouns, reason = record.modality.nouns, f" ({record.split_reason})" if record.split_reason else ""
    if record.split == "cv":
        return (f"5-fold cross-validation{reason}: each of the {record.n_test:,} {nouns} is predicted by a head that "
                f"was not trained on it. The exported head was then trained on all {record.n_train:,}.")
    split = "The split came with the data" if record.split == "given" else "Hold-out split"
    return (f"{split}{reason}: {record.n_train:,} {nouns} for training, {record.n_validation:,} for validation and "
            f"{record.n_test:,} for testing. The test rows were not used for model selection.")


def calibration_note(test: Figures) -> str:
    """A sentence where calibration made a figure worse, as it can on few rows; empty where it did not."""
    worse = [f"{name} worse ({before:.3f} to {after:.3f})" for name, before, after in (
        ("the log loss", test.log_loss, test.log_loss_calibrated), ("the ECE", test.ece, test.ece_calibrated))
        if round(after, 3) > round(before, 3)]
    if not worse:
        return ""
    by_chance = "It is chosen and fitted on other rows, so this can happen by chance."
    if test.calibration_choice and test.calibration_choice.chosen == NONE:
        return (f"Calibration in the folds made {' and '.join(worse)}. {by_chance} On all rows none is better, so the "
                "exported model has none.")
    return f"Calibration made {' and '.join(worse)}. {by_chance}"


def macro_f1(test: Figures) -> str:
    """Macro F1, with its note if there is one."""
    note = macro_f1_note(test)
    return f"{test.macro_f1:.3f}" + (f"  ({note})" if note else "")


def macro_f1_note(test: Figures) -> str:
    """Over how many classes macro F1 is the mean, where not all have held-out rows: the others have no F1."""
    present = sum(scores.support > 0 for scores in test.classes)
    return f"mean of the {present} of {len(test.classes)} classes with rows" if present < len(test.classes) else ""


def class_scores(scores: ClassResult) -> tuple[str, str, str]:
    """Precision and recall of a class, with their intervals if these were recorded, and F1. A class without held-out
    rows has none of them, and one that is never predicted no precision."""
    if not scores.support:
        return "-", "-", "-"
    f1 = f"{scores.f1:.3f}"
    if scores.recall_ci95 is None:  # a record of an earlier version
        return f"{scores.precision:.3f}", f"{scores.recall:.3f}", f1
    return interval(scores.precision, scores.precision_ci95), interval(scores.recall, scores.recall_ci95), f1


def share_headings(test: Figures) -> tuple[str, str]:
    """The headings of the first two `class_scores`."""
    more = " (95% CI)" * any(scores.recall_ci95 for scores in test.classes)
    return f"precision{more}", f"recall{more}"


def fine_tuned(record: RunRecord) -> str:
    """How fine-tuning went; empty where the backbone stayed frozen without trying."""
    tuned = record.fine_tuning
    if tuned is None:
        return ""
    blocks = "block" if tuned.blocks == 1 else f"{tuned.blocks} blocks"
    if not tuned.blocks:
        return f"not tried: the frozen backbone's log loss is {tuned.loss_before:.3f}, which leaves little to gain"
    nested = tuned.folds_kept is not None
    kept = "the fine-tuned model is exported" if tuned.kept else \
        "no improvement beyond chance, the frozen model is exported"
    if not tuned.kept and record.split == "holdout" and small(record) and \
            not record.split_reason.startswith(REQUESTED):
        kept += (f", with a head trained on the {record.n_train:,} training rows; `unfreeze` 0 would cross-validate it "
                 "and train it on all")
    chosen = f" (the choice was made anew for each of 5 folds, without its rows: fine-tuned in {tuned.folds_kept})" \
        if nested else ""
    if tuned.frozen_accuracy is not None and tuned.tuned_accuracy is None:  # a record of version 0.2: always kept
        return f"contrastive loss, last {blocks}; frozen backbone: {tuned.frozen_accuracy:.3f}"
    what = f"contrastive loss, last {blocks}" if tuned.method == "contrast" else f"last {blocks}"
    if tuned.frozen_accuracy is not None:
        what += f": accuracy {tuned.tuned_accuracy:.3f}, with the frozen backbone {tuned.frozen_accuracy:.3f}"
        return f"{what}; log loss {tuned.loss_after:.3f}, {tuned.loss_before:.3f} with it; {kept}{chosen}"
    return f"{what}: validation loss {tuned.loss_before:.4f} -> {tuned.loss_after:.4f}; {kept}"


def small(record: RunRecord) -> bool:
    """Whether a frozen backbone would have been cross-validated."""
    return (record.n_train + record.n_validation + record.n_test) * 0.1 < SMALL_TEST


def augmented(record: RunRecord) -> str:
    """What was done to the images in fine-tuning, and why; empty where nothing was fine-tuned or could be augmented."""
    chosen = record.fine_tuning.augmentation if record.fine_tuning else None
    if chosen is None or not record.modality.augments:
        return ""
    folds = f"; the flip was used in {chosen.flips_in_folds} of 5 folds" if chosen.flips_in_folds is not None else ""
    return f"{chosen} ({chosen.reason}{folds})"


FEW_TEST = 50  # test rows, below which an accuracy says little


def few_test_rows(record: RunRecord) -> str:
    """A warning that so few test rows say little; empty where they are enough."""
    if record.split == "cv" or record.n_test >= FEW_TEST:
        return ""
    low, high = record.test.accuracy_ci95
    return (f"Only {record.n_test:,} test {record.modality.nouns}: the accuracy may be anywhere from {low:.3f} to "
            f"{high:.3f}, and cannot be compared with that of other runs. Cross-validation would use all rows "
            "(`split` auto or cv).")


def text_lengths(record: RunRecord) -> str:
    """How long the texts are, and how many are truncated; empty where inputs have no length."""
    lengths = record.lengths
    if lengths is None:
        return ""
    most = record.input["max_length"]
    cut = f"{lengths.truncated:,} of {lengths.rows:,}" if lengths.truncated else "none"
    how = {"head": f"truncated at {most}", "head+tail": f"shortened to their first and last tokens, {most} in total",
           "chunks": f"split into windows of {most}"}[record.input["long"]]
    return f"median {lengths.median} tokens, max {lengths.longest}; {cut} {how}"
