"""What a comparison of few-shot methods leaves: `few_shot.json` and `few_shot.md` under the run's name. No model."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerastl.backbones import Backbone
from kerastl.features.cache import write_whole
from kerastl.features.compute import Features
from kerastl.report.version import Target
from kerastl.runtime import machine
from kerastl.studies.few_shot.comparison import Chosen, Figure, simplest_of_best
from kerastl.studies.few_shot.episodes import Division, Task

SHOWN = 12  # classes that a line names


def write_few_shot(to: Target, figures: list[Figure], methods: list[Chosen], *, division: Division, task: Task,
                   backbone: Backbone, features: Features, clock: Callable[[], float], config: dict[str, Any]
                   ) -> dict[str, Any]:
    """Write the record and its table to `out/name/`, in place of older ones there; returns the record.

    clock: seconds since the run began. config: the run's settings, for the record.
    """
    examples, home = features.examples, Path(to.out) / to.name
    split = ("; the source's own split is of rows, and not used: whole classes judge" if any(examples.source_split)
             else "")
    run: dict[str, Any] = {
        "kind": examples.modality.name, "backbone": backbone.name, "weights": backbone.weights,
        "weights_hash": backbone.weights_hash, "random_weights": backbone.random, **asdict(task),
        "base_classes": list(division.base.classes), "novel_classes": list(division.novel.classes),
        "n_base": len(division.base.x), "n_novel": len(division.novel.x), "episodes": len(figures[0].right),
        "interval": "mean +- 1.96 standard errors over episodes of the same novel classes; that other classes might be "
                    "harder is not in it",
        "judged_by": "novel classes, which chose no setting and taught no method" + split,
        "methods": {one.name: {"summary": one.summary, "seconds": one.seconds} for one in methods},
        "results": [{"method": one.method, "shot": one.shot, "accuracy": one.accuracy,
                     "accuracy_ci95": list(one.accuracy_ci95), "setting": one.setting} for one in figures],
        "simplest_of_best": {str(shot): name for shot, name in simplest_of_best(figures).items()},
        "small_classes": list(division.skipped), "left_out": [asdict(one) for one in examples.skipped],
        "compute": features.compute, "notes": list(examples.notes), "machine": machine(), "config": config,
        "path": str(home / "few_shot.json"),
    }
    run["seconds"] = {"features": features.seconds, "methods": sum(one.seconds for one in methods), "total": clock()}
    home.mkdir(parents=True, exist_ok=True)
    write_whole(home / "few_shot.md", (few_shot_summary(run) + "\n").encode())
    write_whole(home / "few_shot.json", json.dumps(run, ensure_ascii=False, indent=1).encode())
    return run


def few_shot_summary(run: dict[str, Any]) -> str:
    """The record as a table in Markdown, which reads as well on a terminal: a method a row, its mean accuracy and 95%
    interval for each number of rows a class."""
    cell = {(one["method"], one["shot"]): f"{one['accuracy']:.3f} ({one['accuracy_ci95'][0]:.3f} to "
            f"{one['accuracy_ci95'][1]:.3f})" for one in run["results"]}
    rows = [["method", *(f"{shot} a class" for shot in run["shots"])]]
    rows += [[name, *(cell[name, shot] for shot in run["shots"])] for name in run["methods"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
             for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    best = ", ".join(f"{name} ({shot} a class)" for shot, name in run["simplest_of_best"].items())
    settings = "; ".join(f"{name}: " + ", ".join(one["setting"] for one in run["results"] if one["method"] == name)
                         for name in run["methods"])
    return "\n\n".join([
        *(["RANDOM WEIGHTS: this backbone was never trained; the figures say nothing about transfer learning"]
          if run["random_weights"] else []),
        f"Accuracy of {run['way']}-way episodes, {run['queries']} queries a class, on {run['backbone']}'s features.",
        "\n".join(lines),
        f"Simplest method that the best is not clearly ahead of, on these same episodes: {best}.",
        f"Judged on {run['episodes']} episodes of {len(run['novel_classes'])} novel classes "
        f"({_named(run['novel_classes'])}); chance is {1 / run['way']:.3f}. Interval: {run['interval']}.",
        f"Learnt and set on {len(run['base_classes'])} base classes ({_named(run['base_classes'])}). Left out for too "
        f"few rows: {len(run['small_classes'])}.",
        f"Settings: {settings}.",
        f"Written to {run['path']}; no model: an episode's classifier is made anew from its few rows.",
    ])


def _named(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
