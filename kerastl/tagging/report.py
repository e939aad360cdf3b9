"""report.html and the model card of a tagger. Whatever comes from data is escaped."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kerastl.backbones import published_weights
from kerastl.display import visible
from kerastl.files import write_file
from kerastl.report.card_files import files_section
from kerastl.report.charts import Frame, svg
from kerastl.report.page import page
from kerastl.tagging.record import TaggingRecord
from kerastl.tokens.sentences import Sentence
from kerastl.versions.reproduction import typed_command

SHOWN = 10  # sentences with mistakes, and without


@dataclass(frozen=True)
class Word:
    """A word in the report: its given tag, the predicted one, and whether no training sentence has the word."""

    text: str
    tag: str
    predicted: str


def write_pages(folder: Path, record: TaggingRecord, test: Sequence[Sentence], predicted: Sequence[Sequence[str]]
                ) -> None:
    """Write report.html and MODEL_CARD.md. test, predicted: the test sentences, and the tags predicted for each."""
    write_file(folder / "report.html", report_html(record, test, predicted))
    files = files_section(folder, typed_command(sys.argv), record.parity, "sentence")
    write_file(folder / "MODEL_CARD.md", visible(_card(record)) + files)


def report_html(record: TaggingRecord, test: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> str:
    """The report of a record as one HTML page. The sentences that it shows are the first by the hash of their words."""
    order = sorted(range(len(test)), key=lambda row: test[row].id)
    wrong = [row for row in order if test[row].tags != tuple(predicted[row])]
    right = [row for row in order if test[row].tags == tuple(predicted[row]) and len(test[row]) > 2]

    def shown(rows: list[int]) -> list[dict[str, object]]:
        return [{"origin": test[row].origin,
                 "words": [Word(*word) for word in zip(test[row].words, test[row].tags, predicted[row], strict=True)]}
                for row in rows[:SHOWN]]

    return page("tagging.html", run=record, test=record.test, wrong=shown(wrong), right=shown(right),
                n_wrong=len(wrong), curve=Markup(_curve(record)))


def _curve(record: TaggingRecord) -> str:
    """The score on validation sentences by epoch."""
    scores = [(epoch["epoch"], epoch["score"]) for epoch in record.training_curve]
    if len(scores) < 2:
        return ""
    low, high = min(y for _, y in scores), max(y for _, y in scores)
    room = (high - low) * 0.05 or 0.01
    frame = Frame((scores[0][0], scores[-1][0]), (low - room, high + room))
    points = [frame.at(*point) for point in scores]
    parts = [f'<polyline class="line second" points="{" ".join(f"{x},{y}" for x, y in points)}"/>']
    ticks = sorted({scores[0][0], float(record.epoch), scores[-1][0]})
    return svg("Score on validation sentences", frame, parts, ticks, [low, (low + high) / 2, high], "epoch", "score")


def _card(record: TaggingRecord) -> str:
    test, entities = record.test, record.test.entity_f1
    kinds = {source.kind: source.licence for source in published_weights(record.backbone)}
    names = ", ".join(map(_plain, record.tags))
    lines = [
        f"# {_plain(record.name)}, version {record.version}", "",
        *(line for warning in record.warnings for line in (f"**{_plain(warning)}**", "")),
        f"Assigns one of {len(record.tags)} tags to each word of a sentence: {names}.", "",
        f"- Encoder: {record.backbone}, {record.weights} weights (licence: {kinds.get(record.weights, 'unknown')}), "
        f"frozen; layers {record.layers}, {record.pieces} piece of each word",
        f"- Head: {record.head}",
        f"- Data: {_plain(str(record.config.get('data', '')))}, {record.n_train:,} sentences for training",
        f"- Input: texts whose words are separated by whitespace, or words; at most {record.max_length} tokens of a "
        "sentence", "",
        "## Evaluation", "",
        f"On {test.n:,} words of {test.sentences:,} test sentences ({record.split_reason}), on which nothing was "
        f"chosen. Intervals: {test.interval}.", "",
        f"- Accuracy {test.accuracy:.3f}, 95% confidence interval {_interval(test.accuracy_ci95)}",
        *([f"- Accuracy on {test.n_unknown:,} words that no training sentence has: {test.unknown_accuracy:.3f} "
           f"({_interval(test.unknown_accuracy_ci95)})"] if test.unknown_accuracy is not None else []),
        *([f"- F1 of entities (exact spans): {entities:.3f} ({_interval(test.entity_f1_ci95)}), {test.entities:,} "
           "entities"] if entities is not None else []),
        f"- {_capital(record.baseline.sentence)} (Most frequent tag: {record.baseline.accuracy:.3f}.)",
        *([f"- {_capital(record.untrained.sentence)} (Random weights: {record.untrained.accuracy:.3f}.)"]
          if record.untrained else []), "",
        "## What this model cannot do", "",
        "- It does not divide text into words or sentences: words that are written together, such as a word and the "
        "full stop behind it, are one word to it.",
        "- It was evaluated on sentences of the same source. On texts of another kind its accuracy is not known.",
        "- Near-duplicates of test sentences were not looked for; sentences of the same words were kept apart.",
        f"- Words beyond {record.max_length} tokens of a sentence are tagged without having been read.",
        "- In Python without kerastl: `import tensorflow_text` before `tf.saved_model.load`. TF Serving has it built "
        "in.",
        *([f"- {record.tflite_note}"] if record.tflite_note else []),
    ]
    return "\n".join(lines) + "\n"


def _interval(ends: tuple[float, float] | None) -> str:
    return "not known" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(text: str) -> str:
    """Text from data, safe in Markdown."""
    return "".join("\\" + c if c in "\\`*_{}[]<>()#+!|~" else " " if c in "\r\n" else c for c in text)
