"""Data, models and outputs on a real S3 server on loopback, through s3fs."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from tensorflow_serving.config import model_server_config_pb2
from test_text_models import made_texts, trained_on, write_table
from text_folders import hugging_face_folder
from werkzeug.serving import make_server

import kerastl as tl
from kerastl.data.texts import read_labelled
from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.files import model_path, objects, read_bytes, source_path, store
from kerastl.server.capacity import _one_model
from kerastl.server.config import models_of, read_models
from kerastl.server.metrics import Metrics
from kerastl.server.models import Models
from kerastl.server.serve import models_at
from kerastl.serving.shard_rows import _file as file_as_listed

Shell = Callable[..., tuple[int, str, str]]


@dataclass
class Server:
    """An S3 server. failing: how many of the next requests for the content of a file fail. requests: how many came."""

    address: str = ""
    failing: int = 0
    requests: int = 0
    application: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        self.requests += 1
        if environ["REQUEST_METHOD"] == "GET" and "list-type" not in environ["QUERY_STRING"] and self.failing:
            self.failing -= 1
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        return self.application(environ, start)


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    listening = make_server("127.0.0.1", 0, server, threaded=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    server.address = f"http://127.0.0.1:{listening.port}"
    yield server
    listening.shutdown()
    thread.join()


@pytest.fixture
def bucket(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a new bucket, and a cache of its own."""
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": s3.address,
                        "AWS_DEFAULT_REGION": "us-east-1", "XDG_CACHE_HOME": str(tmp_path / "cache"),
                        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_EC2_METADATA_DISABLED": "true",
                        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "WAITS", (0.01, 0.01, 0.01))
    S3FileSystem.clear_instance_cache()
    name = f"bucket-{abs(hash(str(tmp_path))):x}"
    S3FileSystem().call_s3("create_bucket", Bucket=name)
    yield f"s3://{name}"
    S3FileSystem.clear_instance_cache()


def put(folder: Path, url: str) -> str:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        objects.upload(path, f"{url}/{path.relative_to(folder)}")
    return url


def read_as_local_ones(bucket: str, tmp_path: Path) -> Path:
    """Check a table and a folder of texts in a bucket against the local ones. Returns the local table."""
    table = write_table(tmp_path / "texts.csv", ("text", "label"), made_texts(20))
    objects.upload(table, f"{bucket}/data/texts.csv")
    for n, (text, label) in enumerate(made_texts(12)):
        path = tmp_path / "folder" / label / f"{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    put(tmp_path / "folder", f"{bucket}/folder")
    for local, remote in ((table, f"{bucket}/data/texts.csv"), (tmp_path / "folder", f"{bucket}/folder")):
        here, there = read_labelled(str(local)), read_labelled(remote)
        assert [*there.ids] == [*here.ids] and (there.targets == here.targets).all() and there.source == remote
    return table


@pytest.mark.slow
def test_a_table_of_texts_is_read_as_the_local_one(bucket: str, tmp_path: Path) -> None:
    read_as_local_ones(bucket, tmp_path)


@pytest.mark.slow
def test_requests_that_fail_are_sent_again(bucket: str, s3: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    objects.upload(tmp_path / "a.txt", f"{bucket}/data/a.txt")
    folder = source_path(f"{bucket}/data")
    s3.failing = 2
    assert read_bytes(folder / "a.txt") == b"content" and s3.failing == 0


@pytest.mark.slow
def test_shards_of_remote_files_are_named_after_the_state_of_the_files(bucket: str, tmp_path: Path) -> None:
    """Not after the times of the cache, which change with every read, and which a file has only once it is fetched."""
    (tmp_path / "a.png").write_bytes(b"content")
    objects.upload(tmp_path / "a.png", f"{bucket}/data/a.png")
    path = source_path(f"{bucket}/data") / "a.png"
    before = file_as_listed(str(path))
    assert read_bytes(path) == b"content" and file_as_listed(str(path)) == before
    (tmp_path / "a.png").write_bytes(b"changed")
    objects.upload(tmp_path / "a.png", f"{bucket}/data/a.png")
    assert file_as_listed(str(source_path(f"{bucket}/data") / "a.png")) != before


@pytest.mark.slow
@pytest.mark.parametrize("words", [["check", "URL"], ["run", "tiny_images", "--data", "URL", "--name", "m"]])
def test_what_is_missing_is_one_message_and_exit_2(words: list[str], bucket: str, shell: Shell,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def message(url: str) -> str:
        code, _, err = shell(*(url if word == "URL" else word for word in words))
        assert code == 2 and "Traceback" not in err
        return err

    assert f"no such file or folder: {bucket}/nothing" in message(f"{bucket}/nothing")
    assert "no such bucket: s3://no-such-bucket" in message("s3://no-such-bucket/data")
    assert "s3://No Bucket!/data cannot be used: " in message("s3://No Bucket!/data")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    S3FileSystem.clear_instance_cache()
    err = message(f"{bucket}/data")
    assert f"no credentials for {bucket}/data" in err and "AWS_ACCESS_KEY_ID" in err


@pytest.mark.slow
def test_a_query_is_refused_and_never_dropped(bucket: str, shell: Shell) -> None:
    """s3fs drops a version, and would read the newest one."""
    store, name = S3FileSystem(), bucket.removeprefix("s3://")
    store.call_s3("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    old = store.call_s3("put_object", Bucket=name, Key="t.csv", Body=b"text,label\nold,a\n")["VersionId"]
    store.call_s3("put_object", Bucket=name, Key="t.csv", Body=b"text,label\nnew,a\n")
    url = f"{bucket}/t.csv?versionId={old}"
    for words in (["check", url], ["run", "tiny_images", "--data", url, "--name", "m"], ["predict", url, "a"],
                  ["models", url], ["verify", url]):
        code, out, err = shell(*words)
        assert code == 2 and not out and "Traceback" not in err, words
        assert f"{url} has a query, ?versionId={old}" in err and "copy the version that is meant" in err, err
    for read in (lambda: source_path(url), lambda: objects.content(url), lambda: objects.about(url)):
        with pytest.raises(KerastlError, match=r"\?versionId="):
            read()
    store.call_s3("put_object", Bucket=name, Key="folder/what?.txt", Body=b"a name like any other")
    assert read_bytes(source_path(f"{bucket}/folder") / "what?.txt") == b"a name like any other"
    store.call_s3("put_object", Bucket=name, Key=f"folder/t.csv?versionId={old}", Body=b"another file")
    with pytest.raises(DataError, match=r"its name contains \?versionId="):
        source_path(f"{bucket}/folder")


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_refused_before_the_work(bucket: str, shell: Shell, images: Path) -> None:
    code, _, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", "s3://no-such-bucket/models")
    assert code == 2 and "`out`" not in err and "--out is s3://no-such-bucket/models/m: no such bucket" in err


@pytest.mark.slow
def test_versions_on_s3_are_served_as_they_appear_and_half_published_ones_are_not(bucket: str, trained: Path) -> None:
    put(trained, f"{bucket}/models/tiny/1")
    models = Models(models_at(model_path(f"{bucket}/models/tiny")), Metrics(), warm_up=False)
    models.poll()
    assert [served.version for served in models.served()] == [1]
    assert _one_model(f"{bucket}/models/tiny", None) == models_at(model_path(f"{bucket}/models/tiny"))[0]  # to measure
    for path in sorted(path for path in trained.rglob("*") if path.is_file() and path.name != "manifest.json"):
        objects.upload(path, f"{bucket}/models/tiny/2/{path.relative_to(trained)}")
    models.poll()
    assert [served.version for served in models.served()] == [1]
    objects.upload(trained / "manifest.json", f"{bucket}/models/tiny/2/manifest.json")
    models.poll()
    assert [served.version for served in models.served()] == [2] and models.status("tiny", 2)[0].message == ""
    home = model_path(f"{bucket}/models/tiny")
    assert [store.release(home.joinpath(n).resolve()) for n in ("1", "2")] == [False, True]  # 1 was let go already
    S3FileSystem().rm(f"{bucket}/models/tiny/2", recursive=True)
    models.poll()
    assert [served.version for served in models.served()] == [1]


@pytest.mark.slow
def test_no_client_makes_the_server_fetch_anything(bucket: str, s3: Server, trained: Path, tmp_path: Path) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    cached = model_path(f"{bucket}/models")
    requests = s3.requests
    for base_path in (f"{bucket}/models/tiny", f"{cached}/tiny", str(cached).replace("/s3/", "//./s3/")):
        del config.model_config_list.config[:]
        config.model_config_list.config.add(name="m", base_path=base_path, model_platform="tensorflow")
        with pytest.raises(OptionError, match="base_path"):
            models_of(config, "the config")
    classifier = tl.load(trained)
    with pytest.raises(DataError):
        tl.predict_inputs(classifier, [str(tmp_path / "s3:" / "bucket" / "a.png")])
    assert s3.requests == requests
    (tmp_path / "models.config").write_text(str(config).replace(config.model_config_list.config[0].base_path,
                                                                f"{bucket}/models/tiny"))
    assert str(read_models(str(tmp_path / "models.config"))[0].path) == f"{cached}/tiny"  # the operator may


@pytest.mark.slow
def test_a_run_from_s3_to_s3_answers_as_a_local_one(bucket: str, images: Path, trained: Path, shell: Shell,
                                                    tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(images, f"{bucket}/images")
    words = ["run", "tiny_images", "--data", f"{bucket}/images", "--name", "tiny", "--out", f"{bucket}/models",
             "--weights", "none", "--json"]
    code, out, err = shell(*words)
    assert code in (0, 1), err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    there, here = tl.load(f"{bucket}/models/tiny"), tl.load(trained)
    assert there.record.data == f"{bucket}/images"
    inputs = sorted(map(str, images.rglob("*.png")))
    assert np.abs(there.probabilities(there.contents(inputs)) - here.probabilities(here.contents(inputs))).max() < 1e-5
    table = f"{bucket}/predictions.csv"
    code, out, err = shell("predict", f"{bucket}/models/tiny", f"{bucket}/images", "--out", table, "--json")
    assert code == 0, err
    assert json.loads(out)["model"] == f"{bucket}/models/tiny/1"  # and not where it is cached
    local = tl.predict_inputs(str(trained), [str(images)])
    lines = read_bytes(source_path(table)).decode().splitlines()
    assert len(lines) == len(inputs) + 1 and lines[1].startswith(f"{bucket}/images/")
    assert [line.split(",")[1] for line in lines[1:]] == [prediction.label for prediction in local.predictions]
    code, out, err = shell("verify", f"{bucket}/models/tiny/1", "--json")
    assert code == 0, err
    code, out, err = shell("models", f"{bucket}/models", "--json")
    assert code == 0 and json.loads(out)["models"][0]["version"] == 1 and not json.loads(out)["models"][0]["error"]


@pytest.mark.slow
def test_a_table_of_texts_on_s3_becomes_a_version_on_s3(bucket: str, shell: Shell, tmp_path: Path) -> None:
    rows = made_texts(20)
    table = write_table(tmp_path / "texts.csv", ("text", "label"), rows)
    bert = hugging_face_folder(tmp_path / "bert", "bert", variant="head")
    objects.upload(table, f"{bucket}/texts.csv")
    trained_on(shell, f"{bucket}/models", f"{bucket}/texts.csv", bert)  # type: ignore[arg-type]
    trained_on(shell, tmp_path / "models", table, bert)
    here, there = tl.load(tmp_path / "models/m"), tl.load(f"{bucket}/models/m")
    texts = [text for text, _ in rows]
    assert np.abs(there.probabilities(there.contents(texts)) - here.probabilities(here.contents(texts))).max() < 1e-5
