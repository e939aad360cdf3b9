"""The parity check: the same rows through the reloaded SavedModel and each TFLite file, compared with a reference.

Each artifact has an error bound, and one that exceeds it is not written.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.decision import Calibration, calibrated
from kerastl.errors import CheckFailed, DataError
from kerastl.export.tflite import Interpreter
from kerastl.inputs import Batch, Input
from kerastl.model import Predictor, timed
from kerastl.versions.sections import Parity

ROWS = 256  # compared, or all there are
TIMED = 30  # of them, which each artifact also gets one at a time and alone, for its latency
KEPT = 128_000_000  # bytes of decoded rows that are kept for all artifacts; 256 rows of 299 x 299 pixels are 69 MB
COPIES = 256_000_000  # bytes of the TFLite files that are open at the same time, one for each thread
LOGITS = {"saved_model": 1e-4, "fp32": 1e-4}  # largest difference
# Rounding weights to 11 bits changes every logit in proportion to its size, so the bound is a fraction of the largest
# logit: EfficientNet-Lite0 with a trained head reaches logits of 11, and differs by 0.05 at most and 0.005 on average.
RELATIVE = {"fp16": 1e-2}
AGREEMENT = {"dynamic": 0.98, "int8": 0.97}  # smallest fraction of equal top labels
PLAIN = Calibration(1.0)
ACCURACY = 0.01  # largest change, for the kinds that are compared by top labels


def choose_rows(examples: Examples) -> NDArray[np.intp]:
    """The rows to compare on: at most 256 held-out ones, always the same for the same data."""
    held_out = examples.split.held_out if examples.split else np.arange(len(examples))
    return np.array(sorted(held_out, key=lambda row: examples.ids[row])[:ROWS], dtype=np.intp)


@dataclass(frozen=True)
class Evaluated:
    """The logits that were evaluated. of_rows: [n] row numbers of held-out rows -> [n, outputs], of the head on their
    features. engine: which computed these features."""

    of_rows: Callable[[NDArray[np.intp]], NDArray[np.float32]]
    engine: str


class Reference:
    """The logits that artifacts are compared with, and what the artifacts are given: raw bytes, or the decoded values.

    The logits are Keras' own, unless `logits` are passed, [rows, outputs]. changed: places of rows that the graph of an
    older version may decode otherwise than this code, from which Keras' logits come. What such a graph makes of their
    bytes is not compared. calibration: of the artifacts; its bias has a part in which label is on top.
    """

    def __init__(self, model: Any, source: Input, examples: Examples, rows: NDArray[np.intp],
                 logits: NDArray[np.float32] | None = None, calibration: Calibration = PLAIN) -> None:
        self.source, self.calibration = source, calibration
        some = examples.take(rows)
        self.items, self._ids = some.items, some.ids
        self.changed = frozenset(source.changed(self.items))
        self.truth = examples.one_hot(rows)
        refused: dict[int, str] = {}
        predictor, computed = Predictor(model) if logits is None else None, []
        self._kept: list[Batch] = []
        size = 0
        for batch in source.batches(self.items, 32, refused, in_order=True, ids=self._ids):
            if predictor:
                computed.append(predictor(batch))
            size += batch.values.nbytes
            self._kept = [*self._kept, batch] if size <= KEPT else []
        if refused or not len(rows):
            reason = next(iter(refused.values()), "there are none")
            raise DataError(f"rows to compare on cannot be read from {examples.source}: {reason}",
                            "the data that the model was trained on", "restore the data")
        self.logits = np.concatenate(computed) if logits is None else logits

    def batches(self) -> Iterator[Batch]:
        """The rows' values again, in order; decoded again if there are too many to be kept."""
        yield from self._kept or self.source.batches(self.items, 32, {}, in_order=True, ids=self._ids)

    def compare(self, kind: str, logits: NDArray[np.float32], size: int, milliseconds: float) -> Parity:
        """Compare one artifact's logits, [rows, classes], with these, and check its bound."""
        difference = float(np.abs(logits - self.logits).max()) if np.isfinite(logits).all() else float("inf")
        agreement = float((self.top(logits) == self.top(self.logits)).mean())
        change = self.accuracy(logits) - self.accuracy(self.logits)
        if kind in RELATIVE:
            largest = max(1.0, float(np.abs(self.logits).max()))
            bound = f"max logit error <= {RELATIVE[kind]:.0%} of the largest logit ({largest:.1f})"
            kept = difference <= RELATIVE[kind] * largest
        elif kind in LOGITS:
            bound, kept = f"max logit error <= {LOGITS[kind]:g}", difference <= LOGITS[kind]
        else:
            least = AGREEMENT[kind]
            bound = f"same top label for {least:.0%}, accuracy within {ACCURACY * 100:g} point"
            kept = agreement >= least and abs(change) <= ACCURACY + 1e-9
        return Parity(kind, len(logits), difference, agreement, change, size, milliseconds, bound, kept)

    def accuracy(self, logits: NDArray[np.float32]) -> float:
        """The fraction of the compared rows whose top label is correct."""
        return float((self.truth[np.arange(len(logits)), self.top(logits)] > 0).mean())

    def top(self, logits: NDArray[np.float32]) -> NDArray[np.intp]:
        """The class of the highest calibrated probability of each row."""
        return np.asarray(calibrated(logits, self.calibration).argmax(axis=1))


def checked_saved_model(model: Any, source: Input, examples: Examples, folder: Path, evaluated: Evaluated | None,
                        calibration: Calibration) -> tuple[Reference, Parity]:
    """Compare the SavedModel with the logits that were evaluated, where they are known, else with Keras'. Returns what
    other artifacts are compared with, too.

    Where the evaluated logits differ, Keras' decide whether the features or the SavedModel are wrong. Raises
    CheckFailed where it is the features of another engine than TensorFlow's.
    """
    rows = choose_rows(examples)
    logits = None if evaluated is None else evaluated.of_rows(rows)
    reference = Reference(model, source, examples, rows, logits, calibration)
    parity = compare_saved_model(reference, folder)
    if logits is None or evaluated is None or (parity.kept and parity.max_difference <= LOGITS["saved_model"] / 2):
        return reference, parity
    reference = Reference(model, source, examples, rows, calibration=calibration)
    difference = float(np.abs(reference.logits - logits).max())
    if evaluated.engine != "tensorflow" and not difference <= LOGITS["saved_model"]:
        raise CheckFailed(f"the logits that were evaluated, from features by {evaluated.engine}, differ from Keras' by "
                          f"up to {difference:.2g}", f"at most {LOGITS['saved_model']:g}",
                          "set `engine` to tensorflow")
    return reference, compare_saved_model(reference, folder)


def compare_saved_model(reference: Reference, folder: Path) -> Parity:
    """The reloaded SavedModel: its logits from decoded values, and its top labels from what a client sends. These
    labels have to equal Keras' for every row that both decode alike."""
    source, n = reference.source, len(reference.items)
    loaded = tf.saved_model.load(str(folder))
    serve, tensor = loaded.signatures["serving_default"], loaded.signatures["tensor"]

    def probabilities(sent: Any) -> NDArray[np.float32]:
        return np.asarray(serve(**{source.raw_name: tf.constant(sent)})["probabilities"])

    def sent(start: int, end: int) -> list[Any]:
        return source.contents([reference.items[row] for row in range(start, min(end, n))])

    served = np.concatenate([probabilities(sent(start, start + 32)) for start in range(0, n, 32)])
    _, milliseconds = timed(probabilities, (sent(row, row + 1) for row in range(min(n, TIMED))))
    logits = [np.asarray(tensor(**decoded(source, batch))["logits"]) for batch in reference.batches()]
    parity = reference.compare("saved_model", np.concatenate(logits), _bytes(folder), milliseconds)
    same = np.array([row not in reference.changed for row in range(n)])
    agree = served.argmax(axis=1) == reference.top(reference.logits)
    raw_agreement = float(agree[same].mean()) if same.any() else 1.0
    return parity if raw_agreement == 1 else replace(parity, agreement=raw_agreement, kept=False)


def decoded(source: Input, batch: Batch) -> dict[str, tf.Tensor]:
    """A batch as the `tensor` signature takes it."""
    owners = {} if batch.owners is None else {"owners": tf.constant(batch.owners)}
    return {source.values_name: tf.constant(batch.values), **owners}


def compare_tflite(reference: Reference, kind: str, content: bytes) -> Parity:
    """One TFLite file, given the decoded values of the same rows one by one: the first 30 alone, for its latency, the
    others in several threads, each with the file opened anew."""
    cores = os.cpu_count() or 1
    copies = max(1, min(cores, COPIES // len(content)))
    alone = Interpreter(content, threads=cores)
    free: SimpleQueue[Interpreter] = SimpleQueue()
    for _ in range(copies):
        free.put(Interpreter(content, threads=cores // copies))

    def in_a_copy(values: NDArray[Any]) -> NDArray[np.float32]:
        run = free.get()
        try:
            return run(values)["logits"]
        finally:
            free.put(run)

    logits: list[NDArray[np.float32]] = []
    milliseconds = 0.0
    try:
        with ThreadPoolExecutor(copies) as pool:
            for batch in reference.batches():
                rows = [reference.source.fixed(row) for row in batch.values]
                if not logits:
                    logits, milliseconds = timed(lambda values: alone(values)["logits"], rows[:TIMED])
                    rows = rows[TIMED:]
                logits += pool.map(in_a_copy, rows)
    except RuntimeError as error:  # of an operator, such as a division by what 8 bits round to 0
        n = len(reference.items)
        return Parity(kind, n, float("inf"), 0.0, -reference.accuracy(reference.logits), len(content), 0.0,
                      f"LiteRT can run it ({' '.join(str(error).split())})", False)
    return reference.compare(kind, np.stack(logits), len(content), milliseconds)


def _bytes(folder: Path) -> int:
    files: Sequence[Path] = [folder / "saved_model.pb", *(folder / "variables").iterdir()]
    return sum(path.stat().st_size for path in files)
