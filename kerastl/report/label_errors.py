"""The report's section about possible label errors: the rows, as images or texts, with their given and suggested label.
"""

from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import Any

from markupsafe import Markup

from kerastl.data.corrections import Relabelling
from kerastl.evaluation.label_errors import LIKELY, LabelError, LabelErrors
from kerastl.report.page import fragment

SHOWN = 12  # rows on the page of a run


def label_errors_section(errors: LabelErrors | None, relabel: Relabelling | None, nouns: str, source: str,
                         preview: Callable[[int, LabelError], Mapping[str, Any]], *, most: int = SHOWN) -> Markup:
    """A section of a page; nothing for a run that did not search. source: of the data, for the command. preview: of an
    error and its place, its `thumbnail` or `text`. most: rows that are shown."""
    if errors is None:
        return Markup("")
    shown: Sequence[dict[str, Any]] = [{"error": error, "likely": error.verdict == LIKELY, **preview(place, error)}
                                       for place, error in enumerate(errors.first(most))]
    return fragment("label_errors.html", errors=errors, shown=shown, relabel=relabel, nouns=nouns, source=quote(source),
                    rest=errors.likely + errors.look - len(shown))
