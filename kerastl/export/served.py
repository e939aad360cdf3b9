"""What the signature `serving_default` makes of logits: labels, calibrated scores and probabilities."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.decision import Calibration, probabilities, tensorflow_backend
from kerastl.evaluation.rejection import LABEL
from kerastl.export.unknown import OUTPUT
from kerastl.tasks import Task

TOP = 5


def served(logits: tf.Tensor, names: tf.Tensor, task: Task, calibration: Calibration,
           unknown: tf.Tensor | None = None, reject: bool = False) -> dict[str, tf.Tensor]:
    """In the graph: the outputs of `serving_default` by name. logits: [batch, classes]; names: of the classes. unknown:
    [batch], `unknown_score`; without it, there is no such output. reject: whether what has one above 0 gets the label
    "none of these"."""
    p = probabilities(logits, calibration, task.activation, tensorflow_backend())
    scores, places = tf.math.top_k(p, min(TOP, names.shape[0]))
    labels = tf.gather(names, places)
    label = task.served_label(p, names, labels, calibration)
    if unknown is not None and reject:
        label = tf.where(unknown > 0, tf.constant(LABEL), label)
    return {"label": label, "score": task.served_score(p, scores, calibration),
            "top_labels": labels, "top_scores": scores, "probabilities": p,
            **({} if unknown is None else {OUTPUT: unknown})}


def served_outputs(classes: Sequence[str], task: Task, calibration: Calibration, reject: bool = False
                   ) -> Callable[[dict[str, NDArray[np.float32]]], dict[str, NDArray[Any]]]:
    """The same as a function of NumPy arrays, for the outputs of `tensor` that something else computed."""

    def outputs(computed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return served(computed["logits"], tf.constant(list(classes)), task, calibration, computed.get(OUTPUT), reject)

    graph = tf.function(outputs, reduce_retracing=True, autograph=False)
    return lambda computed: {name: output.numpy() for name, output in
                             graph({name: tf.constant(value) for name, value in computed.items()}).items()}
