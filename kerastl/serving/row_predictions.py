"""What a version predicts for rows of some data without having been trained on them, as far as that is possible.

Of a row that it was trained on, the predictions that it keeps count, which were made by models that were not. Of a row
that is new to it, the exported model predicts. A row that it was trained on without such a prediction, or whose
near-duplicate it was trained on, cannot be compared with anything.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.data.examples import Examples
from kerastl.evaluation.result import HeldOutRows
from kerastl.serving.predictions import Row
from kerastl.tasks import Task
from kerastl.versions.damage import require_unchanged
from kerastl.versions.held_out import FILE, read_held_out
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import read_split
from kerastl.versions.split_file import SPLIT_FILE, Parts

TEST = "test"
# How a row is predicted, or why it is not; the latter are from TRAINED_ON on.
HELD_OUT, SHIPPED, TRAINED_ON, NEAR, UNREADABLE, BEYOND, SEPARATE = range(7)
REASONS = {TRAINED_ON: "{name} was trained on them and keeps no predictions by models that were not",
           NEAR: "{name} was trained on a near-duplicate of them, or on their group",
           UNREADABLE: "{name} cannot decode them", BEYOND: "more new rows than are predicted in a run",
           SEPARATE: "{name} is exported without its backbone, so a run does not predict new rows with it"}
Shipped = Callable[[Sequence[int]], Iterable[Row | str]]  # rows -> what `serving_default` returns for each


@dataclass(frozen=True)
class RowPredictions:
    """The predictions of one version for some rows. name: of the version; path: its folder. how: for each row HELD_OUT,
    SHIPPED, or why there is none, [rows]. predicted: [rows, ...] targets in its own classes. confidence: the
    probability of what is predicted, [rows], NaN where it is not kept."""

    name: str
    path: str
    task: Task
    classes: tuple[str, ...]
    how: NDArray[np.int8]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which rows are predicted, [rows]."""
        return self.how < TRAINED_ON

    def label(self, place: int) -> str:
        """The predicted label or labels of the row at this place."""
        return self.task.label(self.predicted[place], self.classes) or "(none)"

    def reasons(self, among: NDArray[np.bool_]) -> dict[str, int]:
        """How many of some rows are not predicted, by the reason. among: [rows]."""
        counts = {code: int((self.how[among] == code).sum()) for code in REASONS}
        return {REASONS[code].format(name=self.name): n for code, n in counts.items() if n}


def predictions_of_version(name: str, folder: Path, record: RunRecord, examples: Examples, rows: NDArray[np.intp],
                           shipped: Shipped, *, most: int | None = None, with_backbone: bool = True
                           ) -> RowPredictions:
    """What the version in `folder` predicts for rows of examples, whose clusters say what is near-duplicate or of one
    group. shipped: is called with the rows that are new to it, if there are any. most: of these, which have the lowest
    content hashes. with_backbone: whether a model that is exported without its backbone predicts new rows too.

    Raises ModelError where its files are damaged.
    """
    require_unchanged(folder, SPLIT_FILE, FILE)
    task, classes, ids = record.task, len(record.classes), [examples.ids[row] for row in rows.tolist()]
    kept = read_held_out(folder, classes)
    places: Mapping[str, int] = kept.places if kept else {}
    found = np.array([places.get(content, -1) for content in ids], np.intp)
    how = np.where(found >= 0, HELD_OUT, new_or_seen(examples, rows, read_split(folder))).astype(np.int8)
    new = np.flatnonzero(how == SHIPPED)
    if record.large is not None and not with_backbone:
        how[new], new = SEPARATE, new[:0]
    if most is not None and len(new) > most:
        order = sorted(new.tolist(), key=ids.__getitem__)
        how[order[most:]] = BEYOND
        new = np.array(sorted(order[:most]), np.intp)
    predicted = np.zeros((len(rows),) if task.exclusive else (len(rows), classes), np.int64)
    confidence = np.full(len(rows), np.nan)
    if kept is not None:
        here = np.flatnonzero(found >= 0)
        predicted[here] = kept.predicted[found[here]]
        if kept.probabilities.shape[1]:
            confidence[here] = _confidence(task, kept.probabilities[found[here]], predicted[here])
    if len(new):
        outputs = [output if isinstance(output, str) else output["probabilities"]
                   for output in shipped(rows[new].tolist())]
        decoded = np.array([not isinstance(output, str) for output in outputs], bool)
        how[new[~decoded]], new = UNREADABLE, new[decoded]
        p = np.array([output for output in outputs if not isinstance(output, str)], np.float64).reshape(-1, classes)
        predicted[new] = task.predict(p, np.array(record.thresholds or task.half(classes).thresholds))
        confidence[new] = _confidence(task, p, predicted[new])
    return RowPredictions(name, str(folder), task, record.classes, how, predicted, confidence)


def predictions_of_run(name: str, path: str, held_out: HeldOutRows) -> RowPredictions:
    """What a model that is not exported yet predicts for its held-out rows."""
    examples = held_out.examples
    task = examples.task
    predicted = held_out.predicted.astype(np.int64)
    return RowPredictions(name, path, task, examples.classes, np.full(len(predicted), HELD_OUT, np.int8), predicted,
                          _confidence(task, task.probabilities(held_out.logits), predicted))


def new_or_seen(examples: Examples, rows: NDArray[np.intp], parts: Parts) -> NDArray[np.int8]:
    """For each of the rows SHIPPED if a version was not trained on it, else TRAINED_ON or NEAR. parts: of its split;
    its test rows are new to it, and so is a row that it does not know. Folds train the exported model too."""
    found = examples.near_duplicate_search
    around: Examples = examples if found is None or found.plain is None else found.plain  # also what the split skips
    clusters = around.clusters
    seen = {clusters[row] for row, part in enumerate(parts.of(around.ids, TEST)) if part != TEST}
    trained_on = np.array([part != TEST for part in parts.of(Hashes.of(examples.ids).take(rows), TEST)], bool)
    near = np.array([cluster in seen for cluster in examples.clusters_of(rows)], bool)
    return np.where(trained_on, TRAINED_ON, np.where(near, NEAR, SHIPPED)).astype(np.int8)


def _confidence(task: Task, p: NDArray[Any], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    """The probability of what is predicted, [n]. p: [n, classes]."""
    claimed = task.one_hot(predicted, p.shape[1])
    return np.asarray(np.exp(-task.log_loss(task.logits_of(np.asarray(p, np.float64)), claimed)), np.float64)
