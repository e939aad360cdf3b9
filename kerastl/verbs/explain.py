"""Show which parts of an image, or which words of a text, a model's answer rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.display import visible_cell
from kerastl.shell.parsing import with_flags
from kerastl.shell.terminal import count_of, table
from kerastl.verbs.predict import Inputs, Texts, attached, piped

if TYPE_CHECKING:
    from kerastl.explanation.record import ExplainedRow
    from kerastl.serving.explain import ExplainResult

WIDTH = 60  # characters of an input that are shown
WORDS = 3  # of a text that are listed


@dataclass(frozen=True)
class Config:
    """Show which parts of an image, or which words of a text, a model's answer rests on."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Inputs  # files, texts, folders or tables; - reads one input per line from standard input
    text: Texts = ()  # a text as it is, even if it begins with a dash or is the name of a file; may be repeated
    out: str | None = None  # write a page with heat maps or shaded words to this .html file
    label: str | None = None  # class to explain (default: the predicted one)
    limit: int = 20  # explain at most N inputs
    text_column: str | None = None  # column of the texts (default: the one named in training, else detected)
    path_column: str | None = None  # column of the paths of images (default: the one named in training, else detected)
    cache_dir: str | None = None  # where images inside tables are unpacked (default: the user's cache directory)
    isolate: str = "auto"  # decode images, and read Parquet and Excel, in processes with limits: auto, on or off
    json: bool = False  # print the results as one JSON document


def words(given: Sequence[str]) -> list[str]:
    """The words of the command line, as `kerastl predict` takes them."""
    return attached(given, Config)


def run(config: Config) -> "ExplainResult":
    """Explain the inputs; lines are read from standard input where `-` is among them."""
    from kerastl.report.explain import explain

    return explain(config.model, config.inputs, out=config.out, label=config.label, limit=config.limit,
                   lines=piped(config.inputs), text=config.text, text_column=config.text_column,
                   path_column=config.path_column, cache_dir=config.cache_dir)


def show(result: "ExplainResult") -> str:
    """A line for each explanation, the errors, the checks, and where the page was written."""
    from kerastl.report.explanations import sums

    texts = result.modality.line_is_input and not result.withheld
    rows = [("input", "label", "score", "speaks for it" if texts else "logit")]
    rows += [(_short(row.origin), row.label + " (not predicted)" * (not predicted), f"{row.probability:.3f}",
              _strongest(row, item) if texts else sums(row, result.modality))
             for row, item, predicted in zip(result.rows, result.items, result.predicted, strict=True)]
    rows += [(_short(name), f"({reason})", "", "") for name, reason in result.errors]
    notes = [with_flags(note, Config("", ())) for note in (*result.notes, result.check)]
    written = [f"{count_of(len(result.rows), 'explanation')} written to {result.out}"] if result.out else []
    return "\n".join([table(rows), "", *notes, *written])


def _strongest(row: "ExplainedRow", item: str | tuple[str, str]) -> str:
    """The words that speak most for the label, with what they add to its logit."""
    parts = item if isinstance(item, tuple) else (item,)
    ordered = sorted(zip(row.contributions, row.spans, strict=True), reverse=True)[:WORDS]
    return ", ".join(f"{_short(parts[part][start:end])} ({value:+.2f})" for value, (part, start, end) in ordered
                     if value > 0) or "nothing"


def _short(text: str) -> str:
    line = visible_cell(" ".join(text.split(" ")))
    return line if len(line) <= WIDTH else line[:WIDTH - 1] + "…"
