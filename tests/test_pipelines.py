"""The pipelines: every argument reaches its step, which the run record or the refusal of a wrong value shows."""

from pathlib import Path
from typing import Any

import pytest
from image_files import jpeg
from PIL import Image
from text_folders import hugging_face_folder

import kerastl as tl


@pytest.mark.slow
def test_every_argument_of_images_reaches_its_step(images: Path, tmp_path: Path) -> None:
    record = tl.classify_images(images, name="m", out=tmp_path / "out", backbone="tiny_net", weights="none",
                                layer="block1", head="mlp:learning_rate=1e-06", search=2, limit=36, epochs=3,
                                tflite="none",
                                seed=7, precision="float32", xla="off", cache_dir=tmp_path / "cache")
    assert Path(record.path) == tmp_path / "out/m/1" and record.data == str(images)
    assert record.feature_layer == "block1" and record.seed == 7 and record.random_weights
    assert sum(record.counts.values()) == record.n_train + record.n_validation + record.n_test == 36
    assert record.split == "holdout" and "search" in record.split_reason
    assert record.search[0].head == "mlp:learning_rate=1e-06" and len(record.search) == 2
    assert record.head == min(record.search, key=lambda trial: trial.log_loss or 0.0).head
    assert [artifact.kind for artifact in record.parity] == ["saved_model"] and record.fine_tuning is None
    assert record.config["epochs"] == 3 and record.config["out"] == str(tmp_path / "out")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"min_per_class": 100}, "100"), ({"tflite": "int4"}, "int4"), ({"label_smoothing": 3.0}, "`label_smoothing`"),
    pytest.param({"unfreeze": 9}, "`unfreeze`", marks=pytest.mark.slow), ({"schedule": "no_such"}, "no_such"),
    ({"layer": "no_such"}, "no_such"), ({"split": "no_such"}, "no_such"), ({"head": "no_such"}, "no_such"),
    ({"precision": "float8"}, "float8"), ({"backbone": "no_such"}, "no_such")])
def test_a_wrong_value_is_refused_by_the_step_that_takes_it(arguments: dict[str, Any], message: str, images: Path,
                                                            tmp_path: Path) -> None:
    settings = {"backbone": "tiny_net", "weights": "none", "cache_dir": tmp_path / "cache", **arguments}
    with pytest.raises(tl.KerastlError, match=message):
        tl.classify_images(images, name="m", out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as transformers saves it."""
    return hugging_face_folder(tmp_path_factory.mktemp("bert") / "bert", "bert", variant="head")


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "message"), [
    ({"text_column": "no_such"}, "no_such"), ({"label_column": "no_such"}, "no_such"), ({"long": "no_such"}, "`long`"),
    ({"pooling": "none"}, "`pooling`"), ({"max_length": 4}, "`max_length` must be from 8"),
    ({"min_per_class": 100}, "100"),
    ({"text_column": "title,body", "long": "chunks"}, "pairs of texts")])
def test_a_wrong_value_for_texts_is_refused_by_the_step_that_takes_it(arguments: dict[str, Any], message: str,
                                                                      bert: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("title,body,kind\n" + "".join(f"title {i},a text {i},{'ab'[i % 2]}\n" for i in range(40)))
    settings = {"text_column": "body", "label_column": "kind", **arguments}
    with pytest.raises(tl.KerastlError, match=message):
        tl.classify_texts(table, name="m", out=tmp_path / "out", backbone="bert_base", weights=str(bert),
                          cache_dir=tmp_path / "cache", **settings)
    assert not (tmp_path / "out").exists()


def test_all_options_that_cannot_be_used_are_named_at_once_whether_or_not_anything_is_unfrozen(tmp_path: Path) -> None:
    with pytest.raises(tl.OptionError) as refused:
        tl.classify_images(tmp_path / "no data", name="m", out=tmp_path, unfreeze=0, epochs=0, learning_rate=-1.0,
                           layer_decay=2.0, average_epochs=0)
    assert [line.split("`")[1] for line in str(refused.value).splitlines()] == [
        "epochs", "learning_rate", "layer_decay", "average_epochs"]


@pytest.mark.slow
def test_truncated_files_are_accepted_in_training_and_in_what_is_exported_where_that_is_requested(
        images: Path, tmp_path: Path) -> None:
    data, cut = tmp_path / "d", list[bytes]()
    for folder in sorted(images.iterdir()):
        for place, path in enumerate(sorted(folder.iterdir())):
            content = jpeg(Image.open(path))
            content = content[:len(content) * 4 // 5] if place < 2 else content
            cut += [content] * (place < 2)
            (data / folder.name).mkdir(parents=True, exist_ok=True)
            (data / folder.name / f"{place}.jpg").write_bytes(content)
    settings: Any = {"backbone": "tiny_net", "weights": "none", "tflite": "none", "out": tmp_path / "models",
                     "cache_dir": tmp_path / "cache"}
    strict = tl.classify_images(data, name="strict", **settings)
    accepting = tl.classify_images(data, name="accepting", accept_truncated=True, **settings)
    again = tl.classify_images(data, name="again", **settings)  # the features of the truncated files are cached by now
    assert [sum(record.counts.values()) for record in (strict, accepting, again)] == [36, 42, 36]
    assert "accept_truncated" not in strict.input and accepting.input["accept_truncated"]
    refused, accepted = (tl.load(record.path) for record in (strict, accepting))
    assert all("damaged or incomplete" in prediction.error for prediction in refused.predict_each(cut))
    whole = next((data / "blue").glob("5.jpg"))
    for prediction in accepted.predict([*cut, whole]):
        assert prediction.label in ("blue", "green", "red")
    assert not tl.verify(accepting.path).failed
    with pytest.raises(tl.KerastlError, match="`accept_truncated` is set, but the backbone bert_base is for texts"):
        tl.load_backbone("bert_base", "none", accept_truncated=True)
