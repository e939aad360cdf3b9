"""The parity gate: the same raw rows through Keras, the reloaded SavedModel and each TFLite file, compared.

A bound is stated for each; what breaks its bound is not shipped.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.errors import DataError
from kerastl.export.tflite import Interpreter
from kerastl.inputs import Batch, Input
from kerastl.model import Predictor
from kerastl.versions.sections import Parity

ROWS = 256  # compared, or all there are
LOGITS = {"saved_model": 1e-4, "fp32": 1e-4}  # largest difference
# Rounding weights to 11 bits moves every logit by a share of its size, so the bound is a share of the largest logit:
# EfficientNet-Lite0 with a trained head reaches logits of 11 and differs by 0.05, by 0.005 in the mean.
RELATIVE = {"fp16": 1e-2}
AGREEMENT = {"dynamic": 0.98, "int8": 0.97}  # least share of equal top labels
ACCURACY = 0.01  # largest change, for the kinds judged by agreement


def choose_rows(examples: Examples) -> NDArray[np.intp]:
    """The rows to compare on: held-out ones, at most 256, always the same of the same data."""
    judged = examples.split.held_out if examples.split else np.arange(len(examples))
    return np.array(sorted(judged, key=lambda row: examples.ids[row])[:ROWS], dtype=np.intp)


class Reference:
    """Keras' own answers on the compared rows, and what the artifacts are fed: raw bytes, or the decoded values."""

    def __init__(self, model: Any, source: Input, examples: Examples, rows: NDArray[np.intp]) -> None:
        self.source = source
        self.items = examples.take(rows).items
        self.truth = examples.one_hot(rows)
        refused: dict[int, str] = {}
        answer = Predictor(model)
        parts = [answer(batch) for batch in source.batches(self.items, 32, refused, in_order=True)]
        if refused or not parts:
            reason = next(iter(refused.values()), "there are none")
            raise DataError(f"rows to compare on are gone from {examples.source}: {reason}",
                            "the data that the model was made from", "give the data again")
        self.logits = np.concatenate(parts)

    def batches(self) -> Iterator[Batch]:
        """The rows' values again, in order."""
        yield from self.source.batches(self.items, 32, {}, in_order=True)

    def compare(self, kind: str, logits: NDArray[np.float32], size: int, milliseconds: float) -> Parity:
        """Measure one artifact's logits, [rows, classes], against Keras', and hold it to its bound."""
        difference = float(np.abs(logits - self.logits).max()) if np.isfinite(logits).all() else float("inf")
        agreement = float((_top(logits) == _top(self.logits)).mean())
        change = self.accuracy(logits) - self.accuracy(self.logits)
        if kind in RELATIVE:
            largest = max(1.0, float(np.abs(self.logits).max()))
            bound = f"logits within {RELATIVE[kind]:.0%} of the largest, {largest:.1f}"
            kept = difference <= RELATIVE[kind] * largest
        elif kind in LOGITS:
            bound, kept = f"logits within {LOGITS[kind]:g}", difference <= LOGITS[kind]
        else:
            least = AGREEMENT[kind]
            bound = f"{least:.0%} of top labels, accuracy within {ACCURACY * 100:g} point"
            kept = agreement >= least and abs(change) <= ACCURACY + 1e-9
        return Parity(kind, len(logits), difference, agreement, change, size, milliseconds, bound, kept)

    def accuracy(self, logits: NDArray[np.float32]) -> float:
        """The share of the compared rows whose top label is right."""
        return float((self.truth[np.arange(len(logits)), _top(logits)] > 0).mean())


def _top(logits: NDArray[np.float32]) -> NDArray[np.intp]:
    return logits.argmax(axis=1)


def compare_saved_model(reference: Reference, folder: Path) -> Parity:
    """The reloaded SavedModel, fed the decoded values for its logits and the raw ones for its top labels."""
    source, n = reference.source, len(reference.items)
    loaded = tf.saved_model.load(str(folder))
    serve, tensor = loaded.signatures["serving_default"], loaded.signatures["tensor"]
    logits, took, raw_top = [], 0.0, []
    for start in range(0, n, 32):
        sent = source.contents([reference.items[i] for i in range(start, min(start + 32, n))])
        begun = time.perf_counter()
        answers = serve(**{source.raw_name: tf.constant(sent)})
        took += time.perf_counter() - begun
        raw_top.append(np.asarray(answers["probabilities"]).argmax(axis=1))
    for batch in reference.batches():
        logits.append(np.asarray(tensor(**decoded(source, batch))["logits"]))
    found = reference.compare("saved_model", np.concatenate(logits), _bytes(folder), 1000 * took / n)
    by_raw = float((np.concatenate(raw_top) == _top(reference.logits)).mean())
    if by_raw < 1.0:  # what a client sends must give the labels that the values give, to the last one
        found = Parity(**{**found.__dict__, "agreement": by_raw, "kept": False})
    return found


def decoded(source: Input, batch: Batch) -> dict[str, tf.Tensor]:
    """A batch as the `tensor` signature takes it."""
    owners = {} if batch.owners is None else {"owners": tf.constant(batch.owners)}
    return {source.values_name: tf.constant(batch.values), **owners}


def compare_tflite(reference: Reference, kind: str, content: bytes) -> Parity:
    """One TFLite file, fed the decoded values of the same rows one by one."""
    run: Callable[..., dict[str, Any]] = Interpreter(content, threads=os.cpu_count() or 1)
    logits, took = [], 0.0
    for batch in reference.batches():
        for one in batch.values:
            values = reference.source.fixed(one)
            begun = time.perf_counter()
            logits.append(run(values)["logits"])
            took += time.perf_counter() - begun
    return reference.compare(kind, np.stack(logits), len(content), 1000 * took / len(logits))


def _bytes(folder: Path) -> int:
    files: Sequence[Path] = [folder / "saved_model.pb", *(folder / "variables").iterdir()]
    return sum(path.stat().st_size for path in files)
