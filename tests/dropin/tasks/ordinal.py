"""A task that is dropped in as one file: ordered classes, of which a row has exactly one.

Targets are [n, classes] booleans: whether a row is at least as high as each class. The first column is always true.
"""

from dataclasses import replace

import numpy as np
from sklearn.metrics import confusion_matrix

from kerastl.tasks.multi_label import TASK as SEVERAL


def levels(targets):
    return np.asarray(targets).sum(axis=-1) - 1


def targets_of(rows, classes):
    return np.array([np.arange(classes) <= row[0] for row in rows])


def predict(p, thresholds):
    reached = np.logical_and.accumulate(p >= thresholds, axis=1)  # a class counts only above those below it
    reached[:, 0] = True
    return reached


def served_label(p, names, by_score, calibration):
    import tensorflow as tf

    reached = tf.math.cumprod(tf.cast(p >= calibration.thresholds, tf.int32), axis=1)
    return tf.gather(names, tf.maximum(tf.reduce_sum(reached, axis=1) - 1, 0))


TASK = replace(
    SEVERAL, name="ordinal", noun="one of several ordered labels per row", record={"task": "ordinal"},
    labelled_so=lambda counts: False,
    owns=lambda targets: targets.ndim == 2 and targets.dtype.kind == "b", fewest_classes=2,
    classes_of=lambda target: [int(levels(target))], targets_of=targets_of, predict=predict,
    confusion=lambda true, predicted, classes: confusion_matrix(levels(true), levels(predicted),
                                                               labels=list(range(classes))),
    label=lambda target, classes: classes[int(levels(target))], served_label=served_label,
)
