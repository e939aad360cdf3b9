"""Evaluate an exported model on labelled data."""

from dataclasses import dataclass, replace
from textwrap import wrap
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.flags import DataFlags
from kerastl.shell.terminal import count_of, table

if TYPE_CHECKING:
    from kerastl.serving.evaluate_model import EvaluateResult

SHOWN = 5  # confusions and mistakes on the terminal


@dataclass(frozen=True)
class Config(DataFlags):
    """Evaluate an exported model on labelled data, with the metrics that training reports."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    source: Positional[str]  # labelled data, as for training
    strict: bool = False  # fail if more than 2% of the rows are skipped, or if a class loses far more than the others
    out: str | None = None  # write the figures, the confusion matrix and the mistakes to this .html file
    worst: int = 24  # list so many mistakes, the most confident first
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    against: str | None = None  # compare with another version on the same rows: its number, or a path
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Raises OptionError for a page that cannot be written, or a number of mistakes that cannot be listed."""
    from kerastl.serving.mistakes import check_worst

    check_worst(config.worst)
    if config.out is not None:
        from kerastl.report.page import page_file

        page_file(config.out, "out")


def run(config: Config) -> "EvaluateResult":
    """The metrics on this data, and how many of its rows were used in training."""
    from kerastl.report.evaluation_page import write_evaluation_page
    from kerastl.serving.classifier import load_classifier
    from kerastl.serving.compare_versions import load_other
    from kerastl.serving.evaluate_model import evaluate_model

    model = load_classifier(config.model, config.weights, trust=config.trust)
    against = None if config.against is None else load_other(model, config.against, config.weights, trust=config.trust)
    result = evaluate_model(model, config.source, options=config.read_options(), data_dir=config.data_dir,
                            cache_dir=config.cache_dir, worst=config.worst, against=against)
    if config.out is not None:
        write_evaluation_page(result, config.out)
        result = replace(result, out=config.out)
    return result


def show(result: "EvaluateResult") -> str:
    """The metrics, a warning if rows were used in training, and the scores of each class."""
    from kerastl.report.calibration import ece_in_words, interval
    from kerastl.report.sentences import class_scores, macro_f1, share_headings
    from kerastl.shell.summary import INDENT, WIDTH, comparison_lines, more_rates, target_lines

    test, (low, high) = result.test, result.test.accuracy_ci95
    lines = [f"{result.model}, evaluated on {count_of(test.n, 'row')}",
             *(f"           {note}" for note in result.notes),
             f"accuracy   {test.accuracy:.3f}  (95% CI {low:.3f} to {high:.3f}; {test.interval})",
             f"macro F1   {macro_f1(test)}",
             *more_rates(test),
             f"log loss   {test.log_loss:.3f}",
             f"ECE        {interval(test.ece, test.ece_ci95)}",
             *wrap(ece_in_words(test), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT),
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
    lines += [line for text in _classes(result) for line in wrap(text, WIDTH, subsequent_indent=INDENT)]
    partial = [f"WARNING: {warning}; these figures describe the other rows" for warning in result.data_summary.warnings]
    rows = [("class", *share_headings(test), "F1", "ROC-AUC (95% CI)", "average precision (95% CI)", "rows")]
    rows += [(scores.name, *class_scores(scores), interval(scores.roc_auc, scores.roc_auc_ci95),
              interval(scores.average_precision, scores.average_precision_ci95), str(scores.support))
             for scores in test.classes]
    written = [f"written    {result.out}"] * bool(result.out)
    return "\n".join([*lines, "", table(rows), *_errors(result), *written, *partial])


def _classes(result: "EvaluateResult") -> list[str]:
    """The classes that only the data have, or only the model."""
    effect = "labels are ignored" if result.labels else "rows are skipped"
    unknown = ", ".join(f"{name} ({count_of(n, 'row')})" for name, n in result.unknown_classes.items())
    missing = ", ".join(result.classes_without_rows)
    return [f"classes    not known to the model, whose {effect}: {unknown}"] * bool(unknown) + [
        f"classes    of the model without rows in these data: {missing}"] * bool(missing)


def _errors(result: "EvaluateResult") -> list[str]:
    """Where the errors concentrate, and the most confident ones."""
    if not result.incorrect:
        return []
    lines = ["", f"{result.incorrect:,} of {result.test.n:,} rows are predicted incorrectly, most often:"]
    if result.labels:
        rows = [("label", "rows", "missed", "false alarms")]
        rows += [(label.name, str(label.rows), str(label.missed), str(label.false_alarms))
                 for label in result.labels[:SHOWN] if label.missed or label.false_alarms]
    else:
        rows = [("actual", "predicted", "rows", "share of the class")]
        rows += [(pair.actual, pair.predicted, str(pair.rows), f"{pair.share:.1%}")
                 for pair in result.confusions[:SHOWN]]
    lines.append(table(rows))
    mistakes = [("most confident mistakes", "predicted", "confidence", "actual")]
    mistakes += [(mistake.origin, mistake.predicted, f"{mistake.probability:.3f}", mistake.actual)
                 for mistake in result.test.mistakes[:SHOWN]]
    return [*lines, "", table(mistakes)] if mistakes[1:] else lines
