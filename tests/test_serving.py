"""Predictions for many inputs: each belongs to its input, whatever the batches and whichever of them is broken."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow as tf

import kerastl as tl
from kerastl.data.prediction_inputs import Reading, input_rows
from kerastl.errors import CheckFailed, DataError, OptionError
from kerastl.features.table import write_features
from kerastl.modality import IMAGE
from kerastl.serving import tables
from kerastl.serving.batch import predict_inputs
from kerastl.serving.engine import CheckedEngine


@pytest.mark.slow
def test_each_prediction_belongs_to_its_input_across_batches_also_beside_broken_ones(trained: Path, images: Path
                                                                                     ) -> None:
    model = tl.load(trained)
    paths = [sorted(images.rglob("*.png"))[i * 11 % 42] for i in range(70)]  # three batches, classes mixed
    alone = {path: model.predict([path])[0] for path in set(paths)}
    predictions = model.predict(paths)
    assert [one.label for one in predictions] == [path.parent.name for path in paths]
    assert [one.score for one in predictions] == pytest.approx([alone[path].score for path in paths], abs=1e-5)
    probabilities = model.probabilities(model.contents(paths))  # more rows than one call of the SavedModel takes
    assert [model.classes[row.argmax()] for row in probabilities] == [one.label for one in predictions]
    for one in predictions:
        scores = [score for _, score in one.top]
        assert one.top[0] == (one.label, one.score) and scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)
    mixed = [*paths[:40], b"no image", images / "missing.png", *paths[40:]]
    found = model.predict_each(mixed)
    assert [i for i, one in enumerate(found) if one.error] == [40, 41]
    assert str(images / "missing.png") in found[41].error and found[40].error.startswith("not an image in a supported")
    assert [one.label for one in found if not one.error] == [one.label for one in predictions]


@pytest.mark.slow
def test_lines_are_paths_and_every_column_of_a_table_is_written(trained: Path, images: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.png", tmp_path / "p.parquet"
    bad.write_bytes(b"no image")
    result = predict_inputs(str(trained), ["-"], lines=[str(images / "red"), str(bad)], out=str(out))
    assert len(result.predictions) == 15 and result.errors == 1
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [tuple(row.values()) for row in rows] == result.rows()
    assert list(rows[0]) == ["input", "label", "score", "error", "unknown_score"]
    assert rows[-1]["score"] is None and rows[-1]["input"] == str(bad) and rows[0]["score"] > 1 / 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="inputs are empty|no images"):
        predict_inputs(str(trained), [str(tmp_path / "empty")])
    with pytest.raises(OptionError, match="no folder"):
        predict_inputs(str(trained), [str(bad)], out=str(bad / "p.csv"))


@pytest.mark.slow
def test_the_column_of_texts_is_that_of_training_unless_another_is_named(trained: Path, images: Path) -> None:
    model = tl.load(trained)  # of images, which refuses any column, by its name
    model.record = replace(model.record, config={**model.record.config, "text_column": "second"})
    for named, used in ((None, "second"), ("first", "first")):
        with pytest.raises(OptionError, match=f"`text_column` is {used}"):
            predict_inputs(model, [str(images)], text_column=named)


# Many inputs


@pytest.mark.slow
def test_the_answers_of_a_stream_are_those_of_serving_default_to_the_bit(trained: Path, images: Path) -> None:
    model = tl.load(trained)
    paths = [sorted(images.rglob("*.png"))[i * 11 % 42] for i in range(96)]
    rows = list(model.rows(paths))
    expected = model.probabilities(model.contents(paths))
    assert np.array_equal(np.stack([row["probabilities"] for row in rows]), expected)
    assert [one.score for one in model.stream(iter(paths))] == [float(row.max()) for row in expected]


@pytest.mark.slow
def test_a_batch_with_broken_files_is_halved_and_the_others_are_computed_once(trained: Path, images: Path) -> None:
    model = tl.load(trained)
    contents = [path.read_bytes() for path in sorted(images.rglob("*.png"))[:32]]
    whole = [one.label for one in model.predict(contents)]
    for bad in ([5], [0, 31], [7, 8, 9], [*range(32)]):
        mixed = [b"no image" if place in bad else content for place, content in enumerate(contents)]
        found = model.predict_each(mixed)
        assert [place for place, one in enumerate(found) if one.error] == bad
        assert [one.label for one in found if not one.error] == [one for i, one in enumerate(whole) if i not in bad]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_predictions_that_are_not_kept_are_in_the_table(ending: str, trained: Path, images: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 10)
    (tmp_path / "bad.png").write_bytes(b"no image")
    inputs = [str(images), str(tmp_path / "none.png"), str(tmp_path / "bad.png")]
    kept = predict_inputs(str(trained), inputs, out=str(tmp_path / f"a{ending}"))
    result = predict_inputs(str(trained), inputs, out=str(tmp_path / f"b{ending}"), keep=False)
    assert (result.inputs, result.predictions, result.total, result.errors) == ((), (), 44, 2)
    assert result.first_error == kept.first_error and "none.png" in result.first_error
    if ending == ".csv":
        assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
        with open(tmp_path / "b.csv", newline="") as file:
            read = [tuple(row.values()) for row in csv.DictReader(file)]
        assert read == [(name, label, "" if score is None else str(score), error, "" if unknown is None else
                         str(unknown)) for name, label, score, error, unknown in kept.rows()]
    else:
        file = pyarrow.parquet.ParquetFile(tmp_path / "b.parquet")
        assert [tuple(row.values()) for row in file.read().to_pylist()] == kept.rows()
        assert file.num_row_groups == 5


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    out.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), tables.table_writer(out, tables.PLAIN) as add:
        add(("a", "b", 0.5, "", None))
        raise KeyboardInterrupt
    assert out.read_bytes() == b"older" and [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_of_inputs_is_not_replaced_by_the_output(tmp_path: Path) -> None:
    table = str(tmp_path / "t.parquet")
    Path(table).write_bytes(b"the user's data")
    with pytest.raises(OptionError, match="which is an input"):
        predict_inputs("no model", ["a text", table], out=table)
    with pytest.raises(OptionError, match="which is an input"):
        write_features(table, table)


def test_how_many_rows_there_are_is_known_of_folders_and_files_not_of_tables(images: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path\n{next(images.rglob('*.png'))}\n")
    for inputs, expected in (([str(images), "x.png"], 43), ([str(images), str(tmp_path / "t.csv")], None)):
        reading = Reading(IMAGE)
        rows = list(input_rows(reading, inputs))
        assert reading.expected == expected and len(rows) == 43


# Engines


@pytest.mark.slow
def test_openvino_agrees_with_the_savedmodel_and_the_difference_is_said(trained: Path, images: Path, tmp_path: Path
                                                                        ) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "bad.png").write_bytes(b"no image")
    inputs = [*map(str, sorted(images.rglob("*.png"))), str(tmp_path / "bad.png")] * 8  # more than are checked
    plain, quick = (predict_inputs(str(trained), inputs, engine=name) for name in ("saved_model", "openvino"))
    assert (plain.engine, quick.engine, plain.notes) == ("saved_model", "openvino", ())
    assert "computed with OpenVINO" in quick.notes[-1] and "at most" in quick.notes[-1]
    assert [one.error for one in quick.predictions] == [one.error for one in plain.predictions]
    for one, other in zip(quick.predictions, plain.predictions, strict=True):
        assert one.label == other.label and one.score == pytest.approx(other.score, abs=1e-3)
    assert predict_inputs(str(trained), inputs[:40], engine="auto").engine == "saved_model"  # too few to compare
    with pytest.raises(OptionError, match="unknown engine"):
        predict_inputs(str(trained), inputs, engine="onnx")


@pytest.mark.slow
def test_an_engine_that_is_wrong_or_slow_is_an_error_or_replaced(trained: Path, images: Path) -> None:
    model = tl.load(trained)
    contents = [path.read_bytes() for path in sorted(images.rglob("*.png"))[:32]]

    def right(values, owners, times=1.0):
        found = {name: value.numpy() for name, value in model.tensor(images=tf.constant(values)).items()}
        return found | {"logits": np.float32(times) * found["logits"]}

    def wrong(values, owners):
        return right(values, owners, -1.0)

    def slow(values, owners):
        time.sleep(0.2)
        return right(values, owners)

    expected = [row["label"] for row in model.answer(contents)]
    with pytest.raises(CheckFailed, match="differ from the SavedModel"):
        CheckedEngine(model, wrong, compare=False).answer(contents)
    for logits_of, why in ((wrong, "differ"), (slow, "as fast"), (lambda v, o: right(v, o, np.nan), "nan")):
        engine = CheckedEngine(model, logits_of, compare=True)
        for _ in range(9):
            assert [row["label"] for row in engine.answer(contents)] == expected
        assert not engine.in_use and why in engine.notes()[0] and "computed with the SavedModel" in engine.notes()[0]
    engine = CheckedEngine(model, lambda v, o: right(v, o, 0.9), compare=False)
    (mine, *_), (theirs, *_) = engine.answer(contents), model.answer(contents)
    assert 0 < abs(mine["score"] - theirs["score"]) < 1e-3 and engine.chosen  # few inputs, but by the named engine
    engine = CheckedEngine(model, lambda v, o: right(v, o, 0.9), compare=True)
    (mine, *_) = engine.answer(contents)
    assert mine["score"] == theirs["score"] and not engine.chosen and "only 32 inputs have" in engine.notes()[0]
    engine = CheckedEngine(model, right, compare=False)
    rows = [engine.answer(contents) for _ in range(9)][-1]
    assert engine.rows == 256 and engine.largest == 0  # and the decoder is that of the graph
    assert [row["top_scores"].tolist() for row in rows] == [row["top_scores"].tolist() for row in
                                                            model.answer(contents)]
