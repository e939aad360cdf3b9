"""`kerastl explain`: what the answers of an exported model rest on, as a page."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kerastl.files import output_file, write_atomically
from kerastl.report.explanations import figures, how
from kerastl.report.page import page
from kerastl.serving.explain import ExplainResult, explain_inputs

ENDINGS = (".html", ".htm")


def explain(model: str | Path, inputs: Sequence[str], *, out: str | None = None, label: str | None = None,
            limit: int = 20, lines: Iterable[str] | bytes = (), text: str | Sequence[str] = (),
            text_column: str | None = None, path_column: str | None = None, cache_dir: str | None = None
            ) -> ExplainResult:
    """Explain what the answers of a model rest on: which parts of an image, or which words of a text.

    model: `saved_models/NAME`, `saved_models/NAME/N`, or a version folder. inputs, lines, text, text_column,
    path_column, cache_dir: see `predict_inputs`. out: also write a page to this .html file. label: the class that is
    explained; default: what is predicted, with several labels per row each of them. limit: at most so many inputs.

    A linear head on averaged maps is explained exactly, by its activation map; other models for images by covering each
    of 7 x 7 patches; texts by leaving out each word, or in texts of more than 100 words groups of neighbouring words.
    Explanations that failed their checks in training are withheld. Raises OptionError for a model that was exported
    without its backbone, a class that it does not know, or no inputs; DataError if none of the inputs can be decoded.
    """
    file = None if out is None else output_file(out, ENDINGS, inputs)  # fails before the work
    result = explain_inputs(model, inputs, lines=lines, text=text, label=label, limit=limit, text_column=text_column,
                            path_column=path_column, cache_dir=cache_dir)
    if file is None:
        return result
    write_atomically(file, explanation_page(result))
    return replace(result, out=out)


def explanation_page(result: ExplainResult) -> str:
    """Explanations as one HTML page that needs no network."""
    return page("explain.html", result=result, modality=result.modality,
                how=how(result.method, "the predicted class" if all(result.predicted) else "the named class"),
                explained=figures(result.modality, result.rows, result.items, result.predicted))
