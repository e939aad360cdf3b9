"""Predictions on their way to a table: kept in an unnamed file until all columns of the tables of inputs are known."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerastl.data.cells import Kept
from kerastl.data.rows import printable
from kerastl.data.spool import copied
from kerastl.data.tables import listed
from kerastl.display import visible
from kerastl.serving.predictions import Prediction, PredictionForm
from kerastl.serving.tables import PLAIN, Column, Kind, table_writer, would_be_formula

EXACT = 2**53  # up to which a 64-bit float holds every integer
LONGEST = 2**63  # beyond a 64-bit integer
RENAMED = "predicted_"  # in front of a column of ours that a table of inputs has too


@dataclass
class _Kinds:
    """The types of the values of a column: whether there are any of each."""

    found: set[str] = field(default_factory=set)

    def add(self, value: Any) -> None:
        if isinstance(value, bool | float | str):
            self.found.add(type(value).__name__)
        elif isinstance(value, int):
            self.found.add("int" if abs(value) <= EXACT else "long" if -LONGEST <= value < LONGEST else "str")
        elif value is not None:
            self.found.add("nested" if isinstance(value, list | dict) else "other")

    @property
    def common(self) -> Kind:
        """The type that holds all of them."""
        kinds: tuple[tuple[set[str], Kind], ...] = (({"bool"}, bool), ({"int", "long"}, int), ({"int", "float"}, float))
        return next((kind for names, kind in kinds if self.found and self.found <= names), str)


@dataclass
class RowsAside:
    """The rows of a table of predictions. form: what each contains; kept: the columns of tables of inputs. formulas:
    is filled with how many cells a spreadsheet would take for formulas."""

    form: PredictionForm
    kept: Kept
    formulas: int = 0
    _kinds: dict[str, _Kinds] = field(default_factory=dict)

    def write(self, path: Path, rows: Iterable[tuple[str, Prediction, Mapping[str, Any]]], raw: bool) -> list[str]:
        """Write a table when all rows have come, in the format that its ending says. rows: how each input is shown, its
        prediction, and the cells of its row. Returns notes on its columns."""
        opened = copied((self._line(name, prediction, cells) for name, prediction, cells in rows), path.parent)
        names = list(dict.fromkeys([*map(_name_of, self.kept.names), *self._kinds]))
        ours, notes = _renamed(self._columns(), names)
        kinds = {name: self._kinds.get(name, _Kinds()) for name in names}
        for kind, what in (("nested", "lists and objects are written as JSON"),
                           ("other", "values of other types, such as bytes, are written as text")):
            odd = [name for name in names if kind in kinds[name].found]
            notes += [f"{what}, in {_quoted(odd)}"] * (bool(odd) and (kind, path.suffix) != ("nested", ".jsonl"))
        columns = [*(Column(name, kind.common, True) for name, kind in kinds.items()), *ours]
        with table_writer(path, columns, raw) as add, opened() as file:
            for line in file:
                cells, values = json.loads(line)
                add([*map(cells.get, names), *values])
        return notes

    def _line(self, name: str, prediction: Prediction, cells: Mapping[str, Any]) -> bytes:
        plain = {_name_of(str(column)): printable(value) if isinstance(value, str) else value
                 for column, value in cells.items()}
        for column, value in plain.items():
            self._kinds.setdefault(column, _Kinds()).add(value)
        values = [*row_of(name, prediction), *self._more(prediction)]
        self.formulas += sum(would_be_formula(value, True) for value in plain.values())
        self.formulas += sum(map(would_be_formula, values))
        return json.dumps([plain, values], default=str).encode() + b"\n"

    def _columns(self) -> list[Column]:
        """The columns of predictions."""
        top = [column for place in range(1, self._top + 1)
               for column in (Column(f"label_{place}"), Column(f"score_{place}", float))]
        return [*PLAIN, *top, *(Column(f"p_{name}", float) for name in self.form.classes if self.form.probabilities)]

    @property
    def _top(self) -> int:
        return min(self.form.top or 0, len(self.form.classes))

    def _more(self, prediction: Prediction) -> list[Any]:
        """The values beyond those of `row_of`."""
        top: list[Any] = [value for pair in prediction.top[:self._top] for value in pair]
        top += [None] * (2 * self._top - len(top))
        if not self.form.probabilities:
            return top
        return top + [(prediction.probabilities or {}).get(name) for name in self.form.classes]


def row_of(name: str, prediction: Prediction) -> tuple[str, str, float | None, str, float | None]:
    """The values of the columns that every table of predictions has."""
    return (name, prediction.label, None if prediction.error else prediction.score, prediction.error,
            prediction.unknown_score)


def _name_of(column: str) -> str:
    """The name of a column as it can be encoded: lone surrogates, which JSON may contain, are escaped, so that two
    names never become the same."""
    return column.encode("utf-8", "backslashreplace").decode()


def _renamed(ours: Sequence[Column], names: Sequence[str]) -> tuple[list[Column], list[str]]:
    """Our columns, with other names where the tables of inputs have such columns, and a note that says so."""
    taken, renamed = {*names, *(column.name for column in ours)}, dict[str, str]()
    for column in ours:
        if column.name in names:
            name = RENAMED + column.name
            while name in taken:
                name = RENAMED + name
            renamed[column.name] = name
            taken.add(name)
    notes = [f"the inputs have columns of the same names as the predictions ({_quoted(list(renamed))}): these stay as "
             f"they are, and the predictions are in {_quoted(list(renamed.values()))}"] * bool(renamed)
    return [Column(renamed.get(column.name, column.name), column.kind) for column in ours], notes


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(visible(name)) for name in names])
