"""The results of a few-shot comparison: `few_shot.json` and `few_shot.md` in the run's folder. No model is written."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerastl.features.compute import Features
from kerastl.fields import Section, key, to_json
from kerastl.files import local_path, shown, write_atomically
from kerastl.report.version import Target
from kerastl.runtime import machine
from kerastl.studies.few_shot.comparison import Chosen, Figure, simplest_of_best
from kerastl.studies.few_shot.episodes import Division, Task
from kerastl.versions.make_record import skipped_items
from kerastl.versions.sections import SkippedItem

SHOWN = 12  # classes that a line lists
INTERVAL = ("mean +- 1.96 standard errors over episodes of the same novel classes; it does not cover the variation "
            "between classes")
EVALUATED_ON = "novel classes, which were used neither for learning nor for choosing settings"
NEAR_DUPLICATES = ("near-duplicates are not kept apart: a query may be one of a labelled row of its episode, which "
                   "makes the accuracy too high")
SPLIT_UNUSED = "; the split that came with the data divides rows, not classes, and was not used"


@dataclass(frozen=True)
class MethodRecord(Section):
    """A method in words, and the seconds that it took to learn it and to choose its settings."""

    summary: str
    seconds: float


@dataclass(frozen=True)
class FewShotResult(Section):
    """The mean accuracy of a method over episodes with `shot` labelled rows per class, in [0, 1]."""

    method: str
    shot: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    setting: str


@dataclass(frozen=True, kw_only=True)
class FewShotRecord(Section):
    """What few_shot.json holds. way, shots, queries: of an episode. n_base, n_novel: rows of base and novel classes.
    small_classes: skipped for too few rows. simplest_of_best: by number of shots, the simplest method that is not
    significantly worse than the best."""

    modality_name: str = key("kind")
    backbone: str
    weights: str
    weights_hash: str
    random_weights: bool
    way: int
    shots: tuple[int, ...]
    queries: int
    base_classes: tuple[str, ...]
    novel_classes: tuple[str, ...]
    n_base: int
    n_novel: int
    episodes: int
    interval: str
    evaluated_on: str = key("judged_by")
    methods: dict[str, MethodRecord]
    results: tuple[FewShotResult, ...]
    simplest_of_best: dict[str, str]
    small_classes: tuple[str, ...]
    skipped: tuple[SkippedItem, ...] = key("left_out")
    compute: str
    notes: tuple[str, ...]
    machine: dict[str, Any]
    config: dict[str, Any]
    path: str
    seconds: dict[str, float]


def write_few_shot(to: Target, figures: list[Figure], methods: list[Chosen], *, division: Division, task: Task,
                   features: Features, clock: Callable[[], float], config: dict[str, Any]) -> FewShotRecord:
    """Write the record and its table to `out/name/`, in place of older ones; returns the record.

    clock: seconds since the run began. config: the settings of the run, for the record.
    """
    examples, backbone, home = features.examples, features.backbone, local_path(to.out) / to.name
    record = FewShotRecord(
        modality_name=examples.modality.name, backbone=backbone.name, weights=backbone.weights,
        weights_hash=backbone.weights_hash, random_weights=backbone.random, way=task.way, shots=task.shots,
        queries=task.queries, base_classes=tuple(division.base.classes), novel_classes=tuple(division.novel.classes),
        n_base=len(division.base.x), n_novel=len(division.novel.x), episodes=len(figures[0].by_episode),
        interval=INTERVAL,
        evaluated_on=f"{EVALUATED_ON}{SPLIT_UNUSED if any(examples.source_split) else ''}; {NEAR_DUPLICATES}",
        methods={method.name: MethodRecord(method.summary, method.seconds) for method in methods},
        results=tuple(FewShotResult(figure.method, figure.shot, figure.accuracy, figure.accuracy_ci95, figure.setting)
                      for figure in figures),
        simplest_of_best={str(shot): name for shot, name in simplest_of_best(figures).items()},
        small_classes=tuple(division.skipped), skipped=skipped_items(examples), compute=features.compute,
        notes=tuple(examples.notes), machine=machine(), config=to_json(config), path=shown(home / "few_shot.json"),
        seconds={"features": features.seconds, "methods": sum(method.seconds for method in methods), "total": clock()})
    home.mkdir(parents=True, exist_ok=True)
    write_atomically(home / "few_shot.md", few_shot_summary(record) + "\n")
    write_atomically(home / "few_shot.json", json.dumps(record.to_dict(), ensure_ascii=False, indent=1))
    return record


def few_shot_summary(record: FewShotRecord) -> str:
    """The record as a table in Markdown, which also reads well in a terminal: a row for each method, with its mean
    accuracy and 95% confidence interval for each number of labelled rows per class."""
    cell = {(result.method, result.shot): "{:.3f} ({:.3f} to {:.3f})".format(result.accuracy, *result.accuracy_ci95)
            for result in record.results}
    rows = [["method", *(f"{shot} per class" for shot in record.shots)]]
    rows += [[name, *(cell[name, shot] for shot in record.shots)] for name in record.methods]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
             for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    best = ", ".join(f"{name} ({shot} per class)" for shot, name in record.simplest_of_best.items())
    settings = "; ".join(f"{name}: " + ", ".join(result.setting for result in record.results if result.method == name)
                         for name in record.methods)
    skipped = len(record.small_classes)
    return "\n\n".join([
        *(["RANDOM WEIGHTS: the backbone was not pretrained, so the figures say nothing about transfer learning"]
          if record.random_weights else []),
        f"Accuracy on {record.way}-way episodes with {record.queries} query rows per class; features of "
        f"{record.backbone}.",
        "\n".join(lines),
        f"The simplest method that is not significantly worse than the best on these episodes: {best}.",
        f"Evaluated on {record.episodes} episodes of {len(record.novel_classes)} novel classes "
        f"({_listed(record.novel_classes)}); chance level {1 / record.way:.3f}. Interval: {record.interval}."
        + (f" {NEAR_DUPLICATES[0].upper()}{NEAR_DUPLICATES[1:]}; `kerastl check` finds them."
           if NEAR_DUPLICATES in record.evaluated_on else ""),
        f"Trained and tuned on {len(record.base_classes)} base classes ({_listed(record.base_classes)})."
        + (f" Skipped for too few rows: {skipped} classes." if skipped else ""),
        f"Settings: {settings}.",
        f"Written to {record.path}. No model is exported, because the classifier of an episode is fitted to "
        "its few labelled rows.",
    ])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
