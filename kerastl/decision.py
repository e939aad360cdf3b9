"""From logits to predictions: calibrated probabilities, the predicted labels, and their scores.

There is one formula. It is applied with NumPy to held-out rows, and with TensorFlow inside the SavedModel and the
TFLite files: what differs is only the `Backend` that computes a softmax and a sigmoid.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """A model's logits for rows that it was not trained on. rows: [n] row numbers; logits: [n, classes] float32."""

    rows: NDArray[np.intp]
    logits: NDArray[np.float32]

    @property
    def id(self) -> str:
        """A hash of the rows and their logits, by which a set of predictions is recognised: 32 hexadecimal digits."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.rows, np.int64).tobytes(), digest_size=16)
        digest.update(np.ascontiguousarray(self.logits, np.float32).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Predictions({len(self.rows)} rows x {self.logits.shape[-1]} classes)"


@dataclass(frozen=True)
class Calibration:
    """How logits become predictions. Logits are divided by `temperature`; then `bias` is added, a number for each
    class, or nothing where it is empty.

    With several labels per row, a label is predicted if its probability reaches the threshold of its class. With single
    labels, the class with the highest probability is predicted where `thresholds` is empty; otherwise the one whose
    probability is the highest multiple of its threshold: of two classes, whose thresholds sum to 1, the one that
    reaches its threshold."""

    temperature: float
    thresholds: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()


@dataclass(frozen=True)
class Backend:
    """The two activations, for arrays of one library. Each takes and returns [n, classes]."""

    softmax: Callable[[Any], Any]
    sigmoid: Callable[[Any], Any]


Activation = Callable[[Any, Backend], Any]  # logits, backend -> probabilities; a task names its own


def numpy_backend() -> Backend:
    """SciPy's softmax over the last axis, and its sigmoid."""
    from scipy.special import expit, softmax

    return Backend(lambda logits: softmax(logits, axis=-1), expit)


def tensorflow_backend() -> Backend:
    """TensorFlow's, for use in a graph."""
    import tensorflow as tf

    return Backend(tf.nn.softmax, tf.sigmoid)


def calibrated(logits: Any, calibration: Calibration) -> Any:
    """Calibrated logits: logits / temperature + bias. logits: [n, classes], of NumPy or TensorFlow."""
    scaled = logits / calibration.temperature
    return scaled + calibration.bias if calibration.bias else scaled


def probabilities(logits: Any, calibration: Calibration, activation: Activation, backend: Backend) -> Any:
    """Calibrated probabilities: the activation of calibrated logits. logits: [n, classes] -> [n, classes] in [0, 1]."""
    return activation(calibrated(logits, calibration), backend)


def held(probabilities: Any, thresholds: Sequence[float] | Any) -> Any:
    """Which labels are predicted where a row may have several: [n, classes] -> [n, classes] of booleans."""
    return probabilities >= thresholds


def multiples(probabilities: Any, thresholds: Sequence[float] | Any) -> Any:
    """What the predicted class has the highest of, where a row has one class: [n, classes] -> [n, classes]."""
    return probabilities / thresholds
