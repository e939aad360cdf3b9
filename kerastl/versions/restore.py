"""A version's model and data again, for exporting and verifying it later."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, Skipped, Split
from kerastl.data.read import read_labelled
from kerastl.decision import Calibration
from kerastl.errors import DataError, ModelError

PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def calibration_of(run: dict[str, Any]) -> Calibration:
    """How a version's logits become answers."""
    return Calibration(run["temperature"], tuple(run["thresholds"]))


def keras_model(folder: Path, kind: str) -> Any:
    """The spliced model, from model.keras. kind: `image` or `text`. Raises ModelError when it does not load."""
    import keras

    from kerastl.heads import register_layers

    register_layers()
    if kind == "text":
        import keras_hub  # noqa: F401  registers the layers of its networks

        import kerastl.backbones._glm.network  # noqa: F401  registers its own

    try:
        return keras.models.load_model(folder / "model.keras", compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / 'model.keras'} does not load: {str(error).splitlines()[0][:200]}",
                         "the file that `kerastl run` wrote", "copy the version's folder again") from error


def split_of(folder: Path) -> dict[str, str]:
    """Which part each content hash had: "train", "validation", "test" or "fold N"."""
    lines = (folder / "split.csv").read_text().splitlines()[1:]
    return dict((line.partition(",")[0], line.partition(",")[2]) for line in lines)


def as_the_model_knows(examples: Examples, run: dict[str, Any]) -> Examples:
    """The same rows with the model's classes in the model's order; rows of other classes are left out, by name.

    Raises DataError when no row is left, or one side has several labels and the other one.
    """
    classes = tuple(run["classes"])
    if examples.multi_label != run["multi_label"]:
        kinds = {True: "several labels a row", False: "one label a row"}
        raise DataError(f"{examples.source} has {kinds[examples.multi_label]}", kinds[run["multi_label"]],
                        "use data labelled as the model's were")
    unknown = tuple(Skipped(name, "the model has no such class") for name in examples.classes if name not in classes)
    place = np.array([classes.index(name) if name in classes else -1 for name in examples.classes])
    if examples.multi_label:
        targets = np.zeros((len(examples), len(classes)), np.int64)
        targets[:, place[place >= 0]] = examples.targets[:, place >= 0]
        known = np.arange(len(examples))
    else:
        targets = place[examples.targets]
        known = np.flatnonzero(targets >= 0)
    if not len(known):
        raise DataError(f"no class of {examples.source} is one of the model's: {', '.join(examples.classes)}",
                        f"some of {', '.join(classes)}", "check the source, or the model")
    rest = replace(examples, classes=classes, targets=targets.astype(np.int64)).take(known)
    return replace(rest, skipped=examples.skipped + unknown)


def examples_of(folder: Path, run: dict[str, Any], *, data: str | None = None, data_dir: str | None = None,
                cache_dir: Path | None = None) -> Examples:
    """The rows that a version was made from, each on its side, read again from their source or from `data`.

    Raises DataError when none of them is there any more.
    """
    source = data or run["config"]["data"]
    parts = split_of(folder)
    data_dir = data_dir or run["config"].get("data_dir")
    found = read_labelled(run["kind"], source, text_column=run["config"].get("text_column"),
                          label_column=run["config"].get("label_column"), data_dir=data_dir, cache_dir=cache_dir)
    rows = [row for row, one in enumerate(found.ids) if one in parts]
    if not rows:
        raise DataError(f"{source} holds none of the {len(parts)} rows that {folder} was made from", "those rows",
                        "give where they are now: --data SOURCE")
    examples = as_the_model_knows(found.take(rows), run)
    given = [parts[one] for one in examples.ids]
    part = [int(one.removeprefix("fold ")) if one.startswith("fold ") else PARTS[one] for one in given]
    return replace(examples, split=Split(run["split"], run["split_reason"], np.array(part, dtype=np.int8)))
