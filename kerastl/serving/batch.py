"""Predicting for many inputs at once: files, folders, tables and texts to rows, and rows to a table file."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.data.input_row import InputRow
from kerastl.data.options import ReadOptions
from kerastl.data.prediction_inputs import Reading, input_rows
from kerastl.display import begins_a_formula, csv_cell
from kerastl.errors import DataError, OptionError
from kerastl.files import atomic_file, open_file, output_file
from kerastl.serving.classifier import Classifier, Prediction, load

COLUMNS = ("input", "label", "score", "error")
SHOWN = 20  # inputs that an error lists


@dataclass(frozen=True)
class PredictResult:
    """Predictions in the order of the inputs. inputs: how each is shown: a path or a text. out: the table that was
    written, or None. notes: what the user should know about how the inputs were read and written. strict: whether an
    error makes the command fail."""

    model: str
    inputs: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    out: str | None = None
    notes: tuple[str, ...] = ()
    strict: bool = False

    @property
    def errors(self) -> int:
        """How many inputs have an error instead of a label."""
        return sum(bool(prediction.error) for prediction in self.predictions)

    @property
    def failed(self) -> bool:
        """Whether there are errors and `strict` was set."""
        return self.strict and self.errors > 0

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        if not self.failed:
            return ""
        first = next(i for i, prediction in enumerate(self.predictions) if prediction.error)
        return (f"{self.errors} of {len(self.predictions)} inputs have no prediction, the first: {self.inputs[first]}: "
                f"{self.predictions[first].error}")

    def rows(self) -> list[tuple[str, str, float | None, str]]:
        """A row for each input: input, label, score (None where there is an error), error."""
        return [(name, prediction.label, None if prediction.error else prediction.score, prediction.error)
                for name, prediction in zip(self.inputs, self.predictions, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl predict --json` prints it."""
        predictions = [{**dict(zip(COLUMNS, row, strict=True)),
                        "top": [{"label": label, "score": score} for label, score in prediction.top]}
                       for row, prediction in zip(self.rows(), self.predictions, strict=True)]
        return {"model": self.model, "out": self.out, "failed": self.errors, "notes": list(self.notes),
                "predictions": predictions}

    def __repr__(self) -> str:
        return f"PredictResult({self.model!r}: {len(self.predictions)} predictions, {self.errors} errors)"


def predict_inputs(model: str | Path | Classifier, inputs: Sequence[str], *, lines: Iterable[str] | bytes = (),
                   text: str | Sequence[str] = (), text_column: str | None = None, path_column: str | None = None,
                   out: str | None = None, raw: bool = False, weights: str | None = None, trust: bool = False,
                   strict: bool = False, cache_dir: str | None = None) -> PredictResult:
    """Predict for files, folders, tables and texts. Every row gets an answer, in order: a label, or an error.

    model: as `load` takes it, or a loaded one. `-` among the inputs stands for `lines`: each a path, or a text; bytes
    are decoded as a file is. text: texts as they are, whatever they look like; they come after the inputs.
    text_column, path_column: of tables; default: those named in training, else detected. out: also write the
    predictions to this .csv or .parquet file. raw: write names and texts to a CSV file exactly as they are. Otherwise
    one that a spreadsheet would take for a formula gets an apostrophe in front, and control characters are escaped.
    weights, trust: as `load` takes them. strict: the result counts as failed if an input has an error. cache_dir: where
    images inside tables are unpacked.
    Raises OptionError for no inputs, DataError when none of the inputs has a prediction; `out` is written before.
    """
    if not inputs and not text:
        raise OptionError("`inputs` is empty", "files, folders, tables or texts; - for one input per line on standard "
                          "input", "name at least one input")
    table = None if out is None else output_file(out, tuple(TABLE_WRITERS))
    classifier = load(model, weights, trust=trust) if isinstance(model, str | Path) else model
    record = classifier.record
    options = ReadOptions(text_column=text_column or record.read_options.text_column,
                          path_column=path_column or record.read_options.path_column)
    reading = Reading(classifier.modality, options, bool(record.input.get("pair")), cache_dir)
    texts = [text] if isinstance(text, str) else text
    rows = list(input_rows(reading, inputs, lines=lines, texts=texts))
    if not rows:
        raise DataError("the inputs are empty", classifier.modality.readable, "check the files and folders")
    answers = iter(classifier.predict_each(row.item for row in rows if not row.error))
    predictions = [Prediction("", 0.0, (), row.error) if row.error else next(answers) for row in rows]
    result = PredictResult(str(classifier.folder), tuple(row.name for row in rows), tuple(predictions), out,
                           (*reading.notes, *_notes(rows, out, raw)), strict)
    if table:
        write_table(table, COLUMNS, result.rows(), raw=raw)
    if result.errors == len(predictions):
        raise _nothing(result, classifier.modality.readable)
    return result


def _notes(rows: Sequence[InputRow], out: str | None, raw: bool) -> list[str]:
    changed = 0 if raw or not str(out).endswith(".csv") else sum(begins_a_formula(row.name) for row in rows)
    if not changed:
        return []
    return [f"{changed:,} of the names and texts in {out} would be formulas in a spreadsheet and begin with an "
            "apostrophe; set `raw` to write them as they are"]


def _nothing(result: PredictResult, readable: str) -> DataError:
    """The error where no input has a prediction: all of the reasons, up to a number."""
    reasons = [prediction.error for prediction in result.predictions]
    if len(reasons) == 1:
        return DataError(f"the input has no prediction ({reasons[0]})", readable, "check the input")
    listed = [f"  - {name[:100]}: {reason}" for name, reason in zip(result.inputs, reasons, strict=True)][:SHOWN]
    more = [f"  and {len(reasons) - SHOWN} more"] * (len(reasons) > SHOWN)
    return DataError("\n".join([f"none of the {len(reasons)} inputs has a prediction", *listed, *more]))


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], *, raw: bool = False) -> None:
    """Write rows as CSV or Parquet, as the ending of `path` says; in place of an older file, and all or nothing. raw:
    whether the cells of a CSV file are written as they are, also those that a spreadsheet would take for a formula."""
    if path.suffix == ".csv" and not raw:
        rows = [[csv_cell(cell) for cell in row] for row in rows]
    with atomic_file(path) as partial:
        TABLE_WRITERS[path.suffix](partial, names, rows)


def _write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with open_file(path, "w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def _write_parquet(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)}), path)


TABLE_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
