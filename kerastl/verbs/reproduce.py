"""Run a model's recorded run again and compare the results."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.rerun.reproduce import ReproduceResult

SHOWN = 15  # figures that differ


@dataclass(frozen=True)
class Config:
    """Run a model's recorded run again and compare data, split, features, figures and predictions. The exit code is 1
    if something differs, 2 if it cannot be run again."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    data: str | None = None  # new location of the training data, if it moved
    weights: str | None = None  # new location of the backbone's weights, if they moved
    teacher: str | None = None  # new location of the teacher, for a distilled model
    recipe: str | None = None  # your own recipe, with which the model was made; its content must be the recorded one
    backbone: str | None = None  # your own backbone file, as in training
    head: str | None = None  # your own head file, as in training
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache to reuse (default: an empty one, so that features are computed again)
    json: bool = False  # print the results as one JSON document


def check(config: Config) -> None:
    """Set the number of threads, before TensorFlow starts. Raises ModelError where there is no such model."""
    from kerastl.rerun.reproduce import use_threads

    use_threads(config.model)


def run(config: Config) -> "ReproduceResult":
    """What was compared, and how it differs."""
    from kerastl.rerun.reproduce import reproduce

    return reproduce(config.model, data=config.data, data_dir=config.data_dir, weights=config.weights,
                     recipe=config.recipe, backbone=config.backbone, head=config.head, teacher=config.teacher,
                     cache_dir=config.cache_dir, trust=config.trust)


def show(result: "ReproduceResult") -> str:
    """A line for each check, the figures that differ, and the verdict."""
    rows = [("", "recorded", "now", "")]
    rows += [(check.name, check.recorded, check.now, check.verdict) for check in result.checks]
    lines = [table(rows)]
    if result.differences:
        figures = [("figure", "recorded", "now", "bound", "")]
        figures += [(item.figure, str(item.recorded), str(item.now), f"{item.bound:g}", "beyond" * item.exceeds)
                    for item in result.differences[:SHOWN]]
        rest = len(result.differences) - SHOWN
        lines += ["", table(figures), *([f"and {rest:,} more, listed by --json"] if rest > 0 else [])]
    lines += ["", *(f"note: {note}" for note in result.notes), f"{result.model} ({result.what}): {result.verdict}"]
    return "\n".join(lines)
