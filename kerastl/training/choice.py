"""What was chosen among heads or backbones, and what the others predict."""

from collections.abc import Mapping
from dataclasses import dataclass

from kerastl.decision import Predictions


@dataclass(frozen=True)
class Rival:
    """Predictions of one of them, for the rows for which the chosen one predicts: see `FittedHead`."""

    held_out: Predictions
    validation: Predictions | None = None


@dataclass(frozen=True)
class HeadChoice:
    """by: the head that chose, such as `best`; chosen: the head that ships; reason: why, in words. rivals: all heads
    that were compared, by name, none where only one was fitted. folds: the head that each fold chose, or the hold-out.
    simple_wins: see `RowsFit`."""

    by: str
    chosen: str
    reason: str
    rivals: Mapping[str, Rival]
    folds: tuple[str, ...]
    simple_wins: bool = False
