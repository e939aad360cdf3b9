"""The results of a tagger in a few lines, for the terminal."""

from kerastl.shell.summary import parity_table
from kerastl.tagging.record import TaggingRecord


def tagging_summary(record: TaggingRecord) -> str:
    """A run of `tag_tokens` in a few lines."""
    test = record.test
    lines = [
        *record.warnings,
        f"{record.backbone} ({record.layers}) + {record.head}, {len(record.tags)} tags",
        f"data       {record.n_train:,} training, {record.n_validation:,} validation, {record.n_test:,} test sentences "
        f"({record.split_reason})",
        *(f"           {note}" for note in record.notes),
        *([f"skipped    {len(record.skipped):,} sentences: {record.skipped[0].reason}"] if record.skipped else []),
        f"accuracy   {_figure(test.accuracy, test.accuracy_ci95)}, {test.n:,} words",
        *([f"unknown    {_figure(test.unknown_accuracy, test.unknown_accuracy_ci95)}, {test.n_unknown:,} words that no "
           "training sentence has"] if test.unknown_accuracy is not None else []),
        *([f"entities   F1 {_figure(test.entity_f1, test.entity_f1_ci95)}, {test.entities:,} exact spans"]
          if test.entity_f1 is not None else []),
        f"baseline   {record.baseline.accuracy:.3f}: {record.baseline.sentence}",
        *([f"untrained  {record.untrained.accuracy:.3f}: {record.untrained.sentence}"] if record.untrained else []),
        "", parity_table(record.parity), "",
        *([record.tflite_note] if record.tflite_note else []),
        f"{record.seconds.get('total', 0):.0f} s; written to {record.path}",
    ]
    return "\n".join(lines)


def _figure(value: float | None, interval: tuple[float, float] | None) -> str:
    low, high = interval or (0.0, 1.0)
    return f"{value:.3f}  (95% CI {low:.3f} to {high:.3f})"
