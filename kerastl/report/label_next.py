"""What to label next as a table to fill in, which training reads again, and as a page with thumbnails or texts."""

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kerastl.data.apostrophes import MARK, with_apostrophes
from kerastl.data.columns import RANDOM_SPLIT
from kerastl.data.examples import Examples
from kerastl.data.rows import printable
from kerastl.display import begins_a_formula, csv_cell
from kerastl.errors import OptionError
from kerastl.files import atomic_file, is_file, open_file, output_file, write_atomically
from kerastl.modality import modality_named
from kerastl.report.charts import Frame, svg
from kerastl.report.page import page
from kerastl.report.report import excerpt, thumbnail
from kerastl.studies.label_next.result import LabelNextResult, Proposal, simulation_lines
from kerastl.studies.label_next.simulate import Simulation

MOST = 200  # proposals on the page
PAIR = "text1", "text2"  # columns that training finds by their names, as it finds `path` and `text`
LABEL, SUGGESTED = "label", "suggested_label"


def label_next_files(out: str | None, html: str | None) -> tuple[Path | None, Path | None]:
    """The files of the table and of the page, checked before the work begins. Raises OptionError where one cannot be
    written, and for a table that exists: it may hold labels."""
    table = None if out is None else output_file(out, (".csv",))
    if table is not None and is_file(table):
        raise OptionError(f"`out` is {out}, which exists already, and may hold your labels", "a new file",
                          "choose another name, or delete the file first")
    try:
        return table, None if html is None else output_file(html, (".html", ".htm"))
    except OptionError as error:
        raise OptionError(error.got.replace("`out`", "`html`"), error.expected, error.hint) from error


def write_label_next(result: LabelNextResult, out: str | None, html: str | None = None, *, with_labelled: bool = False
                     ) -> LabelNextResult:
    """Write the proposals as a new CSV file with an empty column `label`, and the whole result as one HTML page; None:
    not written. with_labelled: below the proposals, the table also holds the rows that are labelled already, so that it
    is the whole data of the next round. Returns the result with the names of the files. Raises OptionError where one
    cannot be written."""
    table, document = label_next_files(out, html)
    if table is not None and result.proposals:
        _write_table(table, result, with_labelled)
        result = replace(result, out=out)
    if document is not None:
        write_atomically(document, label_next_page(result))
        result = replace(result, html=html)
    return result


def _write_table(path: Path, result: LabelNextResult, with_labelled: bool) -> None:
    in_files = modality_named(result.modality).in_files
    rows = [_proposed(path.parent, rank, proposal, in_files) for rank, proposal in enumerate(result.proposals, 1)]
    known = result.known if with_labelled else None
    own_groups = known is not None and list(known.groups) != list(known.ids)
    columns = [*rows[0], *["group"] * own_groups]
    with atomic_file(path) as partial, open_file(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
        if known is not None:
            writer.writerows(_labelled(path.parent, known, row, own_groups) for row in range(len(known)))


def _proposed(folder: Path, rank: int, proposal: Proposal, in_files: bool) -> dict[str, Any]:
    """The cells of a proposal. A text keeps every character, since it is read again; what is only looked at is written
    visibly."""
    item = _item(folder, proposal.item, in_files)
    row = with_apostrophes({
        "rank": rank, **item, LABEL: "", SUGGESTED: proposal.suggested,
        "probability": "" if proposal.probability is None else f"{proposal.probability:.3f}", "chosen": proposal.how,
        "reason": csv_cell(proposal.reason), RANDOM_SPLIT: "test" if proposal.is_random else "train",
        "origin": csv_cell(proposal.origin), "id": proposal.id}, (*item, SUGGESTED))
    if SUGGESTED in row[MARK].split(","):
        row[MARK] += f",{LABEL}"  # whoever copies the suggestion copies the apostrophe
    return row


def _labelled(folder: Path, known: Examples, row: int, own_groups: bool) -> dict[str, Any]:
    """The cells of a row that is labelled already."""
    item = _item(folder, known.items[row], known.modality.in_files)
    return with_apostrophes({
        "rank": "", **item, LABEL: known.label_of(row), SUGGESTED: "", "probability": "", "chosen": "", "reason": "",
        RANDOM_SPLIT: known.source_split[row] or "train", "origin": csv_cell(known.origins[row]), "id": known.ids[row],
        **({"group": known.groups[row]} if own_groups else {})}, (*item, LABEL, *["group"] * own_groups))


def _item(folder: Path, item: Any, in_files: bool) -> dict[str, str]:
    """The cells of a path, a text or a pair of texts."""
    if in_files:
        return {"path": _relative(str(item), folder)}
    return {"text": item} if isinstance(item, str) else dict(zip(PAIR, item, strict=True))


def _relative(path: str, folder: Path) -> str:
    """A path as a table in this folder holds it: from there where it lies inside, otherwise the whole path."""
    whole, inside = os.path.abspath(path), os.path.abspath(folder)
    short = os.path.relpath(whole, inside) if os.path.commonpath([whole, inside]) == inside else whole
    return printable(f".{os.sep}{short}" if begins_a_formula(short) else short)


def label_next_page(result: LabelNextResult) -> str:
    """The result as one HTML page; whatever comes from data is escaped."""
    modality, simulation = modality_named(result.modality), result.simulation
    shown = [{"rank": rank, "row": proposal, "thumbnail": thumbnail(str(proposal.item)) if modality.in_files else "",
              "text": "" if modality.in_files else excerpt(proposal.item).strip()}
             for rank, proposal in enumerate(result.proposals[:MOST], 1)]
    return page("label_next.html", result=result, modality=modality, shown=shown,
                rest=len(result.proposals) - len(shown), simulation=simulation,
                sentences=simulation_lines(simulation) if simulation else (),
                chart=Markup(simulation_chart(simulation)) if simulation else "")


def simulation_chart(simulation: Simulation) -> str:
    """Accuracy on held-out rows by the number of labels: chosen ones, and ones drawn at random."""
    labels = [each.labels for each in simulation.rounds]
    series = {"first": [each.strategy for each in simulation.rounds],
              "second": [each.random for each in simulation.rounds]}
    values = [value for line in series.values() for value in line]
    margin = max(0.01, (max(values) - min(values)) * 0.1)
    frame = Frame((labels[0], labels[-1]), (max(0.0, min(values) - margin), min(1.0, max(values) + margin)))
    parts = []
    for style, line in series.items():
        points = [frame.at(x, y) for x, y in zip(labels, line, strict=True)]
        parts.append(f'<polyline class="line {style}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>')
        parts += [f'<circle class="point {style}" cx="{x}" cy="{y}" r="3"><title>{n} labels: {value:.3f}</title>'
                  "</circle>" for (x, y), n, value in zip(points, labels, line, strict=True)]
    y_ticks = [frame.y[0] + (frame.y[1] - frame.y[0]) * i / 4 for i in range(5)]
    return svg("Accuracy by number of labels", frame, parts, labels, y_ticks, "labels", "accuracy on held-out rows")
