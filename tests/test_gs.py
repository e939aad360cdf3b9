"""Data, models and outputs on a server on loopback that speaks Google Cloud Storage's protocol, through gcsfs.

The server ignores the condition that a file must not exist, so nothing is tested here of two writers at once.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from gcp_storage_emulator.server import create_server
from test_s3 import put, read_as_local_ones

import kerastl as tl
from kerastl.errors import DataError
from kerastl.files import objects, read_bytes, source_path
from kerastl.server.load import free_port

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new bucket, and a cache of its own."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "WAITS", (0.01, 0.01, 0.01))
    kind = fsspec.get_filesystem_class("gs")
    kind.clear_instance_cache()
    yield "gs://bucket"
    kind.clear_instance_cache()
    server.stop()


@pytest.mark.slow
def test_tables_folders_and_files_are_read_as_local_ones(bucket: str, tmp_path: Path) -> None:
    table = read_as_local_ones(bucket, tmp_path)
    before = objects.about(f"{bucket}/data/texts.csv")
    table.write_text("text,label\nchanged,a\n")
    objects.upload(table, f"{bucket}/data/texts.csv")
    assert objects.about(f"{bucket}/data/texts.csv") != before
    assert read_bytes(source_path(f"{bucket}/data/texts.csv")) == table.read_bytes()
    objects.remove(f"{bucket}/data/texts.csv")
    for url in (f"{bucket}/data/texts.csv", "gs://no-such-bucket/data"):
        with pytest.raises(DataError, match="no such"):
            source_path(url)


@pytest.mark.slow
def test_a_run_from_a_bucket_to_a_bucket_answers_as_a_local_one(
        bucket: str, images: Path, trained: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(images, f"{bucket}/images")
    code, _, err = shell("run", "tiny_images", "--data", f"{bucket}/images", "--name", "tiny", "--out",
                         f"{bucket}/models", "--weights", "none", "--tflite", "none", "--json")
    assert code == 0, err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    there, here = tl.load(f"{bucket}/models/tiny"), tl.load(trained)
    assert there.record.data == f"{bucket}/images"
    inputs = sorted(map(str, images.rglob("*.png")))
    assert np.abs(there.probabilities(there.contents(inputs)) - here.probabilities(here.contents(inputs))).max() < 1e-5
    code, out, err = shell("predict", f"{bucket}/models/tiny", f"{bucket}/images", "--out", f"{bucket}/p.csv", "--json")
    assert code == 0 and json.loads(out)["model"] == f"{bucket}/models/tiny/1", err
    assert len(read_bytes(source_path(f"{bucket}/p.csv")).splitlines()) == len(inputs) + 1
    code, out, err = shell("verify", f"{bucket}/models/tiny/1", "--json")
    assert code == 0, err
