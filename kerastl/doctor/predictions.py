"""What is wrong between the model and its labels: labels that are shifted, a head that does not learn."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.doctor import Diagnosis, not_looked_at, some
from kerastl.doctor.network import apply, fresh_copy
from kerastl.doctor.watch import layers_of, watched
from kerastl.heads import GRADIENT_SETTINGS
from kerastl.training.scaling import scale_of

LABELS, LEARNS = "labels", "head learns"
CONSTANT = "all rows have the same label"
LEAST_ROWS = 20
CHANCE = 1e-3  # how often noise may be taken for a shift
ROWS, STEPS, LOOK = 32, 1000, 20  # examples; steps at most, looked at after each so many


def shifted(logits: NDArray[np.float32], targets: NDArray[np.int64], classes: tuple[str, ...]) -> Diagnosis:
    """Whether the answers fit the labels better under another assignment of answers to classes (Kuhn 1955, the
    Hungarian method). logits: [n, classes]; targets: [n] class numbers.

    The assignment is chosen on every other row and judged on the rest, by an exact sign test of the rows that it and
    the given one disagree on, so that noise is not taken for it. Labels that were shifted when the model was trained
    too fit it well, and cannot be told.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binomtest

    if targets.ndim == 2:
        return not_looked_at(LABELS, "a row has several labels")
    if len(targets) < LEAST_ROWS:
        return Diagnosis(LABELS, None, f"{len(targets)} rows are too few to tell, {LEAST_ROWS} would do")
    given = logits.argmax(axis=1)
    order = np.random.default_rng(0).permutation(len(targets))
    choosing, judging = order[::2], order[1::2]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (given[choosing], targets[choosing]), 1)
    likes = 2 * len(targets) * counts + np.eye(len(classes), dtype=np.int64)  # what is seen nowhere stays where it is
    assigned = linear_sum_assignment(likes, maximize=True)[1]  # of each answer its label
    as_is, other = given[judging] == targets[judging], assigned[given[judging]] == targets[judging]
    better, worse = int((other & ~as_is).sum()), int((as_is & ~other).sum())
    chance = binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
    if chance >= CHANCE:
        return Diagnosis(LABELS, True, f"fit as given: {(given == targets).mean():.1%} of {len(targets)} rows agree")
    return Diagnosis(LABELS, False, f"{_named(assigned, classes)}: {other.mean():.1%} of {len(judging)} rows would "
                                  f"agree, {as_is.mean():.1%} do (chance {chance:.0e})",
                   "compare the order of classes in the data and in labels.txt")


def _named(assigned: NDArray[np.intp], classes: tuple[str, ...]) -> str:
    n = len(classes)
    shifts = set(((assigned - np.arange(n)) % n).tolist())
    if len(shifts) == 1 and n > 2:
        return f"labels are shifted by {shifts.pop()} against the answers"
    pairs = [f"{classes[answer]} is labelled {classes[label]}" for answer, label in enumerate(assigned.tolist())
             if answer != label]
    return f"labels are mixed up: {some(pairs)}"


@dataclass(frozen=True)
class _State:
    loss: float
    accuracy: float


def learns(head: Any, features: NDArray[np.float32], targets: NDArray[np.float32], *, several: bool = False,
           rate: float = float(GRADIENT_SETTINGS["rate"].default), raw: NDArray[Any] | None = None) -> Diagnosis:
    """Whether a fresh copy of a head learns 32 examples by heart: in 1,000 steps its loss falls to half and it puts
    more rows right. features: [n, dim]; targets: [n, outputs] of 0 and 1; several: labels a row. rate: of AdamW.
    raw: what the head is given of the raw inputs, where it looks at them.

    A head of one layer gets centred and scaled features, as where it is trained.
    """
    rows = spread(targets, ROWS)
    x, y = features[rows], targets[rows]
    if sum(bool(layer.weights) for layer in layers_of(head)) == 1:
        x = (x - x.mean(axis=0)) / scale_of(x.var(axis=0))
    given: Any = x if raw is None else [x, raw[rows]]
    fresh = fresh_copy(head)
    step = _step(fresh, given, y, several, rate)
    before = after = _state(fresh, given, y, several)
    steps = 0
    while steps < STEPS and np.isfinite(after.loss) and not _learnt(before, after):
        for _ in range(LOOK):
            step()
        after, steps = _state(fresh, given, y, several), steps + LOOK
    said = (f"on {len(x)} examples the loss went from {before.loss:.3g} to {after.loss:.3g} in {steps} steps, "
            f"accuracy from {before.accuracy:.0%} to {after.accuracy:.0%}")
    cause, do = _cause(fresh, features, given, y, before, after, several)
    if _learnt(before, after) and cause != CONSTANT:
        return Diagnosis(LEARNS, True, said)
    return Diagnosis(LEARNS, False, f"{said}: {cause}", do)


def _step(head: Any, x: Any, y: NDArray[np.float32], several: bool, rate: float) -> Any:
    """A function that trains the head for one step on all of x."""
    optimizer, variables = keras.optimizers.AdamW(rate), head.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = _loss(head(x, training=True), y, several)
        apply(optimizer, tape.gradient(loss, [variable.value for variable in variables]), variables)

    return step


def _learnt(before: _State, after: _State) -> bool:
    return after.loss <= before.loss / 2 and (after.accuracy > before.accuracy or after.accuracy == 1)


def _cause(head: Any, features: NDArray[np.float32], x: Any, y: NDArray[np.float32], before: _State,
           after: _State, several: bool) -> tuple[str, str]:
    """Why it does not learn, and what to do."""
    if not np.isfinite(features).all():
        return "features are not finite", "look at the backbone: its weights, and its precision"
    if (y == y[0]).all() and not several:
        return CONSTANT, "give rows of two classes or more"
    if float(features.std(axis=0).max()) <= 1e-6 * max(1e-12, float(np.abs(features).max())):
        return "the features of all rows are equal", "look at the input: is its range right, are the images read?"
    if dead := _dead(head, x):
        return f"no unit of {dead} is ever above zero", "give it a lower rate, another start, or normalised features"
    if not np.isfinite(after.loss) or after.loss > before.loss:
        return "the rate is too high", "train at a lower rate"
    return "it learns too slowly, or cannot", "train at a higher rate, normalise the features, or change the head"


def _dead(head: Any, x: Any) -> str:
    """The name of a ReLU layer that gives zero for every row, or ""."""
    dead: list[str] = []

    def seen(layer: Any, given: Any, gave: Any) -> None:
        relu = isinstance(layer, keras.layers.ReLU) or getattr(getattr(layer, "activation", None), "__name__",
                                                               "").startswith("relu")
        if relu and not np.asarray(gave, np.float32).any():
            dead.append(layer.name)

    with watched(layers_of(head), seen):
        head(x, training=False)
    return dead[0] if dead else ""


def _loss(logits: Any, y: NDArray[np.float32], several: bool) -> Any:
    kind = tf.nn.sigmoid_cross_entropy_with_logits if several else tf.nn.softmax_cross_entropy_with_logits
    return tf.reduce_mean(kind(y, tf.cast(logits, tf.float32)))


def _state(head: Any, x: Any, y: NDArray[np.float32], several: bool) -> _State:
    logits = np.asarray(head(x, training=False), np.float32)
    right = ((logits > 0) == (y > 0)) if several else logits.argmax(axis=1) == y.argmax(axis=1)
    return _State(float(_loss(logits, y, several)), float(right.mean()))


def spread(targets: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Up to `most` places, ascending, taken from the classes in turn. targets: [n, outputs] of 0 and 1."""
    labels = targets.argmax(axis=1)
    turn = np.zeros(len(labels), np.int64)  # how many of its class stand before each row
    for c in np.unique(labels):
        turn[labels == c] = np.arange((labels == c).sum())
    return np.sort(np.argsort(turn, kind="stable")[:most])
