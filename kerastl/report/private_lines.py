"""Sentences about a private run, shared by the report, the model card and the terminal."""

import math

from kerastl.privacy.record import Private
from kerastl.versions.record import RunRecord


def private_lines(record: RunRecord) -> list[str]:
    """The protection and the figures, a sentence each, for the terminal and the pages."""
    private, test = protection_of(record), record.test
    figure = (f"Accuracy {test.accuracy:.3f} (95% CI {test.accuracy_ci95[0]:.3f} to {test.accuracy_ci95[1]:.3f}) on "
              f"about {test.n:,} held-out groups, each the mean over its rows; noise included.") \
        if not math.isnan(test.accuracy) else \
        "Accuracy not reported: with this budget, the noise on so few held-out groups is too large."
    few = f" The rule asks for about {private.needs:,}: the noise costs accuracy." * (private.needs > record.n_train)
    return [private.sentence, figure,
            f"Trained on about {record.n_train:,} groups (noised and rounded).{few}",
            "Not measured, because it was not paid for: macro F1, log loss, calibration, results of each class."]


def protection_of(record: RunRecord) -> Private:
    """The protection of a private run. Raises ValueError for another run."""
    if record.private is None:
        raise ValueError("the record is of a run that was not private")
    return record.private
