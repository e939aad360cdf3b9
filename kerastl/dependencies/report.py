"""report.html and the model card of a parser, and its results in a few lines. Whatever comes from data is escaped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kerastl.dependencies.drawing import draw_tree
from kerastl.dependencies.evaluation import ParserEvaluation
from kerastl.dependencies.record import ParsingRecord
from kerastl.dependencies.scorer import correct_words
from kerastl.display import visible, visible_cell
from kerastl.files import write_file
from kerastl.report.card_files import CARD
from kerastl.report.charts import curve_chart
from kerastl.report.page import page
from kerastl.tokens.sentences import Sentence

SHOWN, SHORTEST, LONGEST = 8, 4, 25  # trees of each kind; words of the sentences that are drawn
CLAS = "CLAS"


def write_pages(folder: Path, record: ParsingRecord, evaluation: ParserEvaluation) -> None:
    """Write report.html and MODEL_CARD.md into a version folder."""
    incorrect, correct = _drawn(evaluation.gold, evaluation.predicted)
    losses = [{"epoch": point["epoch"], "loss": point["loss"]} for point in record.training_curve]
    write_file(folder / "report.html", page(
        "parser.html", record=record, headline=headline(record), incorrect=incorrect, correct=correct,
        curve=Markup(curve_chart(losses)),
        best=max(point["score"] for point in record.training_curve)))
    write_file(folder / CARD, model_card(record))


def headline(record: ParsingRecord) -> list[tuple[str, float, tuple[float, float]]]:
    """The names of the figures, their values and their intervals; CLAS where the test sentences have content words."""
    test = record.test
    figures = [("UAS", test.uas, test.uas_ci95), ("LAS", test.las, test.las_ci95)]
    if test.clas is not None and test.clas_ci95 is not None:
        figures.append((CLAS, test.clas, test.clas_ci95))
    return figures


def parser_summary(record: ParsingRecord) -> str:
    """A run in a few lines, for the terminal."""
    lines = [*record.warnings,
             f"{record.backbone} ({record.layers}) + {record.head}, {len(record.relations)} relations",
             f"data       {record.n_train:,} training, {record.n_validation:,} validation and {record.n_test:,} test "
             f"sentences ({record.split_reason})"]
    if record.skipped:
        lines.append(f"skipped    {len(record.skipped):,} sentences: {record.skipped[0].reason}")
    lines += [f"{name:<10} {value:.3f}  (95% CI {low:.3f} to {high:.3f}"
              + (f"; {record.test.words:,} words, {record.test.interval})" if name == "UAS" else ")")
              for name, value, (low, high) in headline(record)]
    lines += [f"baseline   {gain.sentence}" for gain in record.gains]
    lines += [f"note       {note}" for note in record.notes]
    lines += [f"export     {parity.kind}: {parity.bytes / 1e6:.1f} MB, {parity.milliseconds:.0f} ms a sentence, "
              f"largest difference {parity.max_difference:.1e} on {parity.rows} sentences" for parity in record.parity]
    lines.append("seconds    " + ", ".join(f"{step} {seconds:.0f}" for step, seconds in record.seconds.items()))
    return visible("\n".join([*lines, f"written to {record.path}"]))


def model_card(record: ParsingRecord) -> str:
    """The model card in Markdown."""
    lines = [
        f"# {_plain(record.name)}, version {record.version}", "",
        *(line for warning in record.warnings for line in (f"**{_plain(warning)}**", "")),
        "Parses sentences: gives each word its head in a dependency tree, and its relation to that head.", "",
        f"- Encoder: {record.backbone} ({record.weights} weights), frozen; layers {record.layers}, "
        f"{record.pieces} piece of each word, at most {record.max_length} tokens",
        f"- Head: biaffine (Dozat and Manning 2017), {len(record.relations)} relations",
        f"- Data: {_plain(str(record.config.get('data', '')))}, {record.n_train:,} sentences for training", "",
        "## Evaluation", "",
        f"On {record.test.n:,} test sentences ({record.test.words:,} words), which were used for nothing else; words "
        "are those of the data. Counted as by the scorer of the CoNLL 2018 shared task.", "",
        *(f"- {name} {value:.3f}, 95% confidence interval {low:.3f} to {high:.3f}"
          for name, value, (low, high) in headline(record)),
        *(f"- {_plain(gain.sentence)}" for gain in record.gains),
        *(f"- {_plain(note)}" for note in record.notes), "",
        "## Use", "",
        "- `saved_model.pb`: signature `serving_default` takes `text`, strings whose words are separated by spaces; "
        "`words` takes words, padded with empty strings. Both return `tokens`, `arcs` [batch, n, n + 1] (the score of "
        "each head of each word; column 0 is the root) and `relations` [batch, n, n + 1, relations], in the order of "
        "`labels.txt`.",
        "- `kerastl predict` and `kerastl.load` decode trees from these scores: the best tree with one root.", "",
        "## What this model cannot do", "",
        "- It does not divide texts into sentences, nor tokens into words: it expects words as in its training data.",
        "- It gives every sentence one tree with one root, also one that is in another language or no sentence.",
        "- Its scores are no probabilities.", "- There is no TFLite file."]
    return visible("\n".join(lines) + "\n")


def _drawn(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> tuple[list[dict[str, Any]], ...]:
    """Trees to show, with a mistake and without, chosen by hash."""
    kinds: tuple[list[dict[str, Any]], ...] = ([], [])
    for given, found in sorted(zip(gold, predicted, strict=True), key=lambda pair: pair[0].id):
        hits = int(correct_words(given, found)[1].sum())
        kind = kinds[hits == len(given)]
        if SHORTEST <= len(given) <= LONGEST and len(kind) < SHOWN:
            kind.append({"svg": Markup(draw_tree(found, given)), "origin": given.origin, "correct": hits,
                         "words": len(given)})
    return kinds


def _plain(text: str) -> str:
    """Text of data inside Markdown."""
    return visible_cell(text).translate({ord(sign): f"\\{sign}" for sign in "\\`*_[]<>|#"})
