"""What computes predictions for many inputs: the SavedModel, or a faster engine that is checked against it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import CheckFailed, OptionError
from kerastl.export.served import served_outputs
from kerastl.inputs import restored
from kerastl.runtime import LEAST_GAIN, RAY
from kerastl.serving.answers import Answer, Content, rows_of
from kerastl.serving.classifier import Classifier
from kerastl.serving.predictions import Row

ENGINES = ("saved_model", "auto", "openvino", RAY)  # the last one: the SavedModel, on a Ray cluster
TOLERANCE = 1e-3  # of a probability
CHECKED = 256  # inputs that are also computed by the SavedModel

# Decoded values [pieces, ...], and the row of each piece or None -> the outputs of the signature `tensor`, such as
# logits [rows, classes]. One thread calls it at a time.
OutputsOf = Callable[[NDArray[Any], NDArray[np.int32] | None], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Computing:
    """How predictions are computed. answer: as `Classifier.rows` takes it. name, notes: of the engine that was used and
    why, known at the end."""

    answer: Answer
    name_at_end: Callable[[], str] = lambda: ENGINES[0]
    notes: Callable[[], Sequence[str]] = lambda: ()

    @property
    def name(self) -> str:
        """The engine that computed, or that was chosen: saved_model or openvino."""
        return self.name_at_end()


def engine_for(classifier: Classifier, engine: str, many: bool) -> Computing:
    """The engine of this name. many: whether there are so many inputs that `auto` compares the engines.

    Raises OptionError where OpenVINO is requested and cannot be used for this model.
    """
    if engine in ("saved_model", RAY) or (engine == "auto" and not many):
        return Computing(classifier.answer)
    try:
        outputs_of = _openvino(classifier)
    except OptionError as error:
        if engine == "openvino":
            raise
        reason = f"computed with the SavedModel: {error.line}"
        return Computing(classifier.answer, notes=lambda: (reason,))
    checked = CheckedEngine(classifier, outputs_of, compare=engine == "auto")
    return Computing(checked.answer, lambda: "openvino" if checked.chosen else ENGINES[0], checked.notes)


def _openvino(classifier: Classifier) -> OutputsOf:
    if classifier.record.large is not None:
        raise OptionError("OpenVINO cannot compute a model that was exported without its backbone",
                          "the engine `saved_model`", "omit `engine`")
    from kerastl.serving.openvino_outputs import openvino_outputs

    return openvino_outputs(classifier.tensor)


@dataclass
class CheckedEngine:
    """An engine whose first rows are also computed by the SavedModel. Where their probabilities differ by more than
    0.001, that is an error; where the engine was to be compared (`auto`), the answers to these rows are the
    SavedModel's, which also computes the rest, as it does if the engine is hardly faster.

    Batches are decoded by several threads at a time, and computed by one."""

    classifier: Classifier
    compute: OutputsOf
    compare: bool
    in_use: bool = True
    rows: int = 0  # that were checked
    alone: int = 0  # rows that the engine alone computed
    largest: float = 0.0  # difference of a probability
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])  # of the checked rows: SavedModel, engine
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        classifier = self.classifier
        self.source: Any = restored(classifier.modality, classifier.record.input, classifier.folder)
        self.outputs_of = served_outputs(classifier.classes, classifier.task, classifier.record.calibration,
                                         classifier.rejects)

    def answer(self, contents: Sequence[Content]) -> list[Row | str]:
        """As `Classifier.answer`."""
        older = {*self.source.changed(contents)}  # an older version's own graph decodes them otherwise
        others = iter(self.classifier.answer([contents[place] for place in sorted(older)]))
        rest = [content for place, content in enumerate(contents) if place not in older]
        rows = iter((self._computed(rest) if self.in_use else None) or self.classifier.answer(rest))
        return [next(others) if place in older else next(rows) for place in range(len(contents))]

    def _computed(self, contents: Sequence[Content]) -> list[Row | str] | None:
        """What the engine computes; None if another thread has found that it should not be used."""
        start, refused = time.perf_counter(), dict[int, str]()
        batch = self.source.decoded(contents, refused)
        answers: list[Row | str] = [refused.get(place, "") for place in range(len(contents))]
        took = time.perf_counter() - start
        with self.lock:
            if not self.in_use or not batch.places:
                return answers if self.in_use else None
            start = time.perf_counter()
            outputs = rows_of(self.outputs_of(self.compute(batch.values, batch.owners)))
            for place, row in zip(batch.places, outputs, strict=True):
                answers[place] = row
            took += time.perf_counter() - start
            if self.rows < CHECKED:
                return self._checked(contents, answers, took)
            self.alone += len(batch.places)
            return answers

    def _checked(self, contents: Sequence[Content], answers: list[Row | str], took: float) -> list[Row | str]:
        """The answers, after the engine's were compared with the SavedModel's. took: seconds of the engine's."""
        start = time.perf_counter()
        expected = self.classifier.answer(contents)
        if self.rows:  # the first batch is slow in either, because they compile
            self.seconds[0] += time.perf_counter() - start
            self.seconds[1] += took
        for mine, row in zip(answers, expected, strict=True):
            if not (isinstance(mine, str) or isinstance(row, str)):
                self.rows += 1
                self.largest = float(np.maximum(  # also if it is not a number
                    self.largest, np.abs(mine["probabilities"] - row["probabilities"]).max()))
        if not self.largest <= TOLERANCE and not self.compare:
            raise CheckFailed(f"OpenVINO's probabilities differ from the SavedModel's by up to {self.largest:.1g}",
                              f"at most {TOLERANCE:g}", "omit `engine`: the SavedModel then computes")
        slow = self.compare and self.rows >= CHECKED and self.gain < LEAST_GAIN
        self.in_use = self.in_use and bool(self.largest <= TOLERANCE) and not slow
        return expected if self.compare else answers

    @property
    def chosen(self) -> bool:
        """Whether answers are the engine's. Where it was to be compared, there may be too few for that."""
        return self.in_use and (self.alone > 0 or not self.compare)

    @property
    def gain(self) -> float:
        """How many times as fast as the SavedModel the engine computed the checked rows; 0 where that is unknown."""
        return self.seconds[0] / self.seconds[1] if self.seconds[1] else 0.0

    def notes(self) -> Sequence[str]:
        """Which engine computed, and how far its probabilities are from the SavedModel's."""
        difference = (f"on the first {self.rows:,} inputs, its probabilities differ from the SavedModel's by at most "
                      f"{self.largest:.1g}")
        if self.chosen:
            return [f"computed with OpenVINO; {difference}"]
        if self.in_use:
            return [f"computed with the SavedModel: only {self.rows:,} inputs have a prediction, too few to compare it "
                    "with OpenVINO"]
        slow = f"it was {self.gain:.2f} times as fast as the SavedModel"
        return [f"computed with the SavedModel, not OpenVINO: {slow if self.largest <= TOLERANCE else difference}"]
