"""Several labels per row: a sigmoid for each class, binary cross-entropy summed over classes, and a threshold for each.

Targets are [n, classes] int64 of 0 and 1. A row is predicted correctly if its whole set of labels is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.decision import Backend, Calibration, held
from kerastl.tasks import LEAST, Array, Task, _focal
from kerastl.tasks._calibration import BIAS, NONE, TEMPERATURE, fit_bias, fit_temperature, none

FEWEST_POSITIVES = 10  # rows of a class from which its threshold is chosen


def _select(targets: Array, keep: NDArray[np.intp], classes: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The rows that have a label among the kept classes, or that had none before."""
    rows = np.flatnonzero(targets[:, keep].any(axis=1) | ~targets.any(axis=1))
    return rows, targets[rows][:, keep].astype(np.int64)


def _targets_of(rows: Sequence[Sequence[int]], classes: int) -> NDArray[np.int64]:
    targets = np.zeros((len(rows), classes), dtype=np.int64)
    for number, row in enumerate(rows):
        targets[number, list(row)] = 1
    return targets


def _log_loss(logits: Array, truth: Array) -> Array:
    return np.asarray((np.logaddexp(0, logits) - truth * logits).sum(axis=1))


def _loss_and_gradient(logits: Array, truth: Array) -> tuple[Array, Array]:
    from scipy.special import expit

    # log(1 + exp(z)) without overflow, and quicker than logaddexp
    loss = (np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits))) - truth * logits).sum(axis=-1)
    return loss, expit(logits) - truth


def _keras_loss(label_smoothing: float, gamma: float = 0.0) -> Any:
    import keras

    if gamma:
        return _focal.of_labels(gamma, label_smoothing, summed=False)
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)


def _summed_loss(truth: Any, logits: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(truth, logits.dtype), logits), axis=-1)


def _activation(logits: Any, backend: Backend) -> Any:
    return backend.sigmoid(logits)


def _logits_of(p: Array) -> Array:
    from scipy.special import logit

    return np.asarray(logit(np.clip(p, LEAST, 1 - LEAST)))


def fit_thresholds(p: NDArray[np.float64], truth: Array) -> tuple[float, ...]:
    """For each class the threshold with the best F1, halfway between two of its probabilities; 0.5 for a class with
    fewer than 10 rows, whose best threshold would be chance. p, truth: [n, classes]."""
    thresholds = []
    for c in range(p.shape[1]):
        positive = truth[:, c] > 0
        if positive.sum() < FEWEST_POSITIVES:
            thresholds.append(0.5)
            continue
        order = np.argsort(-p[:, c], kind="stable")
        ranked, hits = p[order, c], np.cumsum(positive[order])
        f1 = 2 * hits / (np.arange(1, len(p) + 1) + positive.sum())
        f1[:-1][ranked[:-1] == ranked[1:]] = -1  # no threshold separates equal probabilities
        last = int(f1.argmax())
        below = ranked[last + 1] if last + 1 < len(p) else 0.0
        thresholds.append(float((ranked[last] + below) / 2))
    return tuple(thresholds)


def _predict(p: Array, thresholds: Array) -> Array:
    return np.asarray(held(p, thresholds)).astype(np.int64)


def _claims(p: Array, truth: Array) -> tuple[Array, Array]:
    """Every label of every row: [n * classes] each."""
    return p.ravel(), truth.ravel().astype(np.float64)


def _served_label(p: Any, names: Any, by_score: Any, calibration: Calibration) -> Any:
    import tensorflow as tf

    labels = tf.ragged.boolean_mask(tf.broadcast_to(names, tf.shape(p)), held(p, calibration.thresholds))
    return tf.strings.reduce_join(labels, axis=1, separator="|")


def _estimator(model: Any) -> Any:
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(model)


TASK = Task(
    name="multi_label", noun="several labels per row", exclusive=False, record={"multi_label": True},
    labelled_so=lambda counts: any(n > 1 for n in counts),
    owns=lambda targets: targets.ndim == 2 and targets.dtype.kind in "iu",
    fewest_classes=1, one_hot=lambda targets, classes: targets.astype(np.float32),
    classes_of=lambda target: np.flatnonzero(target).tolist(), targets_of=_targets_of,
    counts=lambda targets, classes: targets.sum(axis=0), select=_select,
    even=lambda classes: 0.5, log_loss=_log_loss,
    loss_and_gradient=_loss_and_gradient, keras_loss=_keras_loss,
    summed_loss=lambda gamma=0.0: _focal.of_labels(gamma) if gamma else _summed_loss,
    activation=_activation, logits_of=_logits_of,
    calibrations={
        NONE: none, TEMPERATURE: lambda z, truth: Calibration(fit_temperature(z, truth, _log_loss)),
        BIAS: lambda z, truth: fit_bias(z, truth, _loss_and_gradient, shares=False, each=True)},
    thresholds=fit_thresholds,
    half=lambda classes: Calibration(1.0, (0.5,) * classes),
    predict=_predict, correct=lambda predicted, true: (predicted == true).all(axis=1), claims=_claims,
    surprise=lambda p, truth: np.abs(p - truth).max(axis=1),
    confusion=lambda true, predicted, classes: np.zeros((0, 0), int),
    label=lambda target, classes: "|".join(classes[i] for i in np.flatnonzero(target).tolist()),
    served_label=_served_label, served_score=lambda p, scores, calibration: scores[:, 0], estimator=_estimator,
)
