"""The table of possible label errors that a person edits, and that `relabel` applies. Nothing is changed by itself."""

import csv
from pathlib import Path

from kerastl.audit.check import CheckResult
from kerastl.data.corrections import AUTHOR, COLUMNS
from kerastl.display import csv_cell
from kerastl.errors import OptionError
from kerastl.evaluation.label_errors import LabelError
from kerastl.files import atomic_file, check_writable, is_file, is_mirrored, local_path, open_file
from kerastl.modality import modality_named

ID, ORIGIN, GIVEN, NEW = COLUMNS
SUGGESTED = "suggested_label"


def fixes_file(path: str) -> Path:
    """The file of the table. Raises OptionError if it cannot be written there, or exists: it may have been edited."""
    file = local_path(path)
    if file.suffix.lower() != ".csv" or not (is_mirrored(file) or file.parent.is_dir()):
        raise OptionError(f"`fixes` is {path}", "a file that ends in .csv, in a folder that exists", "choose another")
    if is_file(file):
        raise OptionError(f"`fixes` is {path}, which exists already, and may hold your corrections", "a new file",
                          "choose another name, or delete the file first")
    check_writable(file, "fixes")
    return file


def write_fixes(path: Path, result: CheckResult) -> None:
    """Write the possible label errors as CSV, the least likely label first. `new_label` is empty: whoever looks at a
    row fills it in. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    item = "path" if modality_named(result.modality).in_files else "text"
    with atomic_file(path) as partial, open_file(partial, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("rank", "verdict", ORIGIN, item, GIVEN, SUGGESTED, NEW, AUTHOR, "self_confidence",
                         "suggested_probability", "neighbours", ID))
        for rank, (error, shown) in enumerate(zip(result.label_errors, result.label_error_items, strict=True), 1):
            writer.writerow([csv_cell(cell) for cell in _row(rank, error, shown)])


def _row(rank: int, error: LabelError, shown: str) -> tuple[int | str, ...]:
    return (rank, error.verdict, error.origin, " ".join(shown.split()), error.label, error.predicted, "", "",
            f"{error.self_confidence:.3f}", f"{error.probability:.3f}", f"{error.neighbours:.1f}", error.id)
