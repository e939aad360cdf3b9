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

from kerastl.data.examples import Examples, lowest
from kerastl.decision import Calibration, calibrated
from kerastl.errors import CheckFailed, DataError
from kerastl.evaluation.rejection import Detector
from kerastl.export.tflite import Interpreter
from kerastl.export.unknown import OUTPUT
from kerastl.features.means import mean_over_places
from kerastl.inputs import Batch, Input
from kerastl.model import Predictor, timed
from kerastl.versions.sections import LEAST_RANK, Parity

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
SAME_SCORE = 0.01  # difference of `unknown_score` that does not count
ACCURACY = 0.01  # largest change, for the kinds that are compared by top labels


def choose_rows(examples: Examples) -> NDArray[np.intp]:
    """The rows to compare on: at most 256 held-out ones, always the same for the same data."""
    held_out = examples.split.held_out if examples.split else np.arange(len(examples))
    return lowest(examples.ids, held_out, ROWS)


@dataclass(frozen=True)
class Evaluated:
    """The logits that were evaluated. of_rows: [n] row numbers of held-out rows -> [n, outputs], of the head on their
    features. engine: which computed these features. features: of rows, [n, dim], means over places."""

    of_rows: Callable[[NDArray[np.intp]], NDArray[np.float32]]
    engine: str
    features: Callable[[NDArray[np.intp]], NDArray[np.float32]]


class Reference:
    """The logits that artifacts are compared with, and what the artifacts are given: raw bytes, or the decoded values.

    The logits are Keras' own, unless `logits` are passed, [rows, outputs]. changed: places of rows that the graph of an
    older version may decode otherwise than this code, from which Keras' logits come. What such a graph makes of their
    bytes is not compared. calibration: of the artifacts; its bias has a part in which label is on top. scores:
    `unknown_score` of each row, None without a detector; from `features`, [rows, dim], where `logits` are passed.
    """

    def __init__(self, model: Any, source: Input, examples: Examples, rows: NDArray[np.intp],
                 logits: NDArray[np.float32] | None = None, calibration: Calibration = PLAIN,
                 detector: Detector | None = None, features: NDArray[np.float32] | None = None) -> None:
        self.source, self.calibration, self.detector = source, calibration, detector
        some = examples.take(rows)
        self.items, self._ids = some.items, some.ids
        self.changed = frozenset(source.changed(self.items))
        self.truth = examples.one_hot(rows)
        refused: dict[int, str] = {}
        predictor, computed, means = Predictor(model) if logits is None else None, [], list[NDArray[np.float32]]()
        self._kept: list[Batch] = []
        size = 0
        for batch in source.batches(self.items, 32, refused, in_order=True, ids=self._ids):
            if predictor:
                pieces = predictor.features(batch)
                computed.append(predictor.logits(batch, pieces))
                means.append(mean_over_places(pieces))
            size += batch.values.nbytes
            self._kept = [*self._kept, batch] if size <= KEPT else []
        if refused or not len(rows):
            reason = next(iter(refused.values()), "there are none")
            raise DataError(f"rows to compare on cannot be read from {examples.source}: {reason}",
                            "the data that the model was trained on", "restore the data")
        self.logits = np.concatenate(computed) if logits is None else logits
        self.scores: NDArray[np.float32] | None = None
        if detector is not None:
            self.scores = detector.numpy(np.concatenate(means) if features is None else features, self.logits)

    def batches(self) -> Iterator[Batch]:
        """The rows' values again, in order; decoded again if there are too many to be kept."""
        yield from self._kept or self.source.batches(self.items, 32, {}, in_order=True, ids=self._ids)

    def compare(self, kind: str, logits: NDArray[np.float32], size: int, milliseconds: float,
                scores: NDArray[np.float32] | None = None) -> Parity:
        """Compare one artifact's logits, [rows, classes], with these, and check its bound; and its scores, [rows],
        where it has them. Scores that differ by less than a hundredth of their unit have the same ranks, whatever the
        order of near ties. A kind that is compared by top labels rounds so much that its ranks may differ from these by
        more than allowed: it is then kept, and has to be written without the scores."""
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
        rank = None if self.scores is None or scores is None else same_order(self.scores, scores)
        if rank is not None:
            bound = f"{bound}; rank of unknown_score >= {LEAST_RANK}"
            kept = kept and (rank >= LEAST_RANK or kind not in LOGITS)
        return Parity(kind, len(logits), difference, agreement, change, size, milliseconds, bound, kept, rank)

    def accuracy(self, logits: NDArray[np.float32]) -> float:
        """The fraction of the compared rows whose top label is correct."""
        return float((self.truth[np.arange(len(logits)), self.top(logits)] > 0).mean())

    def top(self, logits: NDArray[np.float32]) -> NDArray[np.intp]:
        """The class of the highest calibrated probability of each row."""
        return np.asarray(calibrated(logits, self.calibration).argmax(axis=1))


def checked_saved_model(model: Any, source: Input, examples: Examples, folder: Path, evaluated: Evaluated | None,
                        calibration: Calibration, detector: Detector | None = None) -> tuple[Reference, Parity]:
    """Compare the SavedModel with the logits that were evaluated, where they are known, else with Keras'. Returns what
    other artifacts are compared with, too.

    Where the evaluated logits differ, Keras' decide whether the features or the SavedModel are wrong. Raises
    CheckFailed where it is the features of another engine than TensorFlow's.
    """
    rows = choose_rows(examples)
    logits = None if evaluated is None else evaluated.of_rows(rows)
    features = None if evaluated is None else evaluated.features(rows)
    reference = Reference(model, source, examples, rows, logits, calibration, detector, features)
    parity = compare_saved_model(reference, folder)
    if logits is None or evaluated is None or (parity.kept and parity.max_difference <= LOGITS["saved_model"] / 2):
        return reference, parity
    reference = Reference(model, source, examples, rows, calibration=calibration, detector=detector)
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
    outputs = [tensor(**decoded(source, batch)) for batch in reference.batches()]
    logits, scores = ([np.asarray(output[name]) for output in outputs if name in output] for name in ("logits", OUTPUT))
    parity = reference.compare("saved_model", np.concatenate(logits), _bytes(folder), milliseconds,
                               np.concatenate(scores) if scores else None)
    same = np.array([row not in reference.changed for row in range(n)])
    agree = has_top(served, reference.top(reference.logits))
    raw_agreement = float(agree[same].mean()) if same.any() else 1.0
    return parity if raw_agreement == 1 else replace(parity, agreement=raw_agreement, kept=False)


def has_top(probabilities: NDArray[np.float32], top: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether no class is more probable than the one of `top`, [n]. Probabilities that are near 1 are equal in float32,
    where a row has several labels: which of them is the first means nothing."""
    return np.asarray(probabilities[np.arange(len(top)), top] >= probabilities.max(axis=1))


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

    def in_a_copy(values: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        run = free.get()
        try:
            return run(values)
        finally:
            free.put(run)

    outputs: list[dict[str, NDArray[np.float32]]] = []
    milliseconds = 0.0
    try:
        with ThreadPoolExecutor(copies) as pool:
            for batch in reference.batches():
                rows = [reference.source.fixed(row) for row in batch.values]
                if not outputs:
                    outputs, milliseconds = timed(alone, rows[:TIMED])
                    rows = rows[TIMED:]
                outputs += pool.map(in_a_copy, rows)
    except RuntimeError as error:  # of an operator, such as a division by what 8 bits round to 0
        n = len(reference.items)
        return Parity(kind, n, float("inf"), 0.0, -reference.accuracy(reference.logits), len(content), 0.0,
                      f"LiteRT can run it ({' '.join(str(error).split())})", False)
    logits, scores = ([output[name] for output in outputs if name in output] for name in ("logits", OUTPUT))
    return reference.compare(kind, np.stack(logits), len(content), milliseconds, np.stack(scores) if scores else None)


def same_order(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """The rank correlation of two scores of the same rows; 1 where none differs by more than rounding does."""
    rank = rank_correlation(a, b)
    return 1.0 if rank is not None and np.abs(a - b).max() <= SAME_SCORE else rank


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Spearman's rank correlation of two scores of the same rows; None for fewer than 3 rows, or where all have the
    same score."""
    from scipy.stats import spearmanr

    if len(a) < 3 or not np.ptp(a) > 0:
        return None
    if not np.isfinite(b).all() or not np.ptp(b) > 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def _bytes(folder: Path) -> int:
    files: Sequence[Path] = [folder / "saved_model.pb", *(folder / "variables").iterdir()]
    return sum(path.stat().st_size for path in files)
