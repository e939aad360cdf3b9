"""TFDS data sets: prepared ones are read, known ones are prepared, the rest is told; the network is never asked."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import prepare_tfds

from kerastl.data.examples import Examples
from kerastl.data.sources import read_images
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


def test_a_tfds_data_set_is_rows_with_its_own_sides(prepared: Callable[..., Examples]) -> None:
    found = prepared("tfds:tiny_sides")
    assert found.given == ("train",) * 20 + ("validation",) * 4 + ("test",) * 6
    assert found.classes == ("blue", "red") and found.label_of(0) == "red" and found.label_of(21) == "blue"
    assert found.origins[0] == "train/0" and found.origins[-1] == "test/5"
    assert {Path(item).read_bytes()[1:4] for item in found.items} == {b"PNG"}
    assert prepared("tfds:tiny_sides").items == found.items  # from what was unpacked


@pytest.mark.parametrize(("source", "n"), [("tiny_whole", 24), ("tiny_sides:test", 6), ("tiny_sides:train[:9]", 9)])
def test_one_tfds_split_is_not_a_users_split(source: str, n: int, prepared: Callable[..., Examples]) -> None:
    found = prepared(f"tfds:{source}")
    assert len(found) == n and not any(found.given)


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

    class KnownPictures(tfds.core.GeneratorBasedBuilder):  # known by its name from here on
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["red", "blue"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for i in range(20):
                yield i, {"image": np.full((8, 8, 3), 10 * i, np.uint8), "label": i % 2}

    found = read_images("tfds:known_pictures", data_dir=str(tmp_path / "data"), cache_dir=tmp_path / "cache")
    assert found.counts() == {"blue": 10, "red": 10} and len(set(found.ids)) == 20


def test_what_a_data_set_of_tfds_itself_would_download_is_known(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    assert tfds.builder("tf_flowers", data_dir=tmp_path).url_infos
