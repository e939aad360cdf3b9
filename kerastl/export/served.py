"""What the signature `serving_default` makes of logits: labels, calibrated scores and probabilities."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.decision import Calibration, probabilities, tensorflow_backend
from kerastl.tasks import Task

TOP = 5


def served(logits: tf.Tensor, names: tf.Tensor, task: Task, calibration: Calibration) -> dict[str, tf.Tensor]:
    """In the graph: the outputs of `serving_default` by name. logits: [batch, classes]; names: of the classes."""
    p = probabilities(logits, calibration, task.activation, tensorflow_backend())
    scores, places = tf.math.top_k(p, min(TOP, names.shape[0]))
    labels = tf.gather(names, places)
    return {"label": task.served_label(p, names, labels, calibration),
            "score": task.served_score(p, scores, calibration),
            "top_labels": labels, "top_scores": scores, "probabilities": p}


def served_outputs(classes: Sequence[str], task: Task, calibration: Calibration
                   ) -> Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]:
    """The same as a function of NumPy arrays, for logits that something else computed."""
    graph = tf.function(lambda logits: served(logits, tf.constant(list(classes)), task, calibration),
                        input_signature=[tf.TensorSpec([None, len(classes)], tf.float32)], autograph=False)
    return lambda logits: {name: output.numpy() for name, output in graph(tf.constant(logits)).items()}
