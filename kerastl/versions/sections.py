"""What studies and the export leave in the run record, as typed sections."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trial:
    """A head with its settings, as `--head` takes it, and its log loss on the validation rows in nats; None where that
    was not a number, as when training diverged."""

    head: str
    log_loss: float | None
    seconds: float


@dataclass(frozen=True)
class Parity:
    """How one artifact compares with Keras on `rows` rows. Differences are of logits; latency is per row."""

    kind: str  # saved_model | fp32 | fp16 | dynamic | int8
    rows: int
    max_difference: float
    agreement: float
    accuracy_change: float
    bytes: int
    milliseconds: float
    bound: str
    kept: bool


@dataclass(frozen=True)
class Arm:
    """One way, over the seeds. accuracy: their mean; low and high: the worst and the best seed. Fractions in [0, 1]."""

    name: str
    head: str
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Contrast:
    """The gain of one arm over another on the same rows, each row's answers averaged over the seeds.

    p: exact McNemar of each row's first answers. verdict: helped | hurt | unclear, as the interval of the gain says."""

    what: str
    over: str
    gain: float
    gain_ci95: tuple[float, float]
    p: float
    verdict: str
    word: str


@dataclass(frozen=True)
class Ablation:
    """On the `n` rows that judge (`rows` says which). arms: pure transfer, from scratch, both."""

    rows: str
    n: int
    seeds: int
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    seconds: float


@dataclass(frozen=True)
class DistilledForm:
    """One form of teacher or student on the rows that judge. milliseconds: the middle of single rows, in this process.
    bytes: of the file, or of Keras' weights in float32."""

    who: str  # teacher | student
    form: str  # keras, or a kind of TFLite file
    rows: int
    accuracy: float
    bytes: int
    milliseconds: float
