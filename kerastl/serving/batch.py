"""Predicting for many inputs at once: files, folders, tables and texts to rows, and rows to a table file."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kerastl.data.cells import Kept
from kerastl.data.input_row import InputRow
from kerastl.data.prediction_inputs import Reading, input_rows
from kerastl.errors import DataError, OptionError, unknown
from kerastl.evaluation.rejection import LABEL
from kerastl.files import output_file, shown
from kerastl.runtime import RAY, Runtime, choose
from kerastl.serving.answers import Refused
from kerastl.serving.classifier import Classifier, load_classifier
from kerastl.serving.engine import ENGINES, engine_for
from kerastl.serving.predictions import Prediction, PredictionForm, check_form
from kerastl.serving.reading import reading_of
from kerastl.serving.rows_aside import RowsAside, row_of
from kerastl.serving.shard_rows import RowsOf, rows_by_workers
from kerastl.serving.tables import COLUMNS, ENDINGS, Row

SHOWN = 20  # inputs that an error lists
MANY = 300  # inputs from which progress is shown, and `auto` compares engines


@dataclass(frozen=True)
class PredictResult:
    """Predictions in the order of the inputs. inputs: how each is shown: a path or a text; empty, as `predictions` is,
    where they were only written to `out`. total, errors: how many inputs there are, and how many of them have an error
    instead of a label. first_error: the first of these, in words. out: the table that was written, or None. notes: what
    the user should know about how the inputs were read, computed and written. strict: whether an error makes the
    command fail. engine: what computed the predictions: saved_model or openvino. withheld: predictions of which
    `min_score` removed a label. top: as requested."""

    model: str
    inputs: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    total: int
    errors: int
    first_error: str
    out: str | None = None
    notes: tuple[str, ...] = ()
    strict: bool = False
    engine: str = ENGINES[0]
    withheld: int = 0
    top: int | None = None

    @property
    def failed(self) -> bool:
        """Whether there are errors and `strict` was set."""
        return self.strict and self.errors > 0

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        return f"{self.errors} of {self.total} inputs have no prediction, the first: {self.first_error}" * self.failed

    def rows(self) -> list[Row]:
        """A row for each input: input, label, score (None where there is an error), error, unknown_score."""
        return [row_of(name, prediction) for name, prediction in zip(self.inputs, self.predictions, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl predict --json` prints it."""
        predictions = [{**dict(zip(COLUMNS, row, strict=True)),
                        "top": [{"label": label, "score": score} for label, score in prediction.top],
                        **({"probabilities": dict(prediction.probabilities)} if prediction.probabilities else {})}
                       for row, prediction in zip(self.rows(), self.predictions, strict=True)]
        return {"model": self.model, "out": self.out, "total": self.total, "failed": self.errors, "engine": self.engine,
                "withheld": self.withheld, "notes": list(self.notes), "predictions": predictions}

    def __repr__(self) -> str:
        return f"PredictResult({self.model!r}: {self.total} predictions, {self.errors} errors)"


@dataclass
class _Tally:
    """What is counted of the predictions while they come. reasons: of the first errors, with the inputs."""

    total: int = 0
    errors: int = 0
    withheld: int = 0
    rejected: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, prediction: Prediction) -> None:
        self.total += 1
        self.withheld += prediction.withheld
        self.rejected += prediction.label == LABEL
        if prediction.error:
            self.errors += 1
            if len(self.reasons) < SHOWN:
                self.reasons.append((name, prediction.error))


def predict_inputs(model: str | Path | Classifier, inputs: Sequence[str], *, lines: Iterable[str] | bytes = (),
                   text: str | Sequence[str] = (), text_column: str | None = None, path_column: str | None = None,
                   out: str | None = None, raw: bool = False, weights: str | None = None, trust: bool = False,
                   strict: bool = False, cache_dir: str | None = None, engine: str = "saved_model", workers: int = 0,
                   keep: bool = True, top: int | None = None, probabilities: bool = False,
                   min_score: float | None = None) -> PredictResult:
    """Predict for files, folders, tables and texts. Every row gets an answer, in order: a label, or an error.

    model: as `load` takes it, or a loaded one. `-` among the inputs stands for `lines`: each a path, or a text; bytes
    are decoded as a file is. text: texts as they are, whatever they look like; they come after the inputs.
    text_column, path_column: of tables; default: those named in training, else detected. out: also write the
    predictions to this .csv, .jsonl or .parquet file, with the columns of tables of inputs in front, whose names stay:
    a column of predictions of the same name gets `predicted_` in front. raw: write cells to a CSV file exactly as they
    are. Otherwise one that a spreadsheet would take for a formula gets an apostrophe in front, and control characters
    are escaped. weights, trust: as `load` takes them. strict: the result counts as failed if an input has an error.
    cache_dir: where images inside tables are unpacked, and where workers keep what they have computed until `out` is
    written. engine: what computes: `saved_model`, `openvino`, or `auto`, the faster of the two for many inputs;
    OpenVINO's probabilities are within 0.001 of the SavedModel's, which is checked; or `ray`, the SavedModel on a Ray
    cluster. workers: how many processes compute, with the SavedModel; 0: this one, or with `ray` one on each machine of
    the cluster. keep: whether the result holds the predictions. Without them and with `out`, memory does not grow with
    the inputs. top: how many labels each prediction has, with their scores; default: 5, which a table does not contain.
    probabilities: whether it has those of all classes, in a table a column `p_CLASS` each. min_score: below it, the
    label is empty; with several labels per row, it lacks the labels below it. The score stays, and they are counted.
    Raises OptionError for no inputs, or an engine or a number that cannot be used, DataError when none of the inputs
    has a prediction; `out` is written before.
    """
    if not inputs and not text:
        raise OptionError("`inputs` is empty", "files, folders, tables or texts; - for one input per line on standard "
                          "input", "name at least one input")
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    runtime = _workers(engine, workers)
    check_form(top, min_score)
    table = None if out is None else output_file(out, ENDINGS, inputs)
    classifier = load_classifier(model, weights, trust=trust) if isinstance(model, str | Path) else model
    form = classifier.form(top, probabilities, min_score)
    kept_columns = None if table is None else Kept()
    reading = reading_of(classifier.record, text_column, path_column, cache_dir, kept_columns)
    rows = input_rows(reading, inputs, lines=lines, texts=[text] if isinstance(text, str) else text)
    first = list(islice(rows, MANY + 1))
    if not first:
        raise DataError("the inputs are empty", classifier.modality.readable, "check the files and folders")
    computing = engine_for(classifier, engine, many=len(first) > MANY)
    tally, kept = _Tally(), list[tuple[str, Prediction]]()
    request = [list(inputs), [text] if isinstance(text, str) else list(text), out]
    trusted = trust or isinstance(model, Classifier)

    def counted(answers: Iterator[_Answered]) -> Iterator[_Answered]:
        for name, prediction, cells in answers:
            tally.add(name, prediction)
            if keep:
                kept.append((name, prediction))
            yield name, prediction, cells

    written = list[str]()
    with (nullcontext(partial(classifier.rows, answer=computing.answer)) if runtime is None else
          rows_by_workers(classifier, runtime, trusted, cache_dir, request)) as rows_of:
        answers = _answers(chain(first, rows), rows_of, form)
        answers = counted(_with_progress(answers, reading) if len(first) > MANY else answers)
        if table is None or kept_columns is None:
            deque(answers, maxlen=0)
        else:
            aside = RowsAside(form, kept_columns)
            written = aside.write(table, answers, raw) + _formulas(aside.formulas, table, raw)
    notes = (*reading.notes, *computing.notes(), *written, *_about(tally, classifier, form))
    result = PredictResult(shown(classifier.folder), tuple(name for name, _ in kept), tuple(p for _, p in kept),
                           tally.total, tally.errors, ": ".join(next(iter(tally.reasons), ())), out, notes, strict,
                           computing.name, tally.withheld, top)
    if tally.errors == tally.total:
        raise _nothing(tally, classifier.modality.readable)
    return result


_Answered = tuple[str, Prediction, Mapping[str, Any]]  # how an input is shown, its prediction, its cells


def _workers(engine: str, workers: int) -> Runtime | None:
    """The workers that compute; None where this process does. Raises OptionError where they cannot."""
    if workers and engine not in (ENGINES[0], RAY):
        raise OptionError(f"`workers` is {workers}, and `engine` is {engine}",
                          f"{ENGINES[0]} or {RAY}: workers compute with the SavedModel", "omit `engine`, or `workers`")
    runtime = choose(engine=engine if engine == RAY else "tensorflow", workers=workers, gpu=False, bfloat16_cpu=False)
    return runtime if runtime.shared else None


def _answers(rows: Iterable[InputRow], rows_of: RowsOf, form: PredictionForm) -> Iterator[_Answered]:
    """The prediction of each row, in order, while the rows are read."""
    pending = deque[tuple[str, Mapping[str, Any]]]()

    def items() -> Iterator[Any]:
        for row in rows:
            pending.append((row.name, row.cells))
            yield Refused(row.error) if row.error else row.item

    for outputs in rows_of(items()):
        name, cells = pending.popleft()
        yield name, form.prediction(outputs), cells


def _with_progress(answers: Iterator[_Answered], reading: Reading) -> Iterator[_Answered]:
    """The same, with a progress bar where standard error is a terminal."""
    with tqdm(desc="predicting", unit=f" {reading.modality.nouns}", disable=None) as bar:
        for answer in answers:
            yield answer
            bar.total = reading.expected
            bar.update()


def _formulas(number: int, out: Path, raw: bool) -> list[str]:
    if raw or not number or out.suffix != ".csv":
        return []
    return [f"{number:,} of the cells of {out} would be formulas in a spreadsheet and begin with an apostrophe; set "
            "`raw` to write them as they are"]


def _about(tally: _Tally, classifier: Classifier, form: PredictionForm) -> list[str]:
    """What the labels and scores do not say by themselves."""
    nouns, classes, notes = classifier.modality.nouns, len(classifier.classes), list[str]()
    if form.top and form.top > classes:
        notes.append(f"`top` is {form.top}, and the model has {classes} classes: all are listed")
    if form.min_score is not None:
        what = "have no label, because its score is" if classifier.task.exclusive else \
            "have fewer labels, because the scores of others are"
        notes.append(f"{tally.withheld:,} of the {tally.total:,} {nouns} {what} below `min_score` ({form.min_score:g})")
    if tally.rejected and classifier.rejects:  # what the score beside the label is of: not of that label
        notes.append(f'the label of {tally.rejected:,} of the {nouns} is "{LABEL}", because they are unlike the '
                     "training data (`unknown_score` above 0); `score` is that of the most probable class nevertheless")
    return notes


def _nothing(tally: _Tally, readable: str) -> DataError:
    """The error where no input has a prediction: all of the reasons, up to a number."""
    if tally.total == 1:
        return DataError(f"the input has no prediction ({tally.reasons[0][1]})", readable, "check the input")
    listed = [f"  - {name[:100]}: {reason}" for name, reason in tally.reasons]
    more = [f"  and {tally.total - SHOWN} more"] * (tally.total > SHOWN)
    return DataError("\n".join([f"none of the {tally.total} inputs has a prediction", *listed, *more]))
