"""One label per row: softmax over the classes, cross-entropy, the class of the highest probability.

Targets are class numbers, [n] int64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.decision import Backend, Calibration, multiples
from kerastl.tasks import LEAST, Array, Task, _focal
from kerastl.tasks._calibration import BIAS, NONE, SHARES, TEMPERATURE, fit_bias, fit_temperature, none


def _one_hot(targets: Array, classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[targets]


def _select(targets: Array, keep: NDArray[np.intp], classes: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """The rows of the kept classes."""
    numbers = np.full(classes, -1, np.int64)
    numbers[keep] = np.arange(len(keep))
    rows = np.flatnonzero(numbers[targets] >= 0)
    return rows, numbers[targets[rows]]


def _targets_of(rows: Sequence[Sequence[int]], classes: int) -> NDArray[np.int64]:
    return np.array([row[0] if row else 0 for row in rows], dtype=np.int64)


def _log_loss(logits: Array, truth: Array) -> Array:
    from scipy.special import logsumexp

    return np.asarray((truth * (logsumexp(logits, axis=1, keepdims=True) - logits)).sum(axis=1))


def _loss_and_gradient(logits: Array, truth: Array) -> tuple[Array, Array]:
    z = logits - logits.max(axis=-1, keepdims=True)
    of_truth = np.einsum("...k,...k->...", truth, z)
    p = np.exp(z, out=z)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    p -= truth
    return np.log(total[..., 0]) - of_truth, p


def _keras_loss(label_smoothing: float, gamma: float = 0.0) -> Any:
    import keras

    if gamma:
        return _focal.of_classes(gamma, label_smoothing)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)


def _activation(logits: Any, backend: Backend) -> Any:
    return backend.softmax(logits)


def _predict(p: Array, thresholds: Array) -> Array:
    return np.asarray((multiples(p, thresholds) if np.size(thresholds) else p).argmax(axis=1))


def _claims(p: Array, truth: Array) -> tuple[Array, Array]:
    """The top class of each row: [n] each."""
    return p.max(axis=1), (p.argmax(axis=1) == truth.argmax(axis=1)).astype(np.float64)


def _confusion(true: Array, predicted: Array, classes: int) -> Array:
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(true, predicted, labels=list(range(classes))))


def _served_label(p: Any, names: Any, by_score: Any, calibration: Calibration) -> Any:
    import tensorflow as tf

    return tf.gather(names, _chosen(p, calibration)) if calibration.thresholds else by_score[:, 0]


def _served_score(p: Any, scores: Any, calibration: Calibration) -> Any:
    """The probability of the predicted class."""
    import tensorflow as tf

    return tf.gather(p, _chosen(p, calibration), batch_dims=1) if calibration.thresholds else scores[:, 0]


def _chosen(p: Any, calibration: Calibration) -> Any:
    import tensorflow as tf

    return tf.argmax(multiples(p, calibration.thresholds), axis=1, output_type=tf.int32)


TASK = Task(
    name="single_label", noun="one label per row", exclusive=True, record={"multi_label": False},
    labelled_so=lambda counts: all(n < 2 for n in counts),
    owns=lambda targets: targets.ndim == 1 and targets.dtype.kind in "iu",
    fewest_classes=2, one_hot=_one_hot, classes_of=lambda target: [int(target)], targets_of=_targets_of,
    counts=lambda targets, classes: np.bincount(targets, minlength=classes), select=_select,
    even=lambda classes: 1 / classes, log_loss=_log_loss, loss_and_gradient=_loss_and_gradient, keras_loss=_keras_loss,
    summed_loss=lambda gamma=0.0: _keras_loss(0.0, gamma),
    activation=_activation, logits_of=lambda p: np.log(np.clip(p, LEAST, 1)),
    calibrations={
        NONE: none, TEMPERATURE: lambda z, truth: Calibration(fit_temperature(z, truth, _log_loss)),
        SHARES: lambda z, truth: fit_bias(z, truth, _loss_and_gradient, shares=True, each=False),
        BIAS: lambda z, truth: fit_bias(z, truth, _loss_and_gradient, shares=True, each=True)},
    thresholds=lambda p, truth: (),
    half=lambda classes: Calibration(1.0),
    predict=_predict, correct=lambda predicted, true: predicted == true,
    claims=_claims, surprise=lambda p, truth: p.max(axis=1), confusion=_confusion,
    label=lambda target, classes: classes[target], served_label=_served_label, served_score=_served_score,
    estimator=lambda model: model,
)
