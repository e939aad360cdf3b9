"""Checks of predictions against labels: shifted labels, and a head that does not learn."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.decision import numpy_backend
from kerastl.doctor import Diagnosis, first_few, skipped
from kerastl.doctor.network import apply, fresh_copy
from kerastl.doctor.watch import layers_of, watched
from kerastl.heads import GRADIENT_SETTINGS
from kerastl.optimizers import AdamW
from kerastl.stats import mcnemar
from kerastl.tasks import Task, task_of_targets
from kerastl.tasks.single_label import TASK as SINGLE_LABEL
from kerastl.training.scaling import scale_of

LABELS, LEARNS = "labels", "head learns"
CONSTANT = "all rows have the same label"
LEAST_ROWS = 20
CHANCE = 1e-3  # how often noise may be taken for a shift
ROWS, STEPS, EVERY = 32, 1000, 20  # examples; steps at most, evaluated after each so many


def shifted(logits: NDArray[np.float32], targets: NDArray[np.int64], classes: tuple[str, ...]
            ) -> Diagnosis:
    """Whether predictions fit the labels better under another assignment of outputs to classes (Kuhn 1955, the
    Hungarian method). logits: [n, classes]; targets: [n] class numbers.

    The assignment is chosen on half of the rows and tested on the others, by an exact sign test of the rows on which it
    and the given order disagree, so that noise is not taken for it. Labels that were already shifted when the model was
    trained fit it well, and are not detected.
    """
    from scipy.optimize import linear_sum_assignment

    if not task_of_targets(targets).exclusive:
        return skipped(LABELS, "a row may have several labels")
    if len(targets) < LEAST_ROWS:
        return Diagnosis(LABELS, None, f"{len(targets)} rows are too few; {LEAST_ROWS} are needed")
    predicted = logits.argmax(axis=1)
    order = np.random.default_rng(0).permutation(len(targets))
    choosing, testing = order[::2], order[1::2]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (predicted[choosing], targets[choosing]), 1)
    gains = 2 * len(targets) * counts + np.eye(len(classes), dtype=np.int64)  # an output never predicted stays in place
    assigned = linear_sum_assignment(gains, maximize=True)[1]  # output -> label
    as_is, other = predicted[testing] == targets[testing], assigned[predicted[testing]] == targets[testing]
    chance = mcnemar(other, as_is, "greater")
    if chance >= CHANCE:
        return Diagnosis(LABELS, True, f"match the predictions for {(predicted == targets).mean():.1%} of "
                         f"{len(targets)} rows, and no other order of classes matches better")
    return Diagnosis(LABELS, False, f"{_mixed_up(assigned, classes)}: if corrected, {other.mean():.1%} of "
                     f"{len(testing)} rows would match, instead of {as_is.mean():.1%} (p = {chance:.0e})",
                     "compare the order of classes in the data and in labels.txt")


def _mixed_up(assigned: NDArray[np.intp], classes: tuple[str, ...]) -> str:
    n = len(classes)
    shifts = set(((assigned - np.arange(n)) % n).tolist())
    if len(shifts) == 1 and n > 2:
        return f"labels are shifted by {shifts.pop()} relative to the predictions"
    pairs = [f"{classes[output]} is labelled {classes[label]}" for output, label in enumerate(assigned.tolist())
             if output != label]
    return f"labels are mixed up: {first_few(pairs)}"


@dataclass(frozen=True)
class _State:
    loss: float
    accuracy: float


def learns(head: Any, features: NDArray[np.float32], truth: NDArray[np.float32], *, task: Task = SINGLE_LABEL,
           rate: float = float(GRADIENT_SETTINGS["learning_rate"].default), raw: NDArray[Any] | None = None
           ) -> Diagnosis:
    """Whether a fresh copy of a head can memorise 32 examples: within 1,000 steps its loss halves and more rows are
    predicted correctly. features: [n, dim]; truth: [n, outputs] of 0 and 1. rate: AdamW's learning rate. raw: what the
    head takes of the raw inputs, if anything.

    A head of one layer gets centred and scaled features, as in training.
    """
    rows = spread(truth, ROWS)
    x, y = features[rows], truth[rows]
    if sum(bool(layer.weights) for layer in layers_of(head)) == 1:
        x = (x - x.mean(axis=0)) / scale_of(x.var(axis=0))
    inputs: Any = x if raw is None else [x, raw[rows]]
    fresh = fresh_copy(head)
    step = _step(fresh, inputs, y, task, rate)
    before = after = _state(fresh, inputs, y, task)
    steps = 0
    while steps < STEPS and np.isfinite(after.loss) and not _learned(before, after):
        for _ in range(EVERY):
            step()
        after, steps = _state(fresh, inputs, y, task), steps + EVERY
    course = (f"on {len(x)} examples the loss went from {before.loss:.3g} to {after.loss:.3g} in {steps} steps, the "
              f"accuracy from {before.accuracy:.0%} to {after.accuracy:.0%}")
    cause, advice = _cause(fresh, features, inputs, y, before, after, task)
    if _learned(before, after) and cause != CONSTANT:
        return Diagnosis(LEARNS, True, course)
    return Diagnosis(LEARNS, False, f"{course}: {cause}", advice)


def _step(head: Any, x: Any, y: NDArray[np.float32], task: Task, rate: float) -> Any:
    """A function that trains the head for one step on all of x."""
    optimizer, variables, loss_of = AdamW(rate), head.trainable_variables, task.keras_loss(0.0)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = loss_of(y, tf.cast(head(x, training=True), tf.float32))
        apply(optimizer, tape.gradient(loss, [variable.value for variable in variables]), variables)

    return step


def _learned(before: _State, after: _State) -> bool:
    return after.loss <= before.loss / 2 and (after.accuracy > before.accuracy or after.accuracy == 1)


def _cause(head: Any, features: NDArray[np.float32], x: Any, y: NDArray[np.float32], before: _State, after: _State,
           task: Task) -> tuple[str, str]:
    """Why it does not learn, and what to do."""
    if not np.isfinite(features).all():
        return "features are not finite", "check the weights and the precision of the backbone"
    if (y == y[0]).all() and task.exclusive:
        return CONSTANT, "use rows of at least two classes"
    if float(features.std(axis=0).max()) <= 1e-6 * max(1e-12, float(np.abs(features).max())):
        return "the features of all rows are equal", "check the input range, and that the files are decoded"
    if dead := _dead(head, x):
        return f"no unit of {dead} is ever above zero", "lower the learning rate, change the initialisation, or " \
                                                        "normalise the features"
    if not np.isfinite(after.loss) or after.loss > before.loss:
        return "the learning rate is too high", "lower the learning rate"
    return ("the loss falls too slowly, or not at all",
            "raise the learning rate, normalise the features, or change the head")


def _dead(head: Any, x: Any) -> str:
    """The name of a ReLU layer that outputs zero for every row, or ""."""
    dead: list[str] = []

    def observe(layer: Any, inputs: Any, outputs: Any) -> None:
        relu = isinstance(layer, keras.layers.ReLU) or getattr(getattr(layer, "activation", None), "__name__",
                                                               "").startswith("relu")
        if relu and not np.asarray(outputs, np.float32).any():
            dead.append(layer.name)

    with watched(layers_of(head), observe):
        head(x, training=False)
    return dead[0] if dead else ""


def _state(head: Any, x: Any, y: NDArray[np.float32], task: Task) -> _State:
    logits = np.asarray(head(x, training=False), np.float32)
    half = np.array(task.half(y.shape[1]).thresholds)
    predicted = task.predict(task.activation(logits, numpy_backend()), half)
    correct = task.correct(predicted, task.predict(y, half))
    return _State(float(task.keras_loss(0.0)(y, logits)), float(correct.mean()))


def spread(truth: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Up to `most` rows, ascending, taken from the classes in turn. truth: [n, outputs] of 0 and 1."""
    labels = truth.argmax(axis=1)
    turn = np.zeros(len(labels), np.int64)  # how many rows of its class come before each row
    for c in np.unique(labels):
        turn[labels == c] = np.arange((labels == c).sum())
    return np.sort(np.argsort(turn, kind="stable")[:most])
