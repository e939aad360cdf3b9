"""Predictions for many inputs: each belongs to its input, whatever the batches and whichever of them is broken."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

import kerastl as tl
from kerastl.errors import DataError, OptionError
from kerastl.serving.batch import predict_inputs


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
    assert list(rows[0]) == ["input", "label", "score", "error"]
    assert rows[-1]["score"] is None and rows[-1]["input"] == str(bad) and rows[0]["score"] > 1 / 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="inputs are empty|no images"):
        predict_inputs(str(trained), [str(tmp_path / "empty")])
    with pytest.raises(OptionError, match="no folder"):
        predict_inputs(str(trained), [str(bad)], out=str(bad / "p.csv"))


def test_the_column_of_texts_is_that_of_training_unless_another_is_named(trained: Path, images: Path) -> None:
    model = tl.load(trained)  # of images, which refuses any column, by its name
    model.record = replace(model.record, config={**model.record.config, "text_column": "second"})
    for named, used in ((None, "second"), ("first", "first")):
        with pytest.raises(OptionError, match=f"`text_column` is {used}"):
            predict_inputs(model, [str(images)], text_column=named)
