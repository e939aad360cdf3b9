"""Predict the labels of images or texts with an exported model."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from kerastl.shell.terminal import count_of, table

if TYPE_CHECKING:
    from kerastl.serving.batch import PredictResult

WIDTH = 80  # characters of an input that are shown

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="[INPUT ...]", help_behavior_hint="")]


@dataclass(frozen=True)
class Config:
    """Predict the labels of images or texts with an exported model."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Inputs  # files, texts, folders or tables; - reads one input per line from standard input
    out: str | None = None  # write the predictions to this .csv or .parquet file
    text_column: str | None = None  # column of the texts (default: as in training, else found by name)
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "PredictResult":
    """Predict for the inputs; lines are read from standard input where `-` is among them."""
    from kerastl.serving.batch import predict_inputs

    lines = [line.rstrip("\n") for line in sys.stdin if line.strip()] if "-" in config.inputs else []
    return predict_inputs(config.model, config.inputs, lines=lines, text_column=config.text_column, out=config.out,
                          weights=config.weights)


def show(result: "PredictResult") -> str:
    """A line for each input, or where the table was written."""
    if result.out:
        return (f"{count_of(len(result.predictions), 'prediction')} written to {result.out} "
                f"({count_of(result.errors, 'error')})")
    rows = [("input", "label", "score")]
    rows += [(_short(name), f"({error})" if error else label or "(none)", "" if score is None else f"{score:.3f}")
             for name, label, score, error in result.rows()]
    return table(rows)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"
