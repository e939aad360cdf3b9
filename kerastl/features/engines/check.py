"""Graphs checked against the plain Keras model before they compute features."""

import numpy as np

from kerastl.features.engines.engine import Arithmetic, Engine, Model, Rows, Values
from kerastl.features.engines.openvino import make_engine as make_openvino
from kerastl.features.engines.tensorflow import POLICY, make_engine

LEAST_COSINE = 0.999  # between a row and that of the plain model
# The largest difference between two features, as a fraction of the largest feature. Rounding in float32 gave at most
# 4e-6, rounding in bfloat16 0.01; EfficientNet-Lite0 is among the networks that bfloat16 does not suit, with 0.08.
LARGEST = {"float32": 1e-4, "bfloat16": 0.03, "float16": 0.03}


def engine_of(model: Model, arithmetic: Arithmetic, xla: bool = False, threads: int | None = None) -> Engine:
    """The engine of this arithmetic. threads: of OpenVINO; TensorFlow has those that it started with."""
    if arithmetic.engine == "openvino":
        return make_openvino(model, arithmetic.compute, threads)
    return make_engine(model, POLICY[arithmetic.compute], xla)


def check(engine: Engine, batch: Values, expected: Rows) -> tuple[bool, str]:
    """Whether an engine's rows are near enough to those of the plain model; and how near they are, in words."""
    rows = engine.run(batch)
    cosine, difference = least_cosine(rows, expected), largest_difference(rows, expected)
    if cosine < LEAST_COSINE or difference > LARGEST[engine.compute]:
        return False, f"cosine {cosine:.5f}, largest difference {difference:.1g} of the largest feature"
    return True, f"cosine to the plain Keras model >= {cosine:.5f}"


def least_cosine(a: Rows, b: Rows) -> float:
    """The smallest cosine between corresponding rows; 1 where both are zero, 0 where a number is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines = np.where(norms > 0, (x * y).sum(axis=1) / np.where(norms > 0, norms, 1), (x == y).all(axis=1))
    return float(cosines.min())


def largest_difference(a: Rows, b: Rows) -> float:
    """The largest difference between corresponding numbers, as a fraction of the largest of `b`; infinite where a
    number is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    largest = float(np.abs(b).max())
    return float(np.abs(a.astype(np.float64) - b).max()) / largest if largest else float(np.abs(a).max())
