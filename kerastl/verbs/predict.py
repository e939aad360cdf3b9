"""Predict the labels of images or texts with an exported model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from kerastl.display import visible_cell
from kerastl.errors import OptionError
from kerastl.shell.parsing import with_flags
from kerastl.shell.terminal import count_of, table

if TYPE_CHECKING:
    from kerastl.serving.batch import PredictResult
    from kerastl.serving.predictions import Prediction

WIDTH = 80  # characters of an input that are shown

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="[INPUT ...]", help_behavior_hint="")]
Texts = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TEXT", help_behavior_hint="")]


@dataclass(frozen=True)
class Config:
    """Predict the labels of images or texts with an exported model."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Inputs  # files, texts, folders or tables; - reads one input per line from standard input
    text: Texts = ()  # a text as it is, even if it begins with a dash or is the name of a file; may be repeated
    out: str | None = None  # write the predictions to this .csv, .jsonl or .parquet file, beside the columns of tables
    top: int | None = None  # show or write the K most probable labels with their scores
    probabilities: bool = False  # show or write the probability of every class
    min_score: float | None = None  # leave the label empty where its score is below this (0 to 1), and count such rows
    engine: str = "saved_model"  # saved_model, openvino (agrees within 0.001), auto (the faster), or ray (a cluster)
    workers: int = 0  # predict in N processes (ray: N workers of the cluster; default: one per machine)
    raw: bool = False  # write names and texts to the .csv file exactly as they are, also if they begin a formula
    text_column: str | None = None  # column of the texts (default: the one named in training, else detected)
    path_column: str | None = None  # column of the paths of images (default: the one named in training, else detected)
    weights: str | None = None  # new location of the backbone folder, for models exported without their backbone
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    strict: bool = False  # exit with code 1 if an input has an error
    cache_dir: str | None = None  # where images inside tables are unpacked (default: the user's cache directory)
    isolate: str = "auto"  # decode images, and read Parquet and Excel, in processes with limits: auto, on or off
    json: bool = False  # print the results as one JSON document


def words(given: Sequence[str]) -> list[str]:
    """The words of the command line, see `attached`."""
    return attached(given, Config)


def attached(given: Sequence[str], config: Any) -> list[str]:
    """The words of the command line, with each text after --text attached to it, as it may begin with a dash. config:
    the flags that there are. Raises OptionError for an input that begins with a dash and is no flag."""
    flags = {f"--{field.name.replace('_', '-')}" for field in fields(config)}
    joined: list[str] = []
    rest = iter(given)
    for word in rest:
        if word == "--":
            return [*joined, word, *rest]
        if word == "--text":
            following = next(rest, None)
            joined.append(word if following is None else f"{word}={following}")
            continue
        dashes = word[:2] == "--" and not any(map(str.isspace, word))  # tyro suggests the option that was meant
        if word[:1] == "-" and word not in ("-", "-h") and not dashes and word.partition("=")[0] not in flags:
            raise OptionError(f"{word!r} begins with a dash, but is not an option", "an option, or an input",
                              "if it is a text, put --text before it; put other inputs behind --")
        joined.append(word)
    return joined


def piped(inputs: Sequence[str]) -> bytes:
    """What standard input holds, where `-` is among the inputs."""
    if "-" not in inputs:
        return b""
    return sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()


def check(config: Config) -> None:
    """Raises OptionError for numbers that cannot be used."""
    from kerastl.serving.predictions import check_form

    check_form(config.top, config.min_score)


def run(config: Config) -> "PredictResult":
    """Predict for the inputs; lines are read from standard input where `-` is among them."""
    from kerastl.serving.batch import predict_inputs
    from kerastl.versions.token_models import only_for_rows, token_loader

    if loader := token_loader(config.model):
        only_for_rows(engine=config.engine != "saved_model", isolate=config.isolate != "auto", **{
            name: getattr(config, name) for name in ("top", "probabilities", "min_score", "workers", "raw", "strict",
                                                     "text_column", "path_column", "weights", "cache_dir")})
        result: PredictResult = loader.predict_files(
            config.model, config.inputs, lines=piped(config.inputs), text=config.text, out=config.out,
            trust=config.trust)
        return result
    return predict_inputs(
        config.model, config.inputs, lines=piped(config.inputs), text=config.text, text_column=config.text_column,
        path_column=config.path_column, out=config.out, raw=config.raw, weights=config.weights, trust=config.trust,
        strict=config.strict, cache_dir=config.cache_dir, engine=config.engine, workers=config.workers,
        keep=config.json or config.out is None, top=config.top, probabilities=config.probabilities,
        min_score=config.min_score)


def show(result: "PredictResult") -> str:
    """A line for each input, or where the table was written; the notes, and how many errors there are. Of a model on
    tokens, its sentences."""
    if (sentences := getattr(result, "shown", None)) is not None:
        return str(sentences)
    notes = [_with_flags(note) for note in result.notes]
    if result.out:
        total = count_of(result.total, "prediction")
        return "\n".join([*notes, f"{total} written to {result.out} ({count_of(result.errors, 'error')})"])
    rows = [("input", "label", "score", "unknown_score", "scores")]
    rows += [(_short(name), _label(prediction), "" if prediction.error else f"{prediction.score:.3f}",
              "" if prediction.unknown_score is None else f"{prediction.unknown_score:+.2f}",
              _scores(prediction, result.top)) for name, prediction in
             zip(result.inputs, result.predictions, strict=True)]
    shown = [place for place in range(5) if place < 3 or any(row[place] for row in rows[1:])]
    if result.errors:
        notes.append(f"{count_of(result.errors, 'error')} in {count_of(result.total, 'input')}")
    return "\n".join([table([[row[place] for place in shown] for row in rows]), *[""] * bool(notes), *notes])


def _label(prediction: "Prediction") -> str:
    if prediction.error:
        return f"({_with_flags(prediction.error)})"
    return prediction.label or (_with_flags("(removed by `min_score`)") if prediction.withheld else "(none)")


def _scores(prediction: "Prediction", top: int | None) -> str:
    """The labels that were asked for with their scores, the highest first; empty if none were."""
    ranked = sorted((prediction.probabilities or {}).items(), key=lambda item: -item[1])
    pairs = ranked or (prediction.top if top else ())
    return ", ".join(f"{label} {score:.3f}" for label, score in pairs)


def _with_flags(message: str) -> str:
    """A message of the library, with the flags that its arguments are in the shell."""
    return with_flags(message, Config("", ()))


def _short(text: str) -> str:
    line = visible_cell(" ".join(text.split(" ")))
    return line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"
