"""Corrections of labels: a table that names rows and their new labels, applied right after a source was read.

Rows are matched by a hash of their content, so that a correction never hits another row. A table that no longer fits
the data is refused as a whole.
"""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.data.corrections import AUTHOR, COLUMNS, REMOVE, Corrections, Fix, LabelChange, Relabelling
from kerastl.data.examples import Examples, SkippedRows
from kerastl.data.labels import normal_form
from kerastl.data.rows import cell
from kerastl.data.tables import TABLES, Table, closest, listed, open_table
from kerastl.display import csv_cell
from kerastl.errors import DataError
from kerastl.files import file_sha256, open_file

SHOWN = 20  # problems that a message lists


def corrections_in(path: str | None) -> Corrections | None:
    """`read_corrections`, or None where there is no table."""
    return None if path is None else read_corrections(path)


def corrections_file(path: str | Path) -> Path:
    """The file of a table of corrections. Raises DataError where there is none."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"`relabel` is {path}, which " + ("is a folder" if file.is_dir() else "does not exist"),
                        "a table of corrections", "kerastl check --fixes writes one")
    if file.suffix.lower() not in TABLES:
        raise DataError(f"`relabel` is {path}, whose ending is none of a table", f"one of {', '.join(TABLES)}",
                        "save the corrections as CSV")
    return file


def read_corrections(path: str | Path) -> Corrections:
    """The corrections in a table (CSV, or any other table that training reads) with the columns `id`, `origin`,
    `given_label`, `new_label`, and optionally `author`; other columns are ignored.

    Raises DataError for a file that is no such table, or that has a broken row.
    """
    file = corrections_file(path)
    table = open_table(file)
    _check_columns(table, path)
    fixes = []
    for origin, record in table.records(None):
        if isinstance(record, str):
            raise DataError(f"{path}, {origin}: {record}", "a row with a cell for each column", "correct this row")
        fixes.append(_fix(record))
    modified = datetime.fromtimestamp(os.stat(file).st_mtime, UTC).isoformat(timespec="seconds")
    return Corrections(str(path), file_sha256(file), modified, tuple(fixes))


def _check_columns(table: Table, path: str | Path) -> None:
    missing = [name for name in COLUMNS if name not in table.names]
    if missing:
        close = {name: other for name in missing if (other := closest(name, table.names))}
        hint = "; ".join(f"rename {other!r} to {name!r}" for name, other in close.items())
        columns = listed(table.names) or "none"
        raise DataError(f"{path} has no column {' or '.join(map(repr, missing))}; it has {columns}",
                        f"a table of corrections, with the columns {', '.join(COLUMNS)}",
                        hint or "kerastl check --fixes writes one")


def _fix(record: Mapping[str, Any]) -> Fix:
    return Fix(cell(record["id"]).lower(), _plain(cell(record["origin"])), cell(record["given_label"]),
               cell(record["new_label"]), cell(record.get(AUTHOR)))


def write_corrections(path: Path, corrections: Corrections) -> None:
    """Write the corrections that change something, as `read_corrections` reads them."""
    rows = [(fix.id, fix.origin, fix.given, fix.new, fix.author) for fix in corrections.fixes
            if fix.new not in ("", fix.given)]
    with open_file(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([(*COLUMNS, AUTHOR), *rows])


def relabelled(examples: Examples, corrections: Corrections | None, *, lenient: bool = False) -> Examples:
    """The examples with these corrections; None: as they are. Classes without rows are dropped. lenient: corrections
    that do not fit are passed over, as for the data of a version, of which some rows may be gone.

    Raises DataError, which lists the rows, where a correction does not fit the data: no row has its content, the row
    has another label than the one given, a new label is no class, or two corrections of a row differ.
    """
    if corrections is None:
        return examples
    fixes, file = corrections.fixes, corrections.file
    new_of, moved, problems = _matched(examples, fixes)
    if lenient:
        new_of = {row: new for row, new in new_of.items() if new == REMOVE or _classes_of(new, examples) is not None}
        problems = []
    wanted = {name: _classes_of(name, examples) for name in dict.fromkeys(new_of.values()) if name != REMOVE}
    if REMOVE in examples.classes and REMOVE in new_of.values():
        problems.append(f"{REMOVE} is the name of a class, so that it cannot mean that a row is removed")
    for name in (name for name, classes in wanted.items() if classes is None):
        other = closest(name, examples.classes)
        problems.append(f"the new label {name!r} is not a class" + (f"; did you mean {other!r}?" if other else ""))
    if problems:
        more = [f"  and {len(problems) - SHOWN:,} more"] * (len(problems) > SHOWN)
        lines = "\n".join([*(f"  {problem}" for problem in problems[:SHOWN]), *more])
        raise DataError(f"{file} does not fit {examples.source}; nothing was changed:\n{lines}",
                        f"rows of the data as they are now, and new labels among {listed(examples.classes)}",
                        f"correct the table, or write it again with kerastl check --fixes; {REMOVE} as a new label "
                        "removes a row")
    numbers = {name: _classes_of(name, examples) or [] for name in wanted}
    return _changed(examples, new_of, moved, numbers, corrections)


def _matched(examples: Examples, fixes: Sequence[Fix]) -> tuple[dict[int, str], int, list[str]]:
    """The new label of each row that changes, how many of these have another origin now, and what does not fit."""
    ids, rows_of = {fix.id for fix in fixes}, defaultdict[str, list[int]](list)
    for row, content in enumerate(examples.ids):
        if content in ids:
            rows_of[content].append(row)
    names = _by_cell(examples.classes)
    new_of, seen, moved, problems = dict[int, str](), dict[int, str](), 0, list[str]()
    for fix in fixes:
        same = rows_of.get(fix.id, [])
        named = [row for row in same if fix.origin in _forms(examples.origins[row])]
        rows = named or same
        label = examples.label_of(rows[0]) if rows else ""
        if not rows:
            problems.append(f"{fix.origin}: no row has this content any more (id {fix.id[:40]})")
        elif len(rows) > 1 and len({examples.origins[row] for row in rows}) > 1:
            problems.append(f"{fix.origin}: {len(rows)} rows have this content, and none of them this origin")
        elif fix.given not in _forms(label):
            problems.append(f"{fix.origin}: its label is {label!r}, not {fix.given!r}")
        else:
            normal = normal_form(fix.new)
            new = names.get(fix.new, names.get(normal, normal))
            if seen.setdefault(rows[0], new) != new:
                problems.append(f"{fix.origin}: it is listed twice, with the new labels {seen[rows[0]]!r} and {new!r}")
            elif new and new != label:
                new_of |= dict.fromkeys(rows, new)
                moved += not named
    return new_of, moved, problems


def _by_cell(classes: Sequence[str]) -> dict[str, str]:
    """The class that a cell means: as `csv_cell` writes a class, or else its name as it is."""
    return {name: name for name in classes} | {csv_cell(name): name for name in classes}


def _forms(text: str) -> set[str]:
    """How a table may hold a text: as it is, or as `csv_cell` writes it."""
    return {_plain(text), _plain(csv_cell(text))}


def _plain(text: str) -> str:
    """Without outer blanks, and with every line end as `\\n`: what a spreadsheet may change."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _classes_of(label: str, examples: Examples) -> list[int] | None:
    """The numbers of the classes of a label; None if one of them is not a class."""
    names = [label] if examples.task.exclusive else list(dict.fromkeys(label.split("|")))
    known = {name: number for number, name in enumerate(examples.classes)}
    return [known[name] for name in names] if all(name in known for name in names) else None


def _changed(examples: Examples, new_of: Mapping[int, str], moved: int, numbers: Mapping[str, list[int]],
             corrections: Corrections) -> Examples:
    """The examples with other labels and without the removed rows, and a record of it."""
    changes = Counter((examples.label_of(row), new) for row, new in new_of.items())
    removed = sorted(row for row, new in new_of.items() if new == REMOVE)
    corrected = sorted(row for row, new in new_of.items() if new != REMOVE)
    targets, skipped = examples.targets.copy(), SkippedRows()
    if corrected:
        targets[corrected] = examples.task.targets_of([numbers[new_of[row]] for row in corrected],
                                                      len(examples.classes))
    for row in removed:
        skipped.add(examples.origins[row], "removed by a correction (`relabel`)", examples.label_of(row),
                    requested=True)
    rest = replace(examples, targets=targets)
    if removed:
        rest = rest.take(np.setdiff1d(np.arange(len(examples)), removed))
    rest, gone = _without_empty_classes(rest, examples.counts())
    record = Relabelling(
        corrections.file, corrections.sha256, corrections.date,
        tuple(sorted({fix.author for fix in corrections.fixes if fix.author})), len(corrections.fixes), len(corrected),
        len(removed), tuple(LabelChange(given, new, n) for (given, new), n in changes.most_common()))
    notes = [record.sentence, *(f"the class {name!r} has no rows left" for name in gone)]
    if moved:
        notes.append(f"{moved:,} of these rows are elsewhere in the source now, and were found by their content")
    if not new_of:
        notes[0] = f"{corrections.file} corrects nothing: no row has a new label"
    return replace(rest.with_skipped(skipped), notes=(*rest.notes, *notes),
                   corrections=replace(corrections, relabelling=record))


def _without_empty_classes(examples: Examples, before: Mapping[str, int]) -> tuple[Examples, list[str]]:
    counts = examples.counts()
    gone = [name for name, n in before.items() if n and not counts[name]]
    if not gone:
        return examples, []
    keep = np.array([number for number, name in enumerate(examples.classes) if name not in gone], np.intp)
    rows, targets = examples.task.select(examples.targets, keep, len(examples.classes))
    rest = replace(examples.take(rows), classes=tuple(examples.classes[number] for number in keep), targets=targets)
    return rest, gone
