"""Evaluate an exported model on labelled data."""

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import count_of, table

if TYPE_CHECKING:
    from kerastl.serving.evaluate_model import EvaluateResult


@dataclass(frozen=True)
class Config(DataFlags):
    """Evaluate an exported model on labelled data, with the metrics that training reports."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    source: Positional[str]  # labelled data, as for training
    strict: bool = False  # fail if more than 2% of the rows are skipped, or if a class loses far more than the others
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    against: str | None = None  # compare with another version on the same rows: its number, or a path
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "EvaluateResult":
    """The metrics on this data, and how many of its rows were used in training."""
    from kerastl.serving.classifier import load
    from kerastl.serving.compare_versions import load_other
    from kerastl.serving.evaluate_model import evaluate_model

    model = load(config.model, config.weights, trust=config.trust)
    against = None if config.against is None else load_other(model, config.against, config.weights, trust=config.trust)
    return evaluate_model(model, config.source, options=config.read_options(), data_dir=config.data_dir,
                          cache_dir=config.cache_dir, against=against)


def show(result: "EvaluateResult") -> str:
    """The metrics, a warning if rows were used in training, and the scores of each class."""
    from kerastl.report.calibration import interval
    from kerastl.report.sentences import class_scores, macro_f1
    from kerastl.shell.summary import INDENT, WIDTH, comparison_lines, more_rates, target_lines

    test, (low, high) = result.test, result.test.accuracy_ci95
    lines = [f"{result.model}, evaluated on {count_of(test.n, 'row')}",
             *(f"           {note}" for note in result.notes),
             f"accuracy   {test.accuracy:.3f}  (95% CI {low:.3f} to {high:.3f}; {test.interval})",
             f"macro F1   {macro_f1(test)}",
             *more_rates(test),
             f"log loss   {test.log_loss:.3f}",
             f"ECE        {interval(test.ece, test.ece_ci95)}",
             *target_lines(test)]
    if result.trained_on:
        lines.append(f"WARNING: {result.trained_on} of these rows were used in training, so these figures are "
                     "optimistic")
    if result.against is not None:
        lines += [*comparison_lines(result.against),
                  f"{INDENT}No prediction in this comparison is by a model that was trained on the row."]
    if result.unknown is not None:
        lines += wrap(f"unknown    {result.unknown.sentence}.", WIDTH, subsequent_indent=INDENT)
    if line := result.data_summary.losses_line:
        lines.append(f"skipped    {line.removeprefix('skipped ')}")
    partial = [f"WARNING: {warning}; these figures describe the other rows" for warning in result.data_summary.warnings]
    rows = [("class", "precision", "recall", "F1", "ROC-AUC (95% CI)", "average precision (95% CI)", "rows")]
    rows += [(scores.name, *class_scores(scores), interval(scores.roc_auc, scores.roc_auc_ci95),
              interval(scores.average_precision, scores.average_precision_ci95), str(scores.support))
             for scores in test.classes]
    return "\n".join([*lines, "", table(rows), *partial])
