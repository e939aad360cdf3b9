"""Tasks: what is predicted for a row. One file here is one task; it defines `TASK`.

A task knows its targets, loss, activation, calibration, metrics and outputs. Everything else asks the task: no module
compares a task's name, so adding a task is adding a file. Functions here are pure and use NumPy; the two that make
Keras or TensorFlow objects import those inside.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl import decision
from kerastl.decision import Activation, Calibration, numpy_backend
from kerastl.errors import unknown
from kerastl.tasks._calibration import NONE as NONE
from kerastl.tasks._calibration import SHARES as SHARES
from kerastl.tasks._calibration import TEMPERATURE as TEMPERATURE

Array = NDArray[Any]
LEAST = 1e-7  # to which a probability is clipped before its logarithm is taken
PLAIN = Calibration(1.0)


@dataclass(frozen=True)
class Task:
    """The properties of a task. n: rows; targets: as `Examples.targets` holds them; truth: targets as [n,
    classes] float32 of 0 and 1; p: probabilities [n, classes] in [0, 1].

    exclusive: whether a row has exactly one class, so that classes can be drawn evenly and weighted.
    record: the task's entries in the run record, by which `task_of_record` finds it again.
    """

    name: str
    noun: str  # of a row's labels: "one label per row"
    exclusive: bool
    record: dict[str, Any]
    owns: Callable[[Array], bool]  # targets -> whether they are of this task
    # Targets
    labelled_so: Callable[[Sequence[int]], bool]  # numbers of labels that rows of a source have -> whether it is this
    fewest_classes: int
    one_hot: Callable[[Array, int], NDArray[np.float32]]  # targets, classes -> truth
    classes_of: Callable[[Any], list[int]]  # one row's target -> its class numbers
    counts: Callable[[Array, int], NDArray[np.int64]]  # targets, classes -> the rows of each class, [classes]
    # targets, the class numbers to keep, classes -> the rows that remain, and their targets among the kept classes
    select: Callable[[Array, NDArray[np.intp], int], tuple[NDArray[np.intp], NDArray[np.int64]]]
    targets_of: Callable[[Sequence[Sequence[int]], int], NDArray[np.int64]]  # class numbers of each row, classes
    # Training
    even: Callable[[int], float]  # classes -> what label smoothing spreads to each class
    log_loss: Callable[[Array, Array], Array]  # logits, truth (or soft targets) -> the loss of each row in nats, [n]
    # the same with its gradient by the logits, in their type: [..., classes] each -> [...], [..., classes]
    loss_and_gradient: Callable[[Array, Array], tuple[Array, Array]]
    # label smoothing, gamma of the focal loss (default 0: cross-entropy) -> a Keras loss from logits
    keras_loss: Callable[..., Any]
    # gamma (default 0) -> a Keras loss from logits; with 0 its mean over rows is that of `log_loss`
    summed_loss: Callable[..., Any]
    # Predictions
    activation: Activation
    logits_of: Callable[[Array], Array]  # p -> logits that the activation turns into p again
    # logits, truth -> a calibration without thresholds, by what it fits; from the simplest to the most flexible
    calibrations: dict[str, Callable[[Array, Array], Calibration]]
    thresholds: Callable[[Array, Array], tuple[float, ...]]  # p, truth -> thresholds [classes]; () where none are used
    half: Callable[[int], Calibration]  # classes -> the calibration of probabilities that are calibrated already
    predict: Callable[[Array, Array], Array]  # p, thresholds [classes], [n, classes] or () -> predicted targets
    correct: Callable[[Array, Array], NDArray[np.bool_]]  # predicted, true targets -> [n]
    claims: Callable[[Array, Array], tuple[Array, Array]]  # p, truth -> confidences and whether each claim is correct
    surprise: Callable[[Array, Array], Array]  # p, truth -> how confident a wrong prediction is, [n]
    confusion: Callable[[Array, Array, int], Array]  # true, predicted targets, classes -> [true, predicted]; or empty
    label: Callable[[Any, Sequence[str]], str]  # one row's target, class names -> its label as text
    served_label: Callable[[Any, Any, Any, Calibration], Any]  # in the graph: p, names, labels by score, calibration
    served_score: Callable[[Any, Any, Calibration], Any]  # in the graph: p, scores in descending order, calibration
    estimator: Callable[[Any], Any]  # a scikit-learn classifier -> one for targets of this task

    def probabilities(self, logits: Array, calibration: Calibration = PLAIN) -> NDArray[np.float64]:
        """Calibrated probabilities with NumPy, as `decision.probabilities` does it. logits: [n, classes]."""
        p = decision.probabilities(np.asarray(logits, np.float64), calibration, self.activation, numpy_backend())
        return np.asarray(p, np.float64)

    def scaled(self, logits: Array, truth: Array) -> Calibration:
        """A temperature and thresholds fitted on these rows: quick, to compare models before one is evaluated."""
        z = np.asarray(logits, np.float64)
        calibration = self.calibrations[TEMPERATURE](z, truth)
        return replace(calibration, thresholds=self.thresholds(self.probabilities(z, calibration), truth))

    def __repr__(self) -> str:
        return f"Task({self.name})"


@cache
def tasks() -> dict[str, Task]:
    """Every task here, by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    loaded = (importlib.import_module(f"{__name__}.{name}").TASK for name in modules)
    return {task.name: task for task in loaded}


def task_named(name: str) -> Task:
    """The task of a name. Raises OptionError, with the closest name, for an unknown one."""
    if name not in tasks():
        raise unknown("task", name, tasks())
    return tasks()[name]


def task_of_labels(counts: Sequence[int]) -> Task:
    """The task of a source. counts: the numbers of labels that its rows have. Raises ValueError where none fits."""
    for task in tasks().values():
        if task.labelled_so(counts):
            return task
    raise ValueError(f"no task has rows with these numbers of labels: {sorted(set(counts))}")


def task_of_targets(targets: Array) -> Task:
    """The task that targets of this shape and type are of. Raises ValueError where none owns them."""
    for task in tasks().values():
        if task.owns(targets):
            return task
    raise ValueError(f"no task has targets of shape {targets.shape} and type {targets.dtype}")


def task_of_record(run: dict[str, Any]) -> Task:
    """The task of a run record. Records of version 0.1 have no name of a task, but `multi_label`."""
    if "task" in run:
        return task_named(run["task"])
    return next(task for task in tasks().values()
                if all(run.get(key) == value for key, value in task.record.items()))
