"""`kerastl reproduce`: runs a model's recorded run again, beside it, and says what differs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from kerastl.devices import CPU
from kerastl.errors import ModelError
from kerastl.export.parity import choose_rows
from kerastl.features.cache import chosen_dir
from kerastl.fields import to_json
from kerastl.files import shown
from kerastl.rerun import comparison
from kerastl.rerun.comparison import DIFFERS, IDENTICAL, UNKNOWN, WITHIN, Check, FigureDifference
from kerastl.rerun.plan import Given, plan_of, runtime_of
from kerastl.runtime import as_recorded, available_cores
from kerastl.serving.classifier import Classifier
from kerastl.versions.damage import require_intact
from kerastl.versions.folder import find_version, read_json
from kerastl.versions.record import RunRecord
from kerastl.versions.reproduction import Reproduction
from kerastl.versions.restore import read_split, restore_examples

FEW_SHOT = "few_shot.json"
TF_THREADS = "TF_NUM_INTRAOP_THREADS"  # read by TensorFlow when it starts
GPUS = "CUDA_VISIBLE_DEVICES"  # likewise


@dataclass(frozen=True)
class ReproduceResult:
    """A model compared with its run again. what: the function or recipe that ran. checks: a line each. differences:
    figures that are not identical, those beyond their bound first. exact: whether everything had to be identical,
    because packages, machine and threads are those of the record. notes: what was assumed. figures: how many were
    compared."""

    model: str
    what: str
    exact: bool
    checks: tuple[Check, ...]
    differences: tuple[FigureDifference, ...]
    figures: int
    notes: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether something differs by more than it may."""
        return any(check.verdict == DIFFERS for check in self.checks)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        wrong = [check.name for check in self.checks if check.verdict == DIFFERS]
        unknown = [check.name for check in self.checks if check.verdict == UNKNOWN]
        open_ = f"; not recorded, so not compared: {', '.join(unknown)}" * bool(unknown)
        if wrong:
            return f"NOT reproduced: what differs: {', '.join(wrong)}{open_}"
        within = [check.name for check in self.checks if check.verdict == WITHIN]
        return f"reproduced, {', '.join(within)} within bounds{open_}" if within else \
            f"reproduced: everything that was compared is identical{open_}"

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl reproduce --json` prints."""
        return {"model": self.model, "ran": self.what, "reproduced": not self.failed, "exact": self.exact,
                "checks": to_json(self.checks), "figures": self.figures, "differences": to_json(self.differences),
                "notes": list(self.notes), "verdict": self.verdict}


def reproduce(model: str, *, data: str | None = None, data_dir: str | None = None, weights: str | None = None,
              recipe: str | None = None, backbone: str | None = None, head: Any = None, teacher: str | None = None,
              cache_dir: str | None = None, trust: bool = False) -> ReproduceResult:
    """Run a model's recorded run again and compare the data, the split, the features, the figures and the predictions.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder; nothing is written into it, and no code is
    taken from it. data, data_dir, weights, teacher: new locations, if they moved. recipe, backbone, head: the user's
    own files of the run, whose content must be the recorded one; head: also a keras.Model or callable. cache_dir: a
    feature cache to use; default: an empty one, so that all features are computed again. trust: as `kerastl.load`
    takes it.

    With the recorded packages, machine and threads everything has to be identical; otherwise features within 1e-5 of
    the largest value and figures within 0.01. Raises ModelError for a model that is damaged or whose record lacks what
    is needed, OptionError where something has to be given, DataError and WeightsError where data or weights are gone.
    """
    folder = _version(model)
    require_intact(folder)
    record = RunRecord.read(folder)
    if record.private is not None:
        raise ModelError(f"{folder} was trained with `private`: its noise came from the operating system and is not "
                         "kept, because whoever can repeat it can subtract it", "a version that was trained without",
                         "verify its files: kerastl verify")
    given = Given(data, data_dir, weights, recipe, backbone, head, teacher)
    with tempfile.TemporaryDirectory(prefix="kerastl-reproduce-") as temporary:
        cache = str(chosen_dir(cache_dir)) if cache_dir else str(Path(temporary) / "cache")
        plan = plan_of(folder, record, given, str(Path(temporary) / "models"), cache)
        notes = [*plan.notes, *([f"features were taken from {cache}, as far as it has them: those were not computed "
                                 "again"] if cache_dir else [])]
        with _threads(record, notes), as_recorded(runtime_of(record)):
            again = plan.run()
        fresh = Path(again.path)
        answers = _answers(folder, record, fresh, again, given, cache, trust)
        return _compared(folder, record, fresh, again, answers, plan.what, notes)


def use_threads(model: str) -> None:
    """Let TensorFlow start as many threads as the recorded run had, if that is not the default, and with no GPU if it
    used none by request; before it is imported. Raises ModelError where there is no such model."""
    record = RunRecord.read(_version(model))
    made = record.reproduction
    if record.config.get("devices") == CPU:
        os.environ[GPUS] = "-1"
    if made and made.threads and made.threads != available_cores():
        os.environ[TF_THREADS] = made.variables.get(TF_THREADS, str(made.threads))


def _version(model: str) -> Path:
    if (Path(model) / FEW_SHOT).is_file():
        raise ModelError(f"{model} holds a few-shot comparison and no model", "saved_models/NAME/VERSION",
                         "run the recipe again with the settings in few_shot.json: its results follow from the seed")
    return find_version(model)


@contextmanager
def _threads(record: RunRecord, notes: list[str]) -> Iterator[None]:
    """Within, linear algebra uses as many threads as in the recorded run. Notes where TensorFlow cannot."""
    wanted, here = (record.reproduction or Reproduction()).threads, available_cores()
    if not wanted or wanted == here:
        yield
        return
    if os.environ.get(TF_THREADS) != str(wanted):
        notes.append(f"the run had {wanted} threads, and TensorFlow has started with {here}: set {TF_THREADS} before "
                     "it is imported")
    with threadpool_limits(wanted, "blas"):
        yield


def _answers(folder: Path, record: RunRecord, fresh: Path, again: RunRecord, given: Given, cache: str, trust: bool
             ) -> Check:
    """Whether the two exported models answer alike, on at most 256 rows of the data."""
    name = "answers of the exported models"
    if record.classes != again.classes:
        return Check(name, f"{len(record.classes)} classes", f"{len(again.classes)} other classes", DIFFERS)
    if record.large is not None:
        return Check(name, "the backbone is not exported", "see predictions", UNKNOWN)
    examples = restore_examples(fresh, again, data=given.data, data_dir=given.data_dir, cache_dir=cache)
    items = examples.take(choose_rows(examples)).items
    old, new = (Classifier(path, trust=allowed) for path, allowed in ((folder, trust), (fresh, False)))
    a, b = old.probabilities(old.contents(items)), new.probabilities(new.contents(items))
    apart = float(np.abs(a - b).max())
    decide = record.calibration
    task = record.task
    same = float(np.mean([np.array_equal(x, y) for x, y in zip(_labels(a, task, decide), _labels(b, task, decide),
                                                               strict=True)]))
    verdict = IDENTICAL if apart == 0 else WITHIN if apart <= comparison.SCORES and same >= comparison.LABELS else \
        DIFFERS
    return Check(name, f"{len(a)} rows", f"same label for {same:.1%}, probabilities within {apart:.1e}", verdict)


def _labels(probabilities: Any, task: Any, calibration: Any) -> Any:
    """What is predicted: the most probable class; with several labels, each that reaches its threshold."""
    if task.exclusive:
        return probabilities.argmax(1)
    thresholds = np.array(calibration.thresholds) if calibration.thresholds else 0.5
    return probabilities >= thresholds


def _compared(folder: Path, record: RunRecord, fresh: Path, again: RunRecord, answers: Check, what: str,
              notes: list[str]) -> ReproduceResult:
    old, new = record.reproduction or Reproduction(), again.reproduction or Reproduction()
    listed = read_json(folder, "manifest.json").get("data", {})
    around = comparison.environment(record, again)
    here = all(check.verdict == IDENTICAL for check in around)
    features = comparison.feature_check(old.features, new.features, here)
    exact = here and features.verdict == IDENTICAL
    figures = comparison.compare_figures(record, again, exact)
    data = comparison.fingerprint_check("data", old.data or str(listed.get("fingerprint", "")), new.data)
    split = comparison.fingerprint_check("split", old.split or str(listed.get("split", "")), new.split)
    if DIFFERS in (data.verdict, split.verdict):
        notes.append(_rows_apart(read_split(folder), read_split(fresh)))
    weights = Check("weights", record.weights_hash[:12], again.weights_hash[:12],
                    IDENTICAL if record.weights_hash == again.weights_hash else DIFFERS)
    if exact and answers.verdict == WITHIN:
        answers = Check(answers.name, answers.recorded, answers.now, DIFFERS)
    checks = [*around, data, split, weights, features, _predictions(record, old, new, exact), _figures(figures),
              answers]
    return ReproduceResult(shown(folder), what, exact, tuple(checks), figures.differences, figures.compared,
                           tuple(notes))


def _predictions(record: RunRecord, old: Reproduction, new: Reproduction, exact: bool) -> Check:
    """The held-out predictions, each by a model that was not fitted on its row."""
    rows = f"{record.test.n:,} held-out rows"
    if not old.labels:
        return Check("predictions", "", "", UNKNOWN)
    if old.scores == new.scores:
        return Check("predictions", rows, "the same scores", IDENTICAL)
    if old.labels == new.labels:
        return Check("predictions", rows, "the same labels, other scores", DIFFERS if exact else WITHIN)
    return Check("predictions", rows, "other labels for some rows: see the figures", DIFFERS if exact else WITHIN)


def _figures(figures: comparison.Figures) -> Check:
    beyond = figures.beyond()
    verdict = DIFFERS if beyond else WITHIN if figures.differences else IDENTICAL
    now = f"{len(figures.differences):,} differ" + f", {len(beyond):,} by more than they may" * bool(beyond)
    return Check("figures", f"{figures.compared:,} values of run.json", now, verdict)


def _rows_apart(old: dict[str, str], new: dict[str, str]) -> str:
    gone, more = len(old.keys() - new.keys()), len(new.keys() - old.keys())
    moved = sum(old[row] != new[row] for row in old.keys() & new.keys())
    return (f"of the {len(old):,} rows of the run {gone:,} are gone and {more:,} are new; {moved:,} are in another "
            "part of the split" + "; labels differ, or rows were relabelled" * (not gone and not more and not moved))
