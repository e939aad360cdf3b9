"""The results of a few-shot comparison: `few_shot.json` and `few_shot.md` in the run's folder. No model is written."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerastl.features.compute import Features
from kerastl.files import write_atomically
from kerastl.report.version import Target
from kerastl.runtime import machine
from kerastl.studies.few_shot.comparison import Chosen, Figure, simplest_of_best
from kerastl.studies.few_shot.episodes import Division, Task

SHOWN = 12  # classes that a line lists


def write_few_shot(to: Target, figures: list[Figure], methods: list[Chosen], *, division: Division, task: Task,
                   features: Features, clock: Callable[[], float], config: dict[str, Any]) -> dict[str, Any]:
    """Write the record and its table to `out/name/`, in place of older ones; returns the record.

    clock: seconds since the run began. config: the settings of the run, for the record.
    """
    examples, backbone, home = features.examples, features.backbone, Path(to.out) / to.name
    unused = ("; the split that came with the data divides rows, not classes, and was not used"
              if any(examples.source_split) else "")
    run: dict[str, Any] = {
        "kind": examples.modality.name, "backbone": backbone.name, "weights": backbone.weights,
        "weights_hash": backbone.weights_hash, "random_weights": backbone.random, **asdict(task),
        "base_classes": list(division.base.classes), "novel_classes": list(division.novel.classes),
        "n_base": len(division.base.x), "n_novel": len(division.novel.x), "episodes": len(figures[0].by_episode),
        "interval": "mean +- 1.96 standard errors over episodes of the same novel classes; it does not cover the "
                    "variation between classes",
        "judged_by": "novel classes, which were used neither for learning nor for choosing settings" + unused,
        "methods": {method.name: {"summary": method.summary, "seconds": method.seconds}
                    for method in methods},
        "results": [{"method": figure.method, "shot": figure.shot, "accuracy": figure.accuracy,
                     "accuracy_ci95": list(figure.accuracy_ci95), "setting": figure.setting} for figure in figures],
        "simplest_of_best": {str(shot): name for shot, name in simplest_of_best(figures).items()},
        "small_classes": list(division.skipped), "left_out": [asdict(item) for item in examples.skipped],
        "compute": features.compute, "notes": list(examples.notes), "machine": machine(), "config": config,
        "path": str(home / "few_shot.json"),
    }
    run["seconds"] = {"features": features.seconds, "methods": sum(method.seconds for method in methods),
                      "total": clock()}
    home.mkdir(parents=True, exist_ok=True)
    write_atomically(home / "few_shot.md", few_shot_summary(run) + "\n")
    write_atomically(home / "few_shot.json", json.dumps(run, ensure_ascii=False, indent=1))
    return run


def few_shot_summary(run: dict[str, Any]) -> str:
    """The record as a table in Markdown, which also reads well in a terminal: a row for each method, with its mean
    accuracy and 95% confidence interval for each number of labelled rows per class."""
    cell = {(result["method"], result["shot"]): f"{result['accuracy']:.3f} ({result['accuracy_ci95'][0]:.3f} to "
            f"{result['accuracy_ci95'][1]:.3f})" for result in run["results"]}
    rows = [["method", *(f"{shot} per class" for shot in run["shots"])]]
    rows += [[name, *(cell[name, shot] for shot in run["shots"])] for name in run["methods"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
             for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    best = ", ".join(f"{name} ({shot} per class)" for shot, name in run["simplest_of_best"].items())
    settings = "; ".join(f"{name}: " + ", ".join(result["setting"] for result in run["results"]
                                                 if result["method"] == name) for name in run["methods"])
    skipped = len(run["small_classes"])
    return "\n\n".join([
        *(["RANDOM WEIGHTS: the backbone was not pretrained, so the figures say nothing about transfer learning"]
          if run["random_weights"] else []),
        f"Accuracy on {run['way']}-way episodes with {run['queries']} query rows per class; features of "
        f"{run['backbone']}.",
        "\n".join(lines),
        f"The simplest method that is not significantly worse than the best on these episodes: {best}.",
        f"Evaluated on {run['episodes']} episodes of {len(run['novel_classes'])} novel classes "
        f"({_listed(run['novel_classes'])}); chance level {1 / run['way']:.3f}. Interval: {run['interval']}.",
        f"Trained and tuned on {len(run['base_classes'])} base classes ({_listed(run['base_classes'])})."
        + (f" Skipped for too few rows: {skipped} classes." if skipped else ""),
        f"Settings: {settings}.",
        f"Written to {run['path']}. No model is exported, because the classifier of an episode is fitted to "
        "its few labelled rows.",
    ])


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
