"""Graphs checked against the plain Keras model, and timed, before they compute features."""

import time

import numpy as np

from kerastl.features.engines.tensorflow import Engine, Model, Rows, Values, make_engine, plain_engine

LEAST_COSINE = 0.999


def checked_engine(model: Model, batch: Values, precision: str, xla: bool) -> tuple[Engine, str]:
    """`make_engine`, checked on a batch against the plain model; and which graph is used, in words.

    Where a row's cosine is under 0.999 the folded float32 graph is tried, then the plain model is used.
    """
    plain = plain_engine(model)
    expected = plain.run(batch)
    rejected = ""
    for candidate_precision, candidate_xla in dict.fromkeys([(precision, xla), ("float32", False)]):
        engine = make_engine(model, candidate_precision, candidate_xla)
        if engine.graph == "plain" and engine.compute == "float32":
            break
        cosine = least_cosine(engine.run(batch), expected)
        if cosine >= LEAST_COSINE:
            return engine, f"{engine.graph} graph, cosine to the plain Keras model >= {cosine:.5f}{rejected}"
        rejected += (f"; the {engine.graph} graph in {engine.compute} is not used because it is inaccurate "
                     f"(cosine {cosine:.5f})")
    return plain, "the plain Keras model" + rejected


def speed_ratio(model: Model, batch: Values, runs: int = 3) -> float:
    """How many times as fast the bfloat16 graph runs as the float32 one on this machine: the best of a few runs each.

    A CPU may list bfloat16 instructions and still gain nothing by them, so this is measured, not looked up."""
    best = {}
    for precision in ("float32", "mixed_bfloat16"):
        engine = make_engine(model, precision)
        engine.run(batch)  # compiles
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            engine.run(batch)
            seconds.append(time.perf_counter() - start)
        best[precision] = min(seconds)
    return best["float32"] / best["mixed_bfloat16"]


def least_cosine(a: Rows, b: Rows) -> float:
    """The smallest cosine between corresponding rows; 1 where both are zero, 0 where a number is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines = np.where(norms > 0, (x * y).sum(axis=1) / np.where(norms > 0, norms, 1), (x == y).all(axis=1))
    return float(cosines.min())
