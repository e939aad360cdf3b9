"""What is printed: tables, and the summary of a run."""

from collections.abc import Sequence
from typing import Any


def summary(result: dict[str, Any]) -> str:
    """A run in a few lines, for the terminal."""
    test, low_high = result["test"], result["test"]["accuracy_ci95"]
    how = {"cv": "5-fold cross-validation, every row held out once", "holdout": "hold-out 80/10/10",
           "given": "the source's own split"}[result["split"]]
    lines = []
    if result["random_weights"]:
        lines.append("RANDOM WEIGHTS: this backbone was never trained; the figures say nothing about transfer learning")
    if result["random_parts"]:
        lines.append(f"RANDOM PART: {', '.join(result['random_parts'])} was never trained; the figures say nothing of "
                     "what two trained networks are worth together")
    lines += [
        f"{result['backbone']} + {result['head']}: {len(result['classes'])} classes, {result['n_train']} rows to train "
        f"on, {result['n_test']} held out",
        f"accuracy   {test['accuracy']:.3f}  (95% {low_high[0]:.3f} to {low_high[1]:.3f}; {test['interval']})",
        f"macro F1   {test['macro_f1']:.3f}",
        f"log loss   {test['log_loss']:.3f}, calibrated {test['log_loss_calibrated']:.3f}",
        f"ECE        {test['ece']:.3f}, calibrated {test['ece_calibrated']:.3f}",
        f"judged by  {how} ({result['split_reason']})",
    ]
    if result["search"]:
        first = result["search"][0]
        least = min(one["log_loss"] for one in result["search"] if one["log_loss"] is not None)
        plain = "none" if first["log_loss"] is None else f"{first['log_loss']:.4f}"
        lines.append(f"searched   {len(result['search'])} settings: log loss {least:.4f} on validation rows, "
                     f"{plain} with {first['head']} as it is")
    lines += [f"data       {note}" for note in result["notes"]]
    if result["kind"] == "text" and result["input"]["lengths"]:
        about, lengths = result["input"], result["input"]["lengths"]
        lines.append(f"lengths    {lengths['median']} tokens in the middle, {lengths['longest']} at most; "
                     f"{lengths['cut']} of {lengths['rows']} texts cut at {about['max_length']} ({about['long']})")
    if result["baseline"]:
        lines.append(f"transfer   {result['baseline']['word']}")
    if result["unfrozen"]:
        tuned = result["unfrozen"]
        lines.append(f"tuned      by contrast, {tuned['blocks']} blocks, for the labels are few; frozen it reached "
                     f"{tuned['frozen_accuracy']:.3f}" if tuned["how"] == "contrast" else
                     f"unfrozen   last {tuned['blocks']} blocks: validation loss {tuned['loss_before']:.4f} -> "
                     f"{tuned['loss_after']:.4f}; " + ("kept" if tuned["kept"] else "not kept, the frozen model ships"))
    if result["ablation"]:
        lines += ["", ablation_table(result["ablation"]), ""]
    if result["distilled"]:
        lines.append(f"teacher    {result['distilled']['teacher']}\n\n{sides_table(result['distilled']['sides'])}\n")
    if result["large"]:
        lines.append(f"ships      {result['large']['ships']}")
    if result["left_out"]:
        lines.append(f"left out   {len(result['left_out'])} (see the report)")
    lines += ["", parity_table(result["parity"]), "", f"written    {result['path']}"]
    return "\n".join(lines)


def ablation_table(ablation: dict[str, Any]) -> str:
    """What each part of a blend is worth, with the words on it."""
    rows = [("part", "accuracy", "over the seeds")]
    rows += [(one["name"], f"{sum(one['accuracies']) / len(one['accuracies']):.3f}",
              f"{min(one['accuracies']):.3f} to {max(one['accuracies']):.3f}") for one in ablation["arms"]]
    return "\n".join([table(rows), *(one["word"] for one in ablation["contrasts"])])


def sides_table(sides: list[dict[str, Any]]) -> str:
    """Teacher and student, each in every form, as a table."""
    rows = [("", "form", "accuracy", "size", "latency")]
    rows += [(one["who"], one["form"], f"{one['accuracy']:.3f}", f"{one['bytes'] / 1e6:.1f} MB",
              f"{one['milliseconds']:.1f} ms") for one in sides]
    return table(rows)


def parity_table(parity: list[dict[str, Any]]) -> str:
    """The parity gate's findings as a table."""
    rows = [("artifact", "max diff", "same label", "accuracy", "size", "latency", "bound", "")]
    rows += [(one["kind"], f"{one['max_difference']:.1e}", f"{one['agreement']:.1%}",
              f"{100 * one['accuracy_change']:+.1f} pt", f"{one['bytes'] / 1e6:.1f} MB",
              f"{one['milliseconds']:.1f} ms", one["bound"], "ok" if one["kept"] else "BROKEN, not written")
             for one in parity]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first the heading, as aligned text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
