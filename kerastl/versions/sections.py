"""The sections of the run record, each a frozen dataclass.

Studies and the export return their results as these. `evaluation`, `training` and `features` have types of their own,
from which `make_record` fills these.
"""

from dataclasses import dataclass

import numpy as np

from kerastl.evaluation.result import Figures
from kerastl.fields import Section, key

LEAST_RANK = 0.99  # correlation with the ranks that Keras gives, below which an artifact has no `unknown_score`
Interval = tuple[float, float]  # low, high


@dataclass(frozen=True)
class SkippedItem(Section):
    """A row, file or class that was skipped, and the reason."""

    origin: str
    reason: str


@dataclass(frozen=True)
class HeldOutFigures(Figures):
    """The metrics of a run on its held-out rows. calibrated_by: which rows the calibration was fitted on, in words."""

    calibrated_by: str = ""


@dataclass(frozen=True)
class FeaturePass(Section):
    """How the features were computed. compute: the arithmetic; reason: why that; computed: rows that were not cached;
    rate: rows per second, None where all were cached."""

    compute: str
    reason: str = key("word", default="")
    computed: int = 0
    rate: float | None = None


@dataclass(frozen=True)
class SeparateBackbone(Section):
    """The backbone of a head that is exported alone. shape: of its features; kept: the number format of its weights;
    tokens: the version of its input; ships: what is exported, in words."""

    shape: tuple[int, ...]
    kept: str
    tokens: str
    parameters: int = 0
    bytes: int = 0
    reason: str = key("word", default="")
    ships: str = ""


@dataclass(frozen=True)
class Trial(Section):
    """A head with its settings, as `head` takes it, and its log loss on the validation rows in nats; None where that
    was not a number, as when training diverged."""

    head: str
    log_loss: float | None
    seconds: float


@dataclass(frozen=True)
class Parity(Section):
    """How one artifact compares with Keras on `rows` rows. Differences are of logits.

    agreement: the fraction of rows with the same top label. milliseconds: the median for one row by itself; a
    SavedModel gets it as a client sends it, a TFLite file decoded. kept: whether it is within its bound, and so was
    written. rank: Spearman's correlation of `unknown_score`; None where the artifact has none, or rows are too few.
    """

    kind: str  # saved_model | fp32 | fp16 | dynamic | int8
    rows: int
    max_difference: float
    agreement: float
    accuracy_change: float
    bytes: int
    milliseconds: float
    bound: str
    kept: bool
    rank: float | None = None

    @property
    def without_scores(self) -> bool:
        """Whether it is written without `unknown_score`, because its ranks differ by more than allowed."""
        return self.rank is not None and self.rank < LEAST_RANK


class Compared:
    """What was compared with Keras, artifact by artifact."""

    parity: tuple[Parity, ...]

    @property
    def breaches(self) -> tuple[str, ...]:
        """The artifacts that exceeded their error bound, which are not written."""
        return tuple(artifact.kind for artifact in self.parity if not artifact.kept)

    @property
    def failed(self) -> bool:
        """Whether an artifact exceeded its error bound."""
        return bool(self.breaches)

    @property
    def not_written(self) -> str:
        """Which artifacts were not written and why, in a sentence; empty where all were."""
        names = ", ".join(self.breaches)
        return f"{names}: not written, because the predictions differ from Keras by more than allowed" if names else ""


@dataclass(frozen=True)
class Arm(Section):
    """One variant of an ablation. head: as `head` takes it. accuracies: of each seed, in [0, 1]."""

    name: str
    head: str
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies))


@dataclass(frozen=True)
class Contrast(Section):
    """The gain of one arm over another on the same rows, each row's correctness averaged over the seeds.

    p: exact McNemar test of each row's first prediction. verdict: helped | hurt | unclear, by the gain's interval;
    `sentence` states it."""

    what: str
    over: str
    gain: float
    gain_ci95: Interval
    p: float
    verdict: str
    sentence: str = key("word")


@dataclass(frozen=True)
class Ablation(Section):
    """An ablation on `n` held-out rows (`rows` describes them). arms: pure transfer, from scratch, both."""

    rows: str
    n: int
    seeds: int
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    seconds: float


@dataclass(frozen=True)
class DistilledForm(Section):
    """One form of the teacher or the student, on the same held-out rows. milliseconds: median of single rows, in this
    process. bytes: of the file, or of Keras' weights in float32."""

    who: str  # teacher | student
    form: str  # keras, or a kind of TFLite file
    rows: int
    accuracy: float
    bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Distillation(Section):
    """Teacher and student compared, form by form. teacher: its version folder."""

    teacher: str
    forms: tuple[DistilledForm, ...] = key("sides", default=())

