"""Folders of versions as operators leave them: odd names, faults of the storage, files that change in place."""

import gc
import logging
import os
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from served import Server, half_plus, serving, signatures, stubs, until
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

import kerastl as tl
from kerastl.server.config import Model, Policy, read_models
from kerastl.server.metrics import Metrics
from kerastl.server.models import Models
from kerastl.server.options import ServerOptions
from kerastl.server.serve import models_at
from kerastl.server.served import State
from kerastl.server.status import ServingError
from kerastl.server.version_folders import version_of, versions_in

HALF = "/v1/models/half"


def answer(server: Server, path: str = HALF) -> float | None:
    status, body = server.post(f"{path}:predict", {"instances": [0.0]})
    return float(body["predictions"][0]) if status == 200 else None


def test_the_name_of_a_version_is_a_number_that_tf_serving_can_hold(tmp_path: Path) -> None:
    assert [version_of(name) for name in ("1", "00000123", "0", str(2**63 - 1))] == [1, 123, 0, 2**63 - 1]
    for name in ("²", "١", "+5", "-1", "1.0", " 1", "", "v1", "9" * 5000, str(2**63)):
        assert version_of(name) is None, name
    for name in ("0001", "001", "00001", "²", "١", str(2**63), "3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_bytes(b"")
    (tmp_path / "4").mkdir()  # incomplete
    found, notes = versions_in(tmp_path)
    assert found == {1: tmp_path / "001", 3: tmp_path / "3"} and "001 is used" in notes[-1] and len(notes) == 2


def test_versions_with_odd_names_do_not_stop_the_others(tmp_path: Path) -> None:
    half_plus(tmp_path / "half", 1.0, 1)
    for name in ("²", str(2**64)):
        shutil.copytree(tmp_path / "half" / "1", tmp_path / "half" / name)
    with serving(tmp_path / "half") as server:
        assert answer(server) == 1.0 and len(server.ask(HALF)[1]["model_version_status"]) == 1


def test_an_empty_folder_fills_later_and_a_folder_that_vanishes_unloads_nothing(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half_plus(tmp_path / "made", 1.0, 1)
    half_plus(tmp_path / "half", 2.0, 1)
    (tmp_path / "late").mkdir()
    models = tuple(Model(name, tmp_path / name) for name in ("half", "late", "nowhere"))
    with caplog.at_level(logging.WARNING, "kerastl.serve"), serving(models) as server:
        assert answer(server, "/v1/models/late") is None and server.ask("/v1/models/late")[0] == 404
        shutil.copytree(tmp_path / "made" / "1", tmp_path / "late" / "1")
        until(lambda: answer(server, "/v1/models/late") == 1.0)
        (tmp_path / "half").rename(tmp_path / "away")
        until(lambda: "half cannot be read" in caplog.text)
        assert answer(server) == 2.0
        (tmp_path / "away").rename(tmp_path / "half")
        (tmp_path / "half" / "2").symlink_to(tmp_path / "made" / "1")  # a version may be a link
        until(lambda: answer(server) == 1.0)
    for words in ("late: ", "half cannot be read", "nowhere cannot be read"):  # each is said once, not at every look
        assert sum(words in record.getMessage() and record.levelname == "WARNING" for record in caplog.records) == 1


def test_a_version_that_is_overwritten_in_place_goes_on_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture
                                                                      ) -> None:
    half_plus(tmp_path / "half", 1.0, 1)
    half_plus(tmp_path / "made", 2.0, 1)
    with caplog.at_level(logging.WARNING, "kerastl.serve"), serving(tmp_path / "half") as server:
        shutil.rmtree(tmp_path / "half" / "1" / "variables")
        shutil.copytree(tmp_path / "made" / "1", tmp_path / "half" / "1", dirs_exist_ok=True)
        until(lambda: "the files of version 1 have changed" in caplog.text)
        assert answer(server) == 1.0


def test_another_folder_with_the_same_version_takes_over(tmp_path: Path) -> None:
    for place, added in (("a", 1.0), ("b", 2.0)):
        half_plus(tmp_path / place, added, 1)
    (tmp_path / "c" / "1").mkdir(parents=True)
    (tmp_path / "c" / "1" / "saved_model.pb").write_bytes(b"broken")
    with serving((Model("half", tmp_path / "a"),)) as server:
        service = stubs(server)[1]

        def reload(path: Path, **labels: int) -> None:
            request = model_management_pb2.ReloadConfigRequest()
            request.config.model_config_list.config.add(name="half", base_path=str(path), version_labels=labels)
            service.HandleReloadConfigRequest(request, timeout=60)

        assert answer(server) == 1.0
        reload(tmp_path / "b")
        assert answer(server) == 2.0
        reload(tmp_path / "c")  # it does not load: the old one goes on, and its status says so
        assert answer(server) == 2.0
        assert server.ask(HALF)[1]["model_version_status"][0]["state"] == "AVAILABLE"
        reload(tmp_path / "nowhere", stable=1)
        assert answer(server, f"{HALF}/labels/stable") == 2.0
        with pytest.raises(Exception, match="not currently available"):
            reload(tmp_path / "nowhere", stable=2)


def test_a_version_that_does_not_load_is_tried_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                   ) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"broken")
    metrics = Metrics()
    models = Models([Model("m", tmp_path / "m")], metrics)

    def failures() -> float:
        models.poll()
        return metrics.total("/kerastl/load_failure_count")

    assert [failures(), failures()] == [1, 1]
    monkeypatch.setattr("kerastl.server.models.RETRY", 0.0)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"broken again")
    assert [failures() for _ in range(9)] == [2, 3, 4, 5, 6, 7, 7, 7, 7]


def test_what_a_policy_names_and_is_not_there_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    half_plus(tmp_path / "half", 1.0, 1)
    models = Models([Model("half", tmp_path / "half", Policy("specific", versions=(1, 7)), (("x", 7),))], Metrics())
    with caplog.at_level(logging.WARNING, "kerastl.serve"):
        for _ in range(3):
            models.poll()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2 and "label x names version 7" in said[0] and "version 7, which the model_version" in said[1]
    with pytest.raises(ServingError, match="Unrecognized servable version label"), models.lease("half", label="x"):
        pass
    models.close()


def test_what_a_version_held_is_freed_once_it_is_unloaded(tmp_path: Path) -> None:
    half_plus(tmp_path / "half", 1.0, 1)
    models = Models([Model("half", tmp_path / "half")], Metrics())
    models.poll()
    with models.lease("half") as served:
        graph = weakref.ref(served.model.session.graph)
    del served
    half_plus(tmp_path / "half", 2.0, 2)
    gc.disable()  # a graph is part of cycles, for which Python looks now and then
    try:
        models.poll()
        assert models.served()[0].version == 2 and graph() is None
    finally:
        gc.enable()
        models.close()


def test_a_label_moves_before_the_version_goes_that_it_named(tmp_path: Path) -> None:
    for version in (1, 2):
        half_plus(tmp_path / "half", float(version), version)

    def model(version: int) -> Model:
        return Model("half", tmp_path / "half", Policy("specific", versions=(version,)), (("stable", version),))

    models = Models([model(1)], Metrics())
    models.poll()
    with ThreadPoolExecutor(1) as thread:
        with models.lease("half", label="stable") as served:  # in flight: version 1 has to wait before it goes
            assert served.version == 1
            reloaded = thread.submit(models.reload, [model(2)])
            until(lambda: models.status("half", 1)[0].state is State.UNLOADING)
            with models.lease("half", label="stable") as other:
                assert other.version == 2
        reloaded.result(60)
    models.close()


@pytest.mark.slow
def test_a_health_check_does_not_wait_for_slow_requests(tmp_path: Path) -> None:
    matrix = tf.zeros([256, 256])

    def slow(n: Any) -> Any:
        loop = tf.while_loop(lambda i, m: i < n[0], lambda i, m: (i + 1, m @ m), [0, matrix])
        return {"y": tf.reshape(loop[1][0, 0], [1])}

    signatures(tmp_path / "m", {"serving_default": (slow, {"n": tf.TensorSpec([None], tf.int32)})})
    with serving(tmp_path / "m", ServerOptions(threads=1)) as server, ThreadPoolExecutor(2) as clients:
        predictions = [clients.submit(server.post, "/v1/models/m:predict", {"instances": [1500]}) for _ in range(2)]
        until(lambda: not any(prediction.done() for prediction in predictions))
        assert server.ask("/v1/models/m")[0] == server.ask("/v1/models/m/metadata")[0] == 200
        status = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "m"})
        assert stubs(server)[1].GetModelStatus(status, timeout=60).model_version_status[0].state == 30
        assert not all(prediction.done() for prediction in predictions)
        assert [prediction.result(60)[0] for prediction in predictions] == [200, 200]


def test_why_a_version_does_not_load_is_said_in_full(tmp_path: Path) -> None:
    half_plus(tmp_path / "half", 1.0, 1)
    half_plus(tmp_path / "half", 2.0, 2)
    (tmp_path / "half" / "2" / "variables" / "variables.data-00000-of-00001").unlink()
    with serving(tmp_path / "half") as server:
        assert answer(server) == 1.0
        (status,) = server.ask(f"{HALF}/versions/2")[1]["model_version_status"]
    assert status["state"] == "END" and status["status"]["error_code"] == "NOT_FOUND"
    message = status["status"]["error_message"]
    assert message.startswith("NotFoundError: ") and str(tmp_path) in message and "\n" not in message


def test_a_model_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    half_plus(tmp_path / "half").parent.rename(folder)
    with pytest.raises(tl.ModelError, match="is not UTF-8"):
        models_at(tmp_path)
    folder.rename(tmp_path / "café 😀")
    with serving(tmp_path) as server:
        assert answer(server, "/v1/models/caf%C3%A9%20%F0%9F%98%80") == 2.0
        assert 'model_name="café 😀"' in server.ask("/monitoring/prometheus/metrics")[1]


def test_a_server_starts_with_the_newest_versions_that_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for version in (1, 2, 3, 5):
        half_plus(tmp_path / "half", float(version), version)
    whole = (tmp_path / "half" / "5" / "saved_model.pb").read_bytes()
    for version in (3, 5):
        (tmp_path / "half" / str(version) / "saved_model.pb").write_bytes(b"broken")

    def available(models: Models) -> list[int]:
        models.poll()
        return [served.version for served in models.served()]

    for policy, versions, mended in ((Policy(), [2], [5]), (Policy(count=2), [2, 1], [5, 2]),
                                     (Policy("specific", versions=(5,)), [], [5]), (Policy("all"), [2, 1], [5, 2, 1])):
        models = Models([Model("half", tmp_path / "half", policy)], Metrics())
        assert available(models) == available(models) == versions, policy
        (tmp_path / "half" / "5" / "saved_model.pb").write_bytes(whole)
        assert available(models) == mended, policy
        (tmp_path / "half" / "5" / "saved_model.pb").write_bytes(b"broken")
        models.close()
    assert "version 2 answers in the place of one that does not load" in caplog.text


def test_a_config_file_is_read_again_though_folders_are_looked_at_rarely(tmp_path: Path) -> None:
    file = tmp_path / "models.config"

    def write(name: str) -> None:
        half_plus(tmp_path / name)
        file.write_text(f"model_config_list {{ config {{ name: '{name}' base_path: '{tmp_path / name}' "
                        "model_platform: 'tensorflow' } }")

    write("a")
    options = ServerOptions(file_system_poll_wait_seconds=600, model_config_file_poll_wait_seconds=0.1)
    with serving(read_models(str(file)), options, reread=lambda: read_models(str(file))) as server:
        file.write_text("half a fi")
        assert answer(server, "/v1/models/a") == 2.0
        write("b")
        until(lambda: answer(server, "/v1/models/b") == 2.0)
        until(lambda: answer(server, "/v1/models/a") is None)
