"""The result of an evaluation: metrics, and the prediction for each held-out row."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.decision import Calibration
from kerastl.fields import Section, key
from kerastl.frames import data_frame

EVALUATION = "an evaluation, as kerastl.evaluate returns it"  # in messages


Ends = tuple[float, float]  # of a 95% confidence interval


@dataclass(frozen=True)
class ClassResult(Section):
    """Precision, recall and F1 of one class, in [0, 1]; 0 where they are not defined. support: its held-out rows.

    precision_ci95: None where no row is predicted as the class; recall_ci95: None where it has no row. roc_auc,
    average_precision: of the class against all others, by its calibrated probability; None where rows of either are
    missing. All of these are None in records of earlier versions.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    roc_auc: float | None = None
    roc_auc_ci95: Ends | None = None
    average_precision: float | None = None
    average_precision_ci95: Ends | None = None
    precision_ci95: Ends | None = None
    recall_ci95: Ends | None = None


@dataclass(frozen=True)
class Mistake(Section):
    """A row that was predicted incorrectly, and how confident the model was. actual, predicted: labels."""

    row: int
    origin: str
    actual: str = key("true")
    predicted: str = key("given")
    probability: float = 0.0


@dataclass(frozen=True)
class ReliabilityBin(Section):
    """The predictions whose confidence lies in [low, high): how many, their mean confidence, their accuracy."""

    low: float
    high: float
    n: float
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class CalibrationTrial(Section):
    """A calibration by what it fits, and its cross-fitted log loss in nats."""

    name: str
    log_loss: float


@dataclass(frozen=True)
class CalibrationChoice(Section):
    """How the calibration was chosen, on `rows` rows. chosen: by what it fits, `none` where no calibration is better;
    trials: from the simplest to the most flexible, empty where there were too few rows to compare any. complete:
    whether all that the task can fit were compared; otherwise `reason` says why not. of_folds: with cross-validation,
    what the other folds chose for each fold.
    """

    chosen: str
    trials: tuple[CalibrationTrial, ...] = ()
    rows: int = 0
    complete: bool = True
    of_folds: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class TargetClass(Section):
    """What a target reached for one class on the held-out rows. threshold: of its calibrated probability; reachable:
    whether the rows that chose the threshold reached the target, `best` what they reached.

    value: of the metric on the held-out rows, None where it is not defined. n: rows that it is the mean of: predicted
    as the class for a precision, of the class for a recall, all for a cost, which is a mean per row. precision, recall:
    on the held-out rows. plain: the value without the target. sentence: the same in words.
    """

    name: str
    threshold: float
    reachable: bool
    best: float | None
    value: float | None
    value_ci95: Ends | None
    n: int
    precision: float | None
    recall: float | None
    plain: float | None
    sentence: str


@dataclass(frozen=True)
class TargetResult(Section):
    """A target with the class that it is for, such as `precision=0.95@spam`, and what it reached for each class."""

    asked: str
    classes: tuple[TargetClass, ...] = ()


@dataclass(frozen=True)
class Scores(Section):
    """The first figures of an evaluation on `n` held-out rows, in [0, 1]. accuracy: of single labels; with several
    labels, of whole sets of labels. interval: how `accuracy_ci95` was computed, in words. macro_f1: the mean over the
    classes that have rows."""

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    interval: str
    macro_f1: float


@dataclass(frozen=True)
class Figures(Scores):
    """What an evaluation on held-out rows found. Fractions in [0, 1], losses in nats.

    The `calibrated` figures are after calibration, which was chosen and fitted on other rows. confusion:
    [actual][predicted]; empty where a row may have several labels. What earlier versions did not record is None.

    ece_by_chance: the mean and the 95th percentile of the ECE that a perfectly calibrated model with the same
    calibrated confidences would show. balanced_accuracy: the mean recall of the classes; with several labels, of having
    and of not having each. roc_auc, average_precision: each class against all others, by calibrated probabilities; the
    mean over the classes that have rows of either.
    """

    log_loss: float
    log_loss_calibrated: float
    ece: float
    ece_calibrated: float
    calibration: Calibration
    classes: tuple[ClassResult, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    ece_ci95: Ends | None = None
    ece_calibrated_ci95: Ends | None = None
    ece_by_chance: Ends | None = None
    calibration_choice: CalibrationChoice | None = None
    balanced_accuracy: float | None = None
    balanced_accuracy_ci95: Ends | None = None
    roc_auc: float | None = None
    roc_auc_ci95: Ends | None = None
    average_precision: float | None = None
    average_precision_ci95: Ends | None = None
    target: TargetResult | None = None

    def __repr__(self) -> str:
        low, high = self.accuracy_ci95
        return (f"{type(self).__name__}({self.n} held-out rows, accuracy {self.accuracy:.3f} (95% CI {low:.3f} to "
                f"{high:.3f}), calibration error {self.ece_calibrated:.3f})")


@dataclass(frozen=True)
class HeldOutRows:
    """The rows of an evaluation. rows: [n] row numbers; predicted: [n, ...] targets; logits: calibrated ones,
    [n, classes]."""

    examples: Examples
    rows: NDArray[np.intp]
    predicted: NDArray[Any]
    logits: NDArray[np.float64]

    def label(self, place: int) -> str:
        """The predicted label of the row at this place, as text."""
        return self.examples.task.label(self.predicted[place], self.examples.classes)

    def columns(self) -> dict[str, list[Any]]:
        """id, origin, label, predicted: texts. probability: of what is predicted, in [0, 1]."""
        examples, rows = self.examples, self.rows.tolist()
        claimed = examples.task.one_hot(self.predicted, len(examples.classes))
        return {
            "id": [examples.ids[row] for row in rows], "origin": [examples.origins[row] for row in rows],
            "label": [examples.label_of(row) for row in rows], "predicted": [self.label(i) for i in range(len(rows))],
            "probability": np.exp(-examples.task.log_loss(self.logits, claimed)).tolist(),
        }


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(Figures):
    """The metrics of one model, and the prediction for each held-out row. correct: whether each is predicted correctly.
    predictions_id: of the predictions that were evaluated (`Predictions.id`). correct_without_target: `correct`, if
    there were no target."""

    correct: tuple[bool, ...]
    correct_without_target: tuple[bool, ...]
    held_out: HeldOutRows
    predictions_id: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of `classes` and `confusion`."""
        return tuple(result.name for result in self.classes)

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """Rows of each pair of classes, [true, predicted], in the order of `class_names`; [0, 0] with several labels
        per row, where a prediction is a set of classes."""
        return np.array(self.confusion, np.int64).reshape(len(self.confusion), len(self.confusion))

    def to_frame(self) -> Any:
        """The confusion matrix as a pandas.DataFrame: rows are true classes, columns predicted ones. Raises OptionError
        where pandas is not installed."""
        names = self.class_names if self.confusion else ()
        return data_frame(self.confusion_matrix, names, "`evaluation.confusion_matrix`")

    def predictions(self) -> dict[str, list[Any]]:
        """The held-out predictions, each made by a model that was not fitted on its row, as columns: `id`, `origin`,
        `label`, `predicted`, `probability` (calibrated, of the predicted label or set of labels)."""
        return self.held_out.columns()

    def predictions_frame(self) -> Any:
        """`predictions` as a pandas.DataFrame. Raises OptionError where pandas is not installed."""
        return data_frame(self.predictions(), columns_instead="`evaluation.predictions()`")

    @property
    def figures(self) -> Figures:
        """What the run record holds: all but the rows one by one."""
        return Figures(**{item.name: getattr(self, item.name) for item in fields(Figures)})

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        return self.figures.to_dict()
