"""TFDS data sets: prepared ones are read, known ones are prepared, the rest is told; the network is never asked."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import prepare_tfds

from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples
from kerastl.data.images import read_images
from kerastl.data.texts import read_texts, read_unlabelled
from kerastl.errors import DataError, OptionError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the network fails the test."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("asked for the network"))


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Examples]:
    """Reads `tfds:...` from a folder of prepared data sets."""
    prepare_tfds(tmp_path / "data", "tiny_sides", {"train": 20, "validation": 4, "test": 6, "unlabelled": 2})
    prepare_tfds(tmp_path / "data", "tiny_whole", {"everything": 24})
    prepare_tfds(tmp_path / "data", "tiny_other", {"train": 2}, column="species")
    return lambda source: read_images(source, data_dir=f"{tmp_path}/data", cache_dir=tmp_path, min_per_class=1)


@pytest.mark.slow
def test_a_tfds_data_set_is_rows_with_its_own_sides(prepared: Callable[..., Examples]) -> None:
    found = prepared("tfds:tiny_sides")
    assert found.source_split == ("train",) * 20 + ("validation",) * 4 + ("test",) * 6
    assert found.classes == ("blue", "red") and found.label_of(0) == "red" and found.label_of(21) == "blue"
    assert found.origins[0] == "train/0" and found.origins[-1] == "test/5"
    assert {Path(item).read_bytes()[1:4] for item in found.items} == {b"PNG"}
    assert prepared("tfds:tiny_sides").items == found.items  # from what was unpacked


@pytest.mark.slow
@pytest.mark.parametrize(("source", "n"), [("tiny_whole", 24), ("tiny_sides:test", 6), ("tiny_sides:train[:9]", 9)])
def test_one_tfds_split_is_not_a_users_split(source: str, n: int, prepared: Callable[..., Examples]) -> None:
    found = prepared(f"tfds:{source}")
    assert len(found) == n and not any(found.source_split)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "kind", "words"), [
    ("tfds:", OptionError, "tfds:NAME"), ("tfds::test", OptionError, "tfds:NAME"),
    ("tfds:no_such_name", DataError, "no_such_name not found"), ("tfds:Bad Name", DataError, "Bad Name"),
    ("tfds:tiny_sides/9.9.9", DataError, "tiny_sides/9.9.9"),
    ("tfds:tiny_sides:holdout", DataError, "one of train, validation, test, unlabelled"),
    ("tfds:tiny_sides:train[:x]", DataError, "train[:x]"), ("tfds:tiny_other", DataError, "image, species"),
])
def test_a_tfds_source_that_cannot_be_is_told(source: str, kind: type[Exception], words: str,
                                              prepared: Callable[..., Examples]) -> None:
    with pytest.raises(kind) as raised:
        prepared(source)
    assert words in str(raised.value)


def test_a_tfds_data_set_that_is_only_known_is_prepared(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    class KnownImages(tfds.core.GeneratorBasedBuilder):  # known by its name from here on
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["red", "blue"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for i in range(20):
                yield i, {"image": np.full((8, 8, 3), 10 * i, np.uint8), "label": i % 2}

    found = read_images("tfds:known_images", data_dir=str(tmp_path / "data"), cache_dir=tmp_path / "cache")
    assert found.counts() == {"blue": 10, "red": 10} and len(set(found.ids)) == 20


def test_what_a_data_set_of_tfds_itself_would_download_is_known(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    assert tfds.builder("tf_flowers", data_dir=tmp_path).url_infos


# Texts


def prepare_texts(data_dir: Path, name: str, features: Callable[[Any], dict[str, Any]],
                  splits: dict[str, list[dict[str, Any]]]) -> None:
    """A data set of texts as TFDS leaves it when prepared. features: made of `tensorflow_datasets.features`."""
    import tensorflow_datasets as tfds

    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    who = tfds.core.dataset_info.DatasetIdentity(name, tfds.core.Version("1.0.0"), str(folder), module_name="made")
    spec = tfds.features.FeaturesDict(features(tfds.features))
    writer = tfds.core.SequentialWriter(tfds.core.DatasetInfo(builder=who, features=spec), 100)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()


@pytest.mark.slow
def test_a_tfds_data_set_of_texts_is_read_straight(tmp_path: Path) -> None:
    def rows(n: int, part: str) -> list[dict[str, Any]]:
        return [{"text": f"{part} {i} é", "label": -1 if part == "test" else i % 2, "idx": i} for i in range(n)]

    prepare_texts(tmp_path / "data", "tiny_texts",
                  lambda f: {"text": f.Text(), "label": f.ClassLabel(names=["neg", "pos"]), "idx": f.Scalar(np.int32)},
                  {"train": rows(20, "train") + [{"text": b"caf\xe9", "label": 1, "idx": 7}], "test": rows(3, "test"),
                   "unsupervised": rows(4, "unsupervised")})
    source, data_dir = "tfds:tiny_texts", str(tmp_path / "data")
    assert modality_of(source, data_dir=data_dir).name == "text"
    found = read_texts(source, data_dir=data_dir, cache_dir=tmp_path / "cache")
    assert list(found.items) == [f"train {i} é" for i in range(20)] and found.classes == ("neg", "pos")
    assert found.source_split == ("train",) * 20 and found.origins[3] == "train/3" and found.label_of(3) == "pos"
    assert {one.origin: one.reason.partition(":")[0] for one in found.skipped} == {
        "train/20": "not UTF-8", "test/0": "no label", "test/1": "no label", "test/2": "no label"}
    assert not list((tmp_path / "cache").glob("*"))
    part = read_texts(f"{source}:train[:8]", min_per_class=1, data_dir=data_dir)
    assert len(part) == 8 and not any(part.source_split)
    every = read_unlabelled(source, data_dir=data_dir)
    assert len(every) == 23 and every.source_split[-3:] == ("test",) * 3
    with pytest.raises(DataError, match="is 'txt'(.|\n)*did you mean 'text'"):
        read_texts(source, text_column="txt", data_dir=data_dir)
    with pytest.raises(DataError, match="one of train, test, unsupervised"):
        read_texts(f"{source}:holdout", data_dir=data_dir)
    with pytest.raises(DataError, match="has features idx, label, text"):
        read_images(source, data_dir=data_dir, cache_dir=tmp_path)


def test_a_tfds_data_set_of_pairs_with_several_labels(tmp_path: Path) -> None:
    rows = [{"premise": f"a {i}", "hypothesis": f"b {i}", "labels": [["x"], ["x", "y"], []][i % 3]} for i in range(30)]
    prepare_texts(tmp_path / "data", "tiny_pairs",
                  lambda f: {"premise": f.Text(), "hypothesis": f.Text(), "image": f.Image(shape=(None, None, 3)),
                             "labels": f.Sequence(f.ClassLabel(names=["x", "y"]))},
                  {"train": [{**row, "image": np.zeros((2, 2, 3), np.uint8)} for row in rows]})
    assert modality_of("tfds:tiny_pairs", data_dir=str(tmp_path / "data")).name == "text"
    found = read_texts("tfds:tiny_pairs", data_dir=str(tmp_path / "data"))
    assert list(found.items) == [(f"a {i}", f"b {i}") for i in range(30)] and not found.task.exclusive
    assert [found.label_of(row) for row in range(3)] == ["x", "x|y", ""] and not any(found.source_split)


def test_images_given_to_the_reader_of_texts_are_told(tmp_path: Path) -> None:
    prepare_tfds(tmp_path / "data", "tiny_images", {"train": 4})
    source, data_dir = "tfds:tiny_images", str(tmp_path / "data")
    assert modality_of(source, data_dir=data_dir).name == "image"
    with pytest.raises(DataError, match="contains images, not texts"):
        read_texts(source, data_dir=data_dir)
