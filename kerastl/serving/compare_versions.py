"""Comparing two versions of a model on the same rows, without flattering the one that was trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import SHOWN, Examples
from kerastl.data.labels import matched
from kerastl.data.near_duplicates.record import GROUP, REPORT
from kerastl.data.near_duplicates.search import find_near_duplicates
from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.evaluation.result import Evaluation
from kerastl.serving.classifier import Classifier
from kerastl.serving.predictions import Row
from kerastl.serving.row_predictions import (
    HELD_OUT,
    SHIPPED,
    RowPredictions,
    Shipped,
    predictions_of_run,
    predictions_of_version,
)
from kerastl.stats import paired_difference, verdict, wilson_interval
from kerastl.versions.folder import find_version, version_beside, versions
from kerastl.versions.held_out import read_held_out
from kerastl.versions.record import RunRecord
from kerastl.versions.version_comparison import (
    ChangedRow,
    ComparedVersion,
    NotCompared,
    VersionComparison,
    counted,
)

MOST_NEW = 1000  # rows that a run predicts with the previous version
Against = str | Path | int | Classifier  # as `compare_versions` takes it
LISTED = 24  # rows that only the old version predicts correctly
UNKNOWN = "neither version has their class"


def load_other(model: Classifier, against: Against, weights: str | None = None, *, trust: bool = False) -> Classifier:
    """The version to compare a model with: the number of another version of it, a path, or a loaded model. weights: the
    new location of the backbone's folder, where it was exported without its backbone. Raises ModelError where there is
    no such version, OptionError where it is the same one, or has other inputs or labels."""
    if not isinstance(against, Classifier):
        folder = version_beside(model.folder, against)
        large = RunRecord.read(folder).large is not None
        against = Classifier(folder, weights if large else None, trust)
    if against.folder.resolve() == model.folder.resolve():
        raise OptionError(f"`against` is {against.folder}, the version that is evaluated", "another version",
                          "give the number of an earlier version, or its path")
    if reason := _of_other_kind(against.record, model.record.modality_name, model.record.task_name):
        raise OptionError(f"`against` is {against.folder}, which {reason}; {model.folder} classifies "
                          f"{model.modality.nouns} with {model.task.noun}", "two models for the same data",
                          "give another version")
    return against


def compare_classifiers(new: Classifier, old: Classifier, examples: Examples, *,
                        computed: dict[str, Row] | None = None, cache_dir: str | Path | None = None
                        ) -> VersionComparison:
    """Compare two exported models, as `load_other` takes them, on labelled rows with all classes that these have.
    Near-duplicates are searched for among them, because they do not count as independent. computed: what `new` returns
    for rows, by content hash, where that is known. cache_dir: the folder of a temporary file. Raises DataError where no
    row can be compared, or the data have other labels.
    """
    if examples.task is not new.task:
        raise DataError(f"{examples.source} has {examples.task.noun}", new.task.noun,
                        "use data labelled like the training data")
    if examples.near_duplicate_search is None:
        mirrored = examples.modality.in_files and any(each.record.config.get("mirrored", False) for each in (new, old))
        examples = find_near_duplicates(examples, mirrored=mirrored, cache_dir=cache_dir)
    names, rows = _names(old.folder, new.folder), np.arange(len(examples))
    theirs, ours = (
        predictions_of_version(name, each.folder, each.record, examples, rows, _shipped(each, examples, known))
        for name, each, known in zip(names, (old, new), ({}, computed or {}), strict=True))
    notes = _notes(dict(zip(names, (old.record, new.record), strict=True)), examples)
    compared = compare_rows(examples, rows, theirs, ours, notes)
    if compared.reason:
        raise DataError(compared.reason, "rows that neither version was trained on, or of which it keeps held-out "
                        "predictions", "give data that are new to both, or train the older version again")
    return compared


def check_previous(home: Path) -> None:
    """Raises ModelError where the newest version in `home` cannot be read, before a run that has to be better than
    it."""
    if versions(home):
        folder = find_version(str(home))
        read_held_out(folder, len(RunRecord.read(folder).classes))


def compare_with_previous(home: Path, evaluation: Evaluation, number: int) -> VersionComparison | None:
    """Compare a model that is not exported yet with the newest version in `home`, on its own held-out rows; None where
    there is no version. number: of the version that it will be. At most 1,000 rows that are new to the old version are
    predicted with it. A version that cannot be compared is no error: `reason` says why."""
    numbers = versions(home)
    if not numbers:
        return None
    held_out, name = evaluation.held_out, f"version {numbers[-1]}"
    examples, rows = held_out.examples, held_out.rows
    try:
        folder = find_version(str(home))
        record = RunRecord.read(folder)
        if reason := _of_other_kind(record, examples.modality.name, examples.task.name):
            return VersionComparison(reason=f"{name} {reason}")
        old = predictions_of_version(name, folder, record, examples, rows, _lazily(folder, examples), most=MOST_NEW,
                                     with_backbone=False)
        new = predictions_of_run(f"version {number}", str(home / str(number)), held_out)
        return compare_rows(examples, rows, old, new, _notes({name: record}, examples))
    except KerastlError as error:
        return VersionComparison(reason=error.got.partition("\n")[0])


def _of_other_kind(record: RunRecord, modality: str, task: str) -> str:
    """Why a version cannot be compared with a model of this modality and task; empty where it can."""
    if record.modality_name != modality:
        return f"classifies {record.modality.nouns}"
    return f"has {record.task.noun}" if record.task_name != task else ""


def _names(old: Path, new: Path) -> tuple[str, str]:
    """What the versions are called: by their numbers where they are of one model."""
    if old.absolute().parent == new.absolute().parent:
        return f"version {old.name}", f"version {new.name}"
    return str(old), str(new)


def _notes(records: Mapping[str, RunRecord], examples: Examples) -> list[str]:
    """What else affects the figures of versions. records: by what the versions are called."""
    return _notes_on_near_duplicates(records, examples) + [
        f"{name} has the target {record.test.target.asked}, and is compared with it"
        for name, record in records.items() if record.test.target is not None]


def _notes_on_near_duplicates(records: Mapping[str, RunRecord], examples: Examples) -> list[str]:
    """Whether predictions for held-out rows may be by models that were trained on near-duplicates of these."""
    search = examples.near_duplicate_search
    if examples.near_duplicates is None:  # not known, or not united
        if search is not None and search.record.mode == REPORT and search.record.groups == search.record.exact:
            return []
        return ["near-duplicates among these rows were not kept apart, so predictions may be by a model that was "
                "trained on a near-duplicate, and too good"]
    if len(set(examples.clusters)) == len(set(examples.groups)):
        return []
    return [f"{name} did not keep near-duplicates apart, so its predictions for held-out rows may be too good"
            for name, record in records.items() if not (found := record.near_duplicates) or found.mode != GROUP]


def _shipped(classifier: Classifier, examples: Examples, computed: dict[str, Row]) -> Shipped:
    """What a loaded model returns for rows. computed: what is known, by content hash."""

    def outputs(rows: Sequence[int]) -> list[Row | str]:
        missing = [row for row in rows if examples.ids[row] not in computed]
        fresh = dict(zip(missing, classifier.rows([examples.items[row] for row in missing]), strict=True))
        return [fresh[row] if row in fresh else computed[examples.ids[row]] for row in rows]

    return outputs


def _lazily(folder: Path, examples: Examples) -> Shipped:
    """The same of a version that is only loaded if there are rows to predict."""
    return lambda rows: _shipped(Classifier(folder), examples, {})(rows)


def compare_rows(examples: Examples, rows: NDArray[np.intp], old: RowPredictions, new: RowPredictions,
                 notes: Sequence[str] = ()) -> VersionComparison:
    """Two versions on those of the rows that both predict. old, new: for the rows, in this order."""
    sides, truth = (old, new), examples.one_hot(rows) > 0
    pairs = [matched(examples.classes, side.classes) for side in sides]
    known = np.array([[name in of_side for name in examples.classes] for of_side in pairs], bool)  # [sides, classes]
    rated = np.asarray((truth & known.any(axis=0)).any(axis=1) if examples.task.exclusive else np.ones(len(rows), bool))
    used: NDArray[np.bool_] = old.usable & new.usable & rated
    left_out = {UNKNOWN: int((~rated).sum())} if (~rated).any() else {}
    left_out |= old.reasons(rated) | new.reasons(rated & old.usable)
    if not used.any():
        reasons = "; ".join(f"{counted(n, examples.modality.nouns)}: {reason}" for reason, n in left_out.items())
        return VersionComparison(reason=f"no row can be compared with {old.name} ({reasons})",
                                 not_compared=_not_compared(left_out), nouns=examples.modality.nouns)
    truth = (truth & known.any(axis=0))[used]  # where a row may have several labels, those that a version may predict
    clusters = examples.clusters_of(rows[used])
    right = [_correct(side, of_side, examples, truth, used) for side, of_side in zip(sides, pairs, strict=True)]
    difference = paired_difference(right[1], right[0], clusters)
    broken = np.flatnonzero(used)[right[0] & ~right[1]]
    compared = [_version(side, correct, of_side, truth, used, clusters, examples)
                for side, correct, of_side in zip(sides, right, known, strict=True)]
    return VersionComparison(
        n=int(used.sum()), old=compared[0], new=compared[1], gain=difference.gain, gain_ci95=difference.gain_ci95,
        p=difference.p, verdict=verdict(difference.gain_ci95), fixed=int((right[1] & ~right[0]).sum()),
        broken=len(broken), changed=_changed(examples, rows, broken, old, new), not_compared=_not_compared(left_out),
        nouns=examples.modality.nouns, notes=tuple(notes))


def _correct(side: RowPredictions, pairs: dict[str, str], examples: Examples, truth: NDArray[np.bool_],
             used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a version predicts each used row correctly. A label that the data do not have is incorrect. pairs: the
    version's class of each class of the data. truth: [used, classes]."""
    predicted = side.task.one_hot(side.predicted[used], len(side.classes)) > 0
    column = {name: number for number, name in enumerate(side.classes)}
    mapped = np.zeros_like(truth)
    for number, name in enumerate(examples.classes):
        if name in pairs:
            mapped[:, number] = predicted[:, column[pairs[name]]]
    others = [number for name, number in column.items() if name not in set(pairs.values())]
    return np.asarray((mapped == truth).all(axis=1) & ~predicted[:, others].any(axis=1))


def _version(side: RowPredictions, correct: NDArray[np.bool_], known: NDArray[np.bool_], truth: NDArray[np.bool_],
             used: NDArray[np.bool_], clusters: Sequence[str], examples: Examples) -> ComparedVersion:
    foreign = truth & ~known
    names = [examples.classes[number] for number in np.flatnonzero(foreign.any(axis=0)).tolist()]
    more = [f"{len(names) - SHOWN:,} more"] * (len(names) > SHOWN)
    how = side.how[used]
    return ComparedVersion(side.name, side.path, float(correct.mean()), wilson_interval(correct, clusters).ends,
                           int((how == HELD_OUT).sum()), int((how == SHIPPED).sum()), int(foreign.any(axis=1).sum()),
                           (*names[:SHOWN], *more))


def _changed(examples: Examples, rows: NDArray[np.intp], broken: NDArray[np.intp], old: RowPredictions,
             new: RowPredictions) -> tuple[ChangedRow, ...]:
    """The most confident of the new mistakes. broken: their places among the rows."""
    order = sorted(broken.tolist(), key=lambda place: -np.nan_to_num(new.confidence[place], nan=-1.0))[:LISTED]
    return tuple(ChangedRow(examples.origins[rows[place]], examples.label_of(int(rows[place])) or "(none)",
                            old.label(place), new.label(place), *(_number(side.confidence[place])
                                                                  for side in (old, new))) for place in order)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _not_compared(left_out: dict[str, int]) -> tuple[NotCompared, ...]:
    return tuple(NotCompared(reason, n) for reason, n in left_out.items())
