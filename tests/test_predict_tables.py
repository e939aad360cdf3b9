"""Tables of predictions: the columns of the inputs beside those of the predictions, row by row, and what was asked for.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import kerastl as tl
from kerastl.data.cells import Kept
from kerastl.data.prediction_inputs import Reading, input_rows
from kerastl.errors import OptionError
from kerastl.evaluation.rejection import LABEL
from kerastl.modality import IMAGE, TEXT
from kerastl.serving.batch import predict_inputs
from kerastl.serving.predictions import Prediction, PredictionForm
from kerastl.serving.rows_aside import RowsAside
from kerastl.tasks import task_named

SINGLE, SEVERAL = task_named("single_label"), task_named("multi_label")
PLAIN = ["input", "label", "score", "error", "unknown_score"]


def outputs(p: list[float], label: str, score: float | None = None) -> dict[str, Any]:
    """A row as `serving_default` returns it, of classes a, b and c."""
    order = np.argsort(-np.array(p))
    return {"label": label.encode(), "score": np.float32(max(p) if score is None else score),
            "probabilities": np.array(p, np.float32), "top_labels": [b"abc"[i:i + 1] for i in order],
            "top_scores": np.array(p, np.float32)[order]}


def form(task: Any = SINGLE, **asked: Any) -> PredictionForm:
    return PredictionForm(("a", "b", "c"), task, (0.5, 0.2, 0.5) if task is SEVERAL else (), **asked)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    with open(path, newline="") as file:
        return [*csv.DictReader(file)] if path.suffix == ".csv" else [json.loads(line) for line in file]


def write(path: Path, *cells: Mapping[str, Any], raw: bool = False, names: tuple[str, ...] = (), **asked: Any
          ) -> tuple[list[dict[str, Any]], list[str], RowsAside]:
    """A table of the same prediction for each row of these cells."""
    prediction = form(**asked).prediction(outputs([0.1, 0.7, 0.2], "b"))
    aside = RowsAside(form(**asked), Kept(list(names)))
    notes = aside.write(path, [(f"row {i}", prediction, row) for i, row in enumerate(cells)], raw)
    return read(path), notes, aside


# What a prediction contains


def test_a_prediction_has_as_many_labels_as_were_asked_for_and_all_probabilities() -> None:
    row = outputs([0.1, 0.7, 0.2], "b")
    assert form().prediction(row).top == form(top=9).prediction(row).top
    assert [name for name, _ in form(top=2).prediction(row).top] == ["b", "c"]
    assert form().prediction(row).probabilities is None
    assert form(probabilities=True).prediction(row).probabilities == pytest.approx({"a": 0.1, "b": 0.7, "c": 0.2})
    assert form(top=1, probabilities=True, min_score=0.1).prediction("why") == Prediction("", 0.0, (), "why")
    hash(form(probabilities=True).prediction(row))


def test_a_label_below_the_minimum_score_is_empty_and_its_score_stays() -> None:
    sure, unsure = outputs([0.1, 0.7, 0.2], "b"), outputs([0.5, 0.3, 0.2], "a")
    assert [form(min_score=0.7).prediction(row).label for row in (sure, unsure)] == ["b", ""]
    found = form(min_score=0.7).prediction(unsure)
    assert found.withheld and found.score == 0.5 and not found.error
    assert not form(min_score=0).prediction(unsure).withheld
    assert form(min_score=1).prediction(outputs([0.9, 0.05, 0.05], LABEL)).label == LABEL  # of no class
    targeted = outputs([0.6, 0.4, 0.0], "b", 0.4)  # a target chose the second
    assert form(min_score=0.5).prediction(targeted).label == ""


def test_of_several_labels_each_has_to_reach_the_minimum_score_and_its_own_threshold() -> None:
    row = outputs([0.9, 0.3, 0.45], "a|b")
    found = form(SEVERAL, min_score=0.4).prediction(row)
    assert found.label == "a" and found.withheld
    assert form(SEVERAL, min_score=0.3).prediction(row) == form(SEVERAL).prediction(row)
    assert form(SEVERAL, min_score=0.95).prediction(row).label == ""
    none = form(SEVERAL, min_score=0.95).prediction(outputs([0.1, 0.1, 0.1], ""))
    assert none.label == "" and not none.withheld  # there was none


@pytest.mark.parametrize("asked", [{"top": 0}, {"top": 1.5}, {"top": True}, {"min_score": -0.1}, {"min_score": 80},
                                   {"min_score": float("nan")}, {"min_score": "0.5"}])
def test_numbers_that_cannot_be_used_are_refused_before_anything_else(asked: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"`{next(iter(asked))}` must be"):
        form(**asked)
    with pytest.raises(OptionError, match="must be"):
        predict_inputs("no model", ["x"], **asked)


# Columns


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_the_columns_of_the_inputs_come_first_and_keep_their_names(ending: str, tmp_path: Path) -> None:
    rows, notes, _ = write(tmp_path / f"t{ending}", {"id": "7", "label": "x", "näme": "é"}, {"late": "1"}, {},
                           names=("id", "label", "näme", "never"), top=2, probabilities=True)
    assert list(rows[0]) == ["id", "label", "näme", "never", "late", "input", "predicted_label", "score", "error",
                             "unknown_score", "label_1", "score_1", "label_2", "score_2", "p_a", "p_b", "p_c"]
    assert [row["label"] or "" for row in rows] == ["x", "", ""] and rows[0]["id"] == "7"
    assert [row["predicted_label"] for row in rows] == ["b"] * 3 and rows[1]["late"] == "1"
    assert float(rows[2]["p_b"]) == pytest.approx(0.7) and rows[0]["label_2"] == "c"
    assert len(notes) == 1 and "'predicted_label'" in notes[0]
    rows, _, _ = write(tmp_path / f"t{ending}", {})
    assert list(rows[0]) == PLAIN
    taken = {"score": "1", "predicted_score": "2"}
    rows, _, _ = write(tmp_path / f"t{ending}", taken)
    assert rows[0].items() >= taken.items() and float(rows[0]["predicted_predicted_score"]) == pytest.approx(0.7)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_the_name_of_a_column_may_be_no_text_that_can_be_encoded(ending: str, tmp_path: Path) -> None:
    """JSON may contain lone surrogates."""
    names = ("\ud800", "\udfff")
    rows, _, _ = write(tmp_path / f"t{ending}", dict(zip(names, "xy", strict=True)), names=names)
    assert [*rows[0].items()][:2] == [("\\ud800", "x"), ("\\udfff", "y")]


def test_parquet_keeps_the_types_of_the_inputs_and_loses_no_digit(tmp_path: Path) -> None:
    many = 2**53 + 1
    rows, notes, _ = write(
        tmp_path / "t.parquet",
        {"i": 1, "f": 1, "b": True, "s": "1", "mixed": 1, "long": many, "huge": 2**70, "list": ["a", "\ud800"]},
        {"i": None, "f": 0.5, "b": None, "s": "x", "mixed": "x", "long": 0.5, "huge": 1, "list": None})
    kinds = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(tmp_path / "t.parquet")}
    assert [kinds[name] for name in ("i", "f", "b", "s", "mixed", "long", "huge", "list")] == [
        "int64", "double", "bool", *["string"] * 5]
    assert rows[0]["long"] == str(many) and rows[0]["huge"] == str(2**70) and rows[0]["list"] == '["a", "\ufffd"]'
    assert rows[1]["i"] is None and len(notes) == 1 and "JSON, in 'list'" in notes[0]
    rows, notes, _ = write(tmp_path / "t.jsonl", {"list": ["a", {"b": float("nan")}], "huge": 2**70})
    assert rows[0]["list"] == ["a", {"b": None}] and rows[0]["huge"] == 2**70 and notes == []


def test_cells_are_no_formulas_unless_raw_is_set_and_numbers_stay_numbers(tmp_path: Path) -> None:
    cells = {"=a": "=1+1", "n": "-1.5", "m": "+4e-3", "k": "-7,5", "text": "-awful", "x": "\x1b[31m", "i": -3}
    rows, _, aside = write(tmp_path / "t.csv", cells)
    assert aside.formulas == 2 and rows[0].items() >= {
        "'=a": "'=1+1", "n": "-1.5", "m": "+4e-3", "k": "-7,5", "text": "'-awful", "x": "\\x1b[31m", "i": "-3"}.items()
    rows, _, _ = write(tmp_path / "t.csv", cells, raw=True)
    assert rows[0].items() >= {**cells, "i": "-3"}.items()
    rows, _, _ = write(tmp_path / "t.parquet", cells)
    assert rows[0].items() >= cells.items()


def test_an_interrupted_table_leaves_the_older_file(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.write_text("older")

    def rows() -> Any:
        yield "a", form().prediction("why"), {}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RowsAside(form(), Kept()).write(out, rows(), False)
    assert out.read_text() == "older" and [path.name for path in tmp_path.iterdir()] == ["t.csv"]


# Cells of the inputs


def cells_of(*sources: Path) -> tuple[list[tuple[str, dict[str, Any]]], Reading]:
    reading = Reading(TEXT, kept=Kept())
    return [(row.error.partition(":")[0], dict(row.cells)) for row in input_rows(reading, map(str, sources))], reading


def test_broken_rows_keep_their_place_and_the_cells_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,text\n1,good\n2,\n3,a,b\n4\n5,"x"y\n6,bad\n')
    found, reading = cells_of(tmp_path / "t.csv", tmp_path / "gone.csv")
    assert found == [("", {"id": "1", "text": "good"}), ("", {"id": "2", "text": ""}),
                     ("wrong number of cells", {}), ("wrong number of cells", {"id": "4", "text": None}),
                     ("broken quoting", {"id": "5", "text": 'x"y'}), ("", {"id": "6", "text": "bad"}),
                     ("no such file or folder", {})]
    assert reading.kept is not None and reading.kept.names == ["id", "text"]


def test_a_cell_that_cannot_be_read_is_missing_and_its_row_is_predicted(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"text": ["good", "bad"], "blob": [b"\xff\xfe", b"fine"], "n": [1, 2]}),
                                tmp_path / "t.parquet")
    found, _ = cells_of(tmp_path / "t.parquet")
    assert [error for error, _ in found] == ["", ""] and [cells["n"] for _, cells in found] == [1, 2]
    assert found[1][1]["blob"] == "fine"


def test_a_table_of_nothing_but_images_has_no_cells(tmp_path: Path, images: Path) -> None:
    blobs = [path.read_bytes() for path in sorted(images.rglob("*.png"))[:3]]
    pyarrow.parquet.write_table(pa.table({"image": blobs}), tmp_path / "t.parquet")
    reading = Reading(IMAGE, cache_dir=str(tmp_path / "cache"), kept=Kept())
    found = list(input_rows(reading, [str(tmp_path / "t.parquet")]))
    assert [(row.error, row.cells) for row in found] == [("", {})] * 3 and "not written" in reading.notes[-1]


def test_the_cells_are_not_read_where_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\n1,good\n")
    assert [row.cells for row in input_rows(Reading(TEXT), [str(tmp_path / "t.csv")])] == [{}]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_images_is_answered_row_by_row(ending: str, trained: Path, images: Path, tmp_path: Path) -> None:
    good = [str(path) for path in sorted(images.rglob("*.png"))[::14]]
    (tmp_path / "bad.png").write_bytes(b"no image")
    paths = [good[0], "", "gone.png", good[1], "bad.png", good[2]]
    table = tmp_path / "in.csv"
    table.write_text("id,path,label\n" + "".join(f"{i},{path},mine\n" for i, path in enumerate(paths)))
    out, model = tmp_path / f"out{ending}", tl.load(trained)
    expected = model.predict(good, probabilities=True, top=2)
    least = sorted(one.score for one in expected)[1]
    result = predict_inputs(model, [str(images / "red"), str(table), good[0]], out=str(out), top=2, probabilities=True,
                            min_score=least)
    rows = read(out)
    assert len(rows) == 14 + 6 + 1 == result.total and result.errors == 3
    assert [row["id"] or "" for row in rows] == [*[""] * 14, *map(str, range(6)), ""]
    assert [bool(row["error"]) for row in rows[14:20]] == [False, True, True, False, True, False]
    assert all(row["label"] == "mine" for row in rows[14:20]) and rows[19]["label_1"] == Path(good[2]).parent.name
    assert [float(rows[place]["p_red"]) for place in (14, 17, 19)] == pytest.approx(
        [(one.probabilities or {})["red"] for one in expected], abs=1e-6)
    assert [len(one.top) for one in expected] == [2, 2, 2]
    withheld = sum(not row["predicted_label"] and not row["error"] for row in rows)
    assert 0 < withheld == result.withheld == sum(one.withheld for one in result.predictions)
    assert any(note.startswith(f"{withheld} of the 21 images have no label") for note in result.notes)
    assert result.to_dict()["predictions"][0]["probabilities"].keys() == {"red", "green", "blue"}
