"""Predicting for many inputs at once: files, folders, tables and texts to rows, and rows to a table file."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerastl.data.read import read_inputs
from kerastl.data.rows import printable
from kerastl.errors import DataError, OptionError
from kerastl.files import atomic_file, open_file, output_file
from kerastl.modality import Modality
from kerastl.serving.classifier import Classifier, Prediction, load

COLUMNS = ("input", "label", "score", "error")
SHOWN = 20  # inputs that an error lists


@dataclass(frozen=True)
class PredictResult:
    """Predictions in the order of the inputs. inputs: how each is shown: a path or a text. out: the table that was
    written, or None."""

    model: str
    inputs: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    out: str | None = None

    @property
    def errors(self) -> int:
        """How many inputs could not be decoded."""
        return sum(bool(prediction.error) for prediction in self.predictions)

    def rows(self) -> list[tuple[str, str, float | None, str]]:
        """A row for each input: input, label, score (None where there is an error), error."""
        return [(name, prediction.label, None if prediction.error else prediction.score, prediction.error)
                for name, prediction in zip(self.inputs, self.predictions, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl predict --json` prints it."""
        predictions = [{**dict(zip(COLUMNS, row, strict=True)),
                        "top": [{"label": label, "score": score} for label, score in prediction.top]}
                       for row, prediction in zip(self.rows(), self.predictions, strict=True)]
        return {"model": self.model, "out": self.out, "failed": self.errors, "predictions": predictions}

    def __repr__(self) -> str:
        return f"PredictResult({self.model!r}: {len(self.predictions)} predictions, {self.errors} errors)"


def predict_inputs(model: str | Path | Classifier, inputs: Sequence[str], *, lines: Iterable[str] = (),
                   text_column: str | None = None, out: str | None = None, weights: str | None = None) -> PredictResult:
    """Predict for files, folders, tables and texts.

    model: as `load` takes it, or a loaded one. `-` among the inputs stands for `lines`: each a path, or a text.
    text_column: of tables; default: as in training. out: also write the predictions to this .csv or .parquet file.
    weights: as `load` takes it. An input that cannot be decoded gets an error instead of a label.
    Raises OptionError for no inputs or a table of another kind, DataError when none of the inputs can be decoded.
    """
    if not inputs:
        raise OptionError("`inputs` is empty", "files, folders, tables or texts; - for one input per line on standard "
                          "input", "name at least one input")
    table = None if out is None else output_file(out, tuple(TABLE_WRITERS))
    classifier = load(model, weights) if isinstance(model, str | Path) else model
    column = text_column or classifier.record.text_column
    items = _items(classifier.modality, inputs, lines, column)
    predictions = classifier.predict_each(items)
    if not predictions:
        raise DataError("the inputs are empty", classifier.modality.readable, "check the files and folders")
    if all(prediction.error for prediction in predictions):
        raise DataError(f"none of the {len(predictions)} inputs could be decoded ({predictions[0].error})",
                        classifier.modality.readable, "check the files")
    result = PredictResult(str(classifier.folder), tuple(map(_shown, items)), tuple(predictions), out)
    if table:
        write_table(table, COLUMNS, result.rows())
    return result


def _items(modality: Modality, inputs: Sequence[str], lines: Iterable[str], text_column: str | None) -> list[Any]:
    """The inputs that the arguments stand for. Raises one DataError for all that cannot be read."""
    items: list[Any] = []
    faults: list[DataError] = []
    for name in inputs:
        if name == "-" and modality.line_is_input:
            items += lines
            continue
        for source in lines if name == "-" else [name]:
            try:
                items += read_inputs(modality.name, [source], text_column=text_column)
            except DataError as error:
                faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = [f"  - {fault.line}" for fault in faults[:SHOWN]]
        more = [f"  and {len(faults) - SHOWN} more"] * (len(faults) > SHOWN)
        raise DataError("\n".join([f"{len(faults)} inputs cannot be used", *listed, *more]))
    return items


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as CSV or Parquet, as the ending of `path` says; in place of an older file, and all or nothing."""
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


def _shown(item: Any) -> str:
    return printable("\t".join(item) if isinstance(item, tuple) else str(item))
