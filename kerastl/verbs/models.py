"""List exported models and their versions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.versions.listing import ModelList, ModelVersion

LIGHT = True


@dataclass(frozen=True)
class Config:
    """List exported models and their versions: date, data, accuracy, formats, size and latency."""

    folder: Positional[str] = "saved_models"  # folder of models, or a model
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "ModelList":
    """List the models."""
    from kerastl.versions.listing import list_models

    return list_models(config.folder)


def show(result: "ModelList") -> str:
    """A table, a line for each version."""
    rows = [("model", "version", "made", "backbone + head", "rows", "accuracy (95% CI)", "gain, points (95% CI)",
             "formats", "size", "latency")]
    for one in result.models:
        if one.error:
            rows.append((one.name, str(one.version), "", "", "", "", "", "", "", one.error))
            continue
        rows.append((one.name, str(one.version), one.made[:16].replace("T", " "), f"{one.backbone} + {one.head}",
                     f"{one.n_train:,}", _accuracy(one), _gain(one),
                     ", ".join(one.formats), f"{one.bytes / 1e6:.1f} MB",
                     "" if one.milliseconds is None else f"{one.milliseconds:.1f} ms"))
    return table(rows)


def _accuracy(one: "ModelVersion") -> str:
    if one.accuracy is None or one.accuracy_ci95 is None:
        return "not reported"
    name = "" if one.figure == "accuracy" else f"{one.figure.upper()} "
    return f"{name}{one.accuracy:.3f} ({one.accuracy_ci95[0]:.3f} to {one.accuracy_ci95[1]:.3f})"


def _gain(one: "ModelVersion") -> str:
    """Over the version that was the newest when it was trained, on the same rows."""
    if one.gain is None or one.gain_ci95 is None:
        return ""
    low, high = one.gain_ci95
    return f"{100 * one.gain:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) over {one.compared_with}"
