"""What run.json says of a private run: the key `private`, and figures that were not paid for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerastl.fields import Section

NEIGHBOURS = "add or remove one group"
MECHANISM = "Gaussian mechanism, analytic calibration (Balle and Wang 2018)"
ENTROPY = "operating system"
FLOATS = ("Noise is drawn as floating-point numbers. Attacks on their lowest bits, and on the time that a run takes, "
          "are not excluded.")
REQUIRED = ("accuracy", "macro_f1", "log_loss", "log_loss_calibrated", "ece", "ece_calibrated")


@dataclass(frozen=True)
class Payment(Section):
    """One release. what: in words. rows: which groups it was computed from. strength: sensitivity 1 over `noise`, the
    standard deviation of its noise. Releases from the same groups add up: the root of the sum of squared strengths."""

    what: str
    rows: str
    strength: float
    noise: float


@dataclass(frozen=True)
class Private(Section):
    """The protection of a version's training data. unit: what a group is, in words. strength: of all releases from a
    group together. dimensions: that features are projected to. fixed: what has a fixed value. public: what is taken as
    known. omitted: what a version holds otherwise. needs: groups that the rule asks for; 0: not stated."""

    epsilon: float
    delta: float
    unit: str
    neighbours: str = NEIGHBOURS
    mechanism: str = MECHANISM
    entropy: str = ENTROPY
    strength: float = 0.0
    dimensions: int = 0
    payments: tuple[Payment, ...] = ()
    public: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()
    caution: str = FLOATS
    needs: int = 0

    @property
    def sentence(self) -> str:
        """The protection in plain words."""
        return (f"Differentially private: epsilon {self.epsilon:g}, delta {self.delta:g}. Neighbouring data: "
                f"{self.neighbours}. A group is {self.unit}.")


def as_null(test: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a document with None for those that are not numbers, because they were not paid for."""
    return {name: [_null(part) for part in value] if name == "accuracy_ci95" else _null(value)
            for name, value in test.items()}


def from_null(test: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `as_null`, for the figures that every record has."""
    filled = {name: math.nan if name in REQUIRED and value is None else value for name, value in test.items()}
    if isinstance(ends := filled.get("accuracy_ci95"), list | tuple):
        filled["accuracy_ci95"] = [math.nan if end is None else end for end in ends]
    return filled


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
