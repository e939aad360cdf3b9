"""A version's data again: the same rows in the same parts, the model's classes in its order, and what is skipped."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from numpy.typing import NDArray
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import PARTS, TEST, TRAIN, VALIDATION, Skipped, Split
from kerastl.errors import DataError, KerastlError, ModelError
from kerastl.export.verify import verify
from kerastl.files import file_sha256
from kerastl.serving.evaluate_model import evaluate_model
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import as_the_model_knows, read_split, restore_examples, write_split

GOLDEN = Path(__file__).parent / "golden"


def record_of(name: str, **changed: object) -> RunRecord:
    """The record of a version 0.1, changed."""
    return replace(RunRecord.from_dict(json.loads((GOLDEN / f"run-0.1-{name}.json").read_text())), **changed)


def text_table(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    path.write_text("text,body,label,kind\n" + "".join(f"{name},{body},no label,{kind}\n" for name, body, kind in rows))
    return path


def test_names_in_the_split_file_are_no_formulas_and_its_rows_are_read_as_they_were(tmp_path: Path) -> None:
    names = ("=1+1.png", "+a", "-b", "@c", "\td", "e\x1b[31m", "f,\"g\"\nh", "plain")
    examples = replace(in_folds(made_examples(np.arange(40) % 2)), origins=(*names, *(f"row {i}" for i in range(32))))
    write_split(tmp_path, examples)
    with open(tmp_path / "split.csv", newline="") as file:
        written = {row["id"]: row["name"] for row in csv.DictReader(file)}
    assert [written[content] for content in examples.ids[:8]] == [
        "'=1+1.png", "'+a", "'-b", "'@c", "'\td", "e\\x1b[31m", "f,\"g\"\nh", "plain"]
    assert examples.split is not None
    assert read_split(tmp_path) == dict(zip(examples.ids, examples.split.names, strict=True))


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_the_rows_of_a_version_come_back_in_their_parts_wherever_the_data_are_now(mode: str, tmp_path: Path) -> None:
    rows = [(f"row {i}", f"text number {i}", "cab"[i % 3]) for i in range(30)]
    first = text_table(tmp_path / "first.csv", rows)
    columns = {"text_column": "body", "label_column": "kind"}
    read = tl.read_texts(first, **columns)
    examples = in_folds(read) if mode == "cv" else replace(read, split=held_out(30))
    assert examples.split is not None
    write_split(tmp_path, examples)
    ids = [line.partition(",")[0] for line in (tmp_path / "split.csv").read_text().splitlines()[1:]]
    assert ids == sorted(examples.ids)  # the same file, in whatever order the rows were read
    record = record_of("text", task_name="single_label", classes=("c", "b", "a"), split=mode,
                       config={"data": str(first), **columns})
    # The data have moved, in another order and with new rows, one of them of a class that is new.
    moved = text_table(tmp_path / "moved.csv", [("x", "a new text", "a"), *rows[::-1], ("y", "another", "d")])
    first.unlink()
    with pytest.raises(DataError, match="first.csv"):
        restore_examples(tmp_path, record)
    restored = restore_examples(tmp_path, record, data=str(moved))
    assert restored.classes == ("c", "b", "a") and restored.split is not None and restored.split.mode == mode
    part_of = dict(zip(examples.ids, examples.split.part.tolist(), strict=True))
    label_of = {content: examples.label_of(row) for row, content in enumerate(examples.ids)}
    assert sorted(restored.ids) == sorted(part_of)
    assert restored.split.part.tolist() == [part_of[content] for content in restored.ids]
    assert [restored.label_of(row) for row in range(30)] == [label_of[content] for content in restored.ids]
    with pytest.raises(DataError, match="holds none of the 30 rows"):
        restore_examples(tmp_path, record, data=str(text_table(tmp_path / "other.csv", [
            ("x", "nothing", "a"), ("y", "of this", "b"), ("z", "was there", "c")])))


def test_classes_are_those_of_the_model_in_its_order_and_others_are_listed() -> None:
    examples = made_examples(np.array([0, 1, 2, 1]), classes=("a", "b", "new"))
    examples = replace(examples, skipped=(Skipped("x", "torn"),))
    known = as_the_model_knows(examples, record_of("image", classes=("z", "b", "a")))
    assert known.classes == ("z", "b", "a") and known.targets.tolist() == [2, 1, 1]
    assert known.origins == ("row 0", "row 1", "row 3")
    assert known.skipped == (Skipped("x", "torn"), Skipped("new", "the model has no such class"))
    with pytest.raises(DataError, match="knows none of the classes"):
        as_the_model_knows(examples, record_of("image", classes=("y", "z")))
    with pytest.raises(DataError, match="several labels per row"):
        as_the_model_knows(made_examples(np.eye(3, dtype=np.int64)), record_of("image"))


def test_with_several_labels_a_row_of_unknown_ones_is_an_example_of_none() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0]])
    examples = made_examples(targets, classes=("a", "b", "new"))
    record = record_of("text", task_name="multi_label", classes=("z", "b", "a"))
    assert as_the_model_knows(examples, record).targets.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(DataError, match="knows none of the classes"):
        as_the_model_knows(examples, replace(record, classes=("y", "z")))


def test_a_damaged_split_file_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("identity,part\n1,train\n")
    with pytest.raises(ModelError, match="split.csv cannot be read"):
        read_split(tmp_path)


def with_split(trained: Path, images: Path, folder: Path, part: NDArray[np.int8]) -> Path:
    """A copy of the version as if it had been trained with a hold-out of these parts, with a manifest that fits."""
    shutil.copytree(trained, folder)
    examples = replace(tl.read_images(str(images)), split=Split("holdout", "a test's own", part))
    write_split(folder, examples)
    run = json.loads((folder / "run.json").read_text()) | {"split": "holdout"}
    run["config"]["data"] = str(images)
    (folder / "run.json").write_text(json.dumps(run))
    fit_manifest(folder)
    return folder


def fit_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {name: file_sha256(folder / name) for name in ("split.csv", "run.json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow
def test_verify_compares_every_format_on_held_out_rows_alone(trained: Path, images: Path, tmp_path: Path) -> None:
    part = np.where(np.arange(42) % 6 == 0, TEST, np.where(np.arange(42) % 6 == 1, VALIDATION, TRAIN)).astype(np.int8)
    folder = with_split(trained, images, tmp_path / "1", part)
    result = verify(str(folder), cache_dir=str(tmp_path / "cache"))
    assert result.rows == 7 and {artifact.rows for artifact in result.parity} == {7} and not result.failed
    assert [artifact.kind for artifact in result.parity] == [
        "saved_model", *sorted(path.stem.removeprefix("model_") for path in (folder / "tflite").glob("*.tflite"))]
    assert len(result.parity) >= 4 and result.files == len([path for path in folder.rglob("*") if path.is_file()]) - 1
    with pytest.raises(DataError, match="no such file or folder"):
        verify(str(folder), data=str(tmp_path / "elsewhere"), cache_dir=str(tmp_path / "cache"))


@pytest.mark.slow
def test_rows_that_were_trained_on_are_counted_without_test_rows_new_ones_and_unreadable_ones(
        trained: Path, images: Path, tmp_path: Path) -> None:
    part = np.where(np.arange(42) % 2 == 0, TEST, np.where(np.arange(42) % 6 == 1, VALIDATION, TRAIN)).astype(np.int8)
    assert set(part.tolist()) == set(PARTS.values())
    folder = with_split(trained, images, tmp_path / "1", part)
    data = shutil.copytree(images, tmp_path / "data")
    draw_folder(tmp_path / "new", 2, seed=777)
    shutil.copy(tmp_path / "new/red/0.png", data / "red/new.png")
    (data / "blue/0000.png").write_bytes(b"\x89PNG\r\n\x1a\n")  # before others, so that places and rows differ
    lines = (folder / "split.csv").read_text()
    read = tl.read_images(str(data))
    broken = dict(zip(read.origins, read.ids, strict=True))["blue/0000.png"]
    (folder / "split.csv").write_text(lines + f"{broken},train,blue/0000.png\n")
    model = tl.load(folder)
    with pytest.raises(ModelError, match=r"changed since it was written: split\.csv"):
        evaluate_model(model, str(data))
    fit_manifest(folder)
    result = evaluate_model(model, str(data))
    assert result.trained_on == 21 and result.test.n == 43
    assert [item.origin for item in result.skipped] == ["blue/0000.png"]
    assert result.test.accuracy == 1.0  # colours are easy, so every row has its own prediction
    several = tmp_path / "t.csv"
    several.write_text("path,label\n" + "".join(f"{path},{path.parent.name}|red\n" for path in images.rglob("*.png")))
    model.record = replace(model.record, task_name="multi_label", thresholds=(0.0, 0.0, 0.0))
    assert evaluate_model(model, str(several)).test.accuracy == 0.0  # every label reaches a threshold of 0
    model.record = replace(model.record, thresholds=(0.5, 0.5, 0.5))
    assert evaluate_model(model, str(several)).test.accuracy == pytest.approx(1 / 3)  # the softmax names one label


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["text_column", "label_column"])
def test_columns_are_those_of_training_unless_others_are_named(argument: str, trained: Path, images: Path,
                                                               tmp_path: Path) -> None:
    model = tl.load(trained)  # of images, which refuses both columns, by their names
    model.record = replace(model.record, config={**model.record.config, argument: "second"})
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in images.rglob("*.png")))
    for named, used in ((None, "second"), ("first", "first")):
        with pytest.raises(KerastlError, match=f"`{argument}` is '?{used}"):
            evaluate_model(model, str(table), **({} if named is None else {argument: named}))
    assert evaluate_model(model, str(images)).test.n == 42  # a folder has no columns
