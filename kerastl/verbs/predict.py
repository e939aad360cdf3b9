"""Predict for files, folders, tables and texts with an exported model."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.serving.batch import PredictResult

WIDTH = 80  # characters of an input that are shown


@dataclass(frozen=True)
class Config:
    """Predicts for files, folders, tables and texts with an exported model."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Positional[tuple[str, ...]]  # images or texts, folders, tables; - for one input per line on standard input
    out: str | None = None  # write the predictions to this .csv or .parquet file
    text_column: str | None = None  # the column with the texts; default: as in training, else found by name
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    json: bool = False  # print one JSON document


def run(config: Config) -> "PredictResult":
    """Predict for the inputs; lines are read from standard input where `-` is among them."""
    from kerastl.serving.batch import predict_inputs

    lines = [line.rstrip("\n") for line in sys.stdin if line.strip()] if "-" in config.inputs else []
    return predict_inputs(config.model, config.inputs, lines=lines, text_column=config.text_column, out=config.out,
                          weights=config.weights)


def show(result: "PredictResult") -> str:
    """A line for each input, or where the table was written."""
    if result.out:
        return f"{len(result.predictions)} predictions written to {result.out} ({result.errors} errors)"
    rows = [("input", "label", "score")]
    rows += [(_short(name), f"({error})" if error else label or "(none)", "" if score is None else f"{score:.3f}")
             for name, label, score, error in result.rows()]
    return table(rows)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"
