"""Compare inputs with the rows that a model was evaluated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import count_of, table
from kerastl.verbs.predict import Inputs, attached, piped

if TYPE_CHECKING:
    from kerastl.audit.drift import Drift


@dataclass(frozen=True)
class Config:
    """Compare inputs, or the request logs of a server, with the rows that a model was evaluated on; exit 1 on drift."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Inputs  # files, folders, tables or request logs (.tfrecord); - reads one input per line
    out: str | None = None  # write a page with the inputs that are most new to this .html file
    alpha: float = 0.01  # probability of a false alarm
    text_column: str | None = None  # column of the texts (default: the one named in training, else detected)
    path_column: str | None = None  # column of the paths of images (default: the one named in training, else detected)
    trust: bool = False  # load the model even if its graph could read or write files: a model is a program
    cache_dir: str | None = None  # where images inside tables are unpacked (default: the user's cache directory)
    isolate: str = "auto"  # decode images, and read Parquet and Excel, in processes with limits: auto, on or off
    json: bool = False  # print the results as one JSON document


def words(given: Sequence[str]) -> list[str]:
    """The words of the command line, as `kerastl predict` takes them."""
    return attached(given, Config)


def check(config: Config) -> None:
    """Raises OptionError for a page that cannot be written."""
    if config.out is not None:
        from kerastl.report.page import page_file

        page_file(config.out, "out")


def run(config: Config) -> "Drift":
    """Compare; lines are read from standard input where `-` is among the inputs."""
    from kerastl.report.drift import drift

    return drift(config.model, config.inputs, out=config.out, alpha=config.alpha, lines=piped(config.inputs),
                 text_column=config.text_column, path_column=config.path_column, trust=config.trust,
                 cache_dir=config.cache_dir)


def show(result: "Drift") -> str:
    """The tests, what changed most, and the verdict."""
    rows = [("test", "effect", "p (corrected)")]
    rows += [(test.name, f"{test.effect:.3f}", f"{test.p:.2g}") for test in result.tests]
    lines = [table(rows), "", result.sentence]
    if result.drifted:
        lines += [f"most new: {new.name} ({new.label}, {new.score:.3f})" for new in result.newest[:3]]
    if result.errors:
        lines += [f"{count_of(result.errors, 'input')} had no prediction"]
    return "\n".join([*lines, *result.notes])
