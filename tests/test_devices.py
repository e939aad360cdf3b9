"""Which devices a run uses, and that two of them give what one does. No GPU is needed: two logical processors of a
process of its own stand for two GPUs."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from test_record import golden

import kerastl as tl
from kerastl.devices import CPU, divided, is_devices, number_of
from kerastl.errors import OptionError
from kerastl.features.engines.replicas import dealt
from kerastl.rerun.comparison import environment
from kerastl.rerun.plan import runtime_of
from kerastl.versions.record import RunRecord

HERE = Path(__file__).parent
CLOSE = {"red": (121, 120, 120), "green": (120, 121, 120), "blue": (120, 120, 121)}  # so that there is room to improve
GPUS = ("GPU:0", "GPU:1", "GPU:2")
EVERY = "KERASTL_SOAK" in os.environ  # all cases, a whole run of a pipeline, and a kill instead of an interrupt
soak = pytest.mark.skipif(not EVERY, reason="takes minutes: make soak")


# Which devices


@pytest.mark.parametrize(("devices", "number", "shared"), [
    ("auto", None, GPUS), ("cpu", 0, ()), ("1", 1, ()), (1, 1, ()), ("2", 2, GPUS[:2]), (3, 3, GPUS)])
def test_two_or_more_gpus_share_the_work(devices: str | int, number: int | None, shared: tuple[str, ...]) -> None:
    assert number_of(devices) == number and is_devices(devices)
    assert divided(devices, GPUS) == shared
    assert divided("auto", GPUS[:1]) == divided("auto", ()) == ()


@pytest.mark.parametrize("devices", ["0", "-1", "1.5", "gpu", "", 0, True])
def test_other_values_are_refused(devices: Any) -> None:
    assert not is_devices(devices)
    with pytest.raises(OptionError, match="(?s)`devices` is .*auto, cpu, or a number of GPUs"):
        number_of(devices)


@pytest.mark.parametrize(("names", "there"), [((), "no GPU"), (GPUS[:1], "one GPU"), (GPUS, "3 GPUs")])
def test_more_gpus_than_there_are_are_refused(names: tuple[str, ...], there: str) -> None:
    with pytest.raises(OptionError, match=f"`devices` is 4, but TensorFlow sees {there}"):
        divided(4, names)


def test_this_machine_has_no_gpu_so_a_number_is_refused_and_cpu_is_as_auto() -> None:
    with pytest.raises(OptionError, match="sees no GPU"):
        tl.apply_runtime(devices=2)
    with pytest.raises(OptionError, match="workers compute the features"):
        tl.apply_runtime(devices=2, workers=2)
    assert tl.apply_runtime(devices=CPU) == tl.apply_runtime() and tl.apply_runtime().devices == ()


def test_flags_and_pipelines_refuse_what_cannot_be(shell: Any, images: Path, tmp_path: Path) -> None:
    words = ["run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path / "out"]
    code, _, err = shell(*words, "--devices", "none")
    assert code == 2 and "--devices must be auto, cpu, or a number of GPUs" in err
    code, _, err = shell(*words, "--devices", "2")
    assert code == 2 and "`--devices` is 2, but TensorFlow sees no GPU" in err.replace("--devices is", "`--devices` is")
    with pytest.raises(OptionError, match="`devices` is 2, but TensorFlow sees no GPU"):
        tl.classify_images(images, name="m", out=tmp_path / "out", devices=2)
    assert not (tmp_path / "out").exists()


def test_a_run_is_reproduced_on_as_many_devices_and_the_table_says_where_they_differ() -> None:
    old = RunRecord.from_dict(golden("image"))
    two = replace(old, devices=GPUS[:2])
    assert runtime_of(two).devices == GPUS[:2] and runtime_of(old).devices == ()
    assert RunRecord.from_dict(two.to_dict()).devices == GPUS[:2]
    names = {check.name: check for check in environment(two, old)}
    assert (names["devices"].recorded, names["devices"].now, names["devices"].verdict) == ("GPU:0, GPU:1", "", "other")
    assert "devices" not in {check.name for check in environment(old, old)}  # one device, as in earlier versions


# Batches dealt to devices


def run_on(number: int, seen: list[tuple[int, int]], wait: float = 0) -> Any:
    def run(batch: Any) -> Any:
        time.sleep(wait)
        seen.append((number, threading.get_ident()))
        return batch * 10

    return run


def test_batches_are_dealt_in_turn_by_a_thread_each_and_come_back_in_order() -> None:
    seen: list[tuple[int, int]] = []
    runs = [run_on(number, seen, wait) for number, wait in enumerate((0.02, 0.0, 0.01))]
    results = list(dealt(runs, [np.full(1, i) for i in range(8)]))
    assert [int(rows[0]) for rows in results] == [10 * i for i in range(8)]
    assert sorted(number for number, _ in seen) == [0, 0, 0, 1, 1, 1, 2, 2]
    assert len(set(seen)) == len({thread for _, thread in seen}) == 3


def test_few_batches_wait_at_a_time_and_the_threads_end_with_the_pass() -> None:
    taken, before = [], threading.active_count()
    results = dealt([run_on(0, []), run_on(1, [])], (taken.append(i) or np.full(1, i) for i in range(100)))
    next(results)
    assert len(taken) == 4
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_of_a_device_ends_the_pass() -> None:
    def broken(batch: Any) -> Any:
        raise ValueError("out of memory")

    results = dealt([run_on(0, []), broken], (np.full(1, i) for i in range(9)))
    next(results)
    with pytest.raises(ValueError, match="out of memory"):
        next(results)


# What two devices give


def child(*words: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(HERE / "two_devices.py"), *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `two_devices.py` found."""
    folder = tmp_path_factory.mktemp("devices")
    data = draw_folder(folder / "images", 20, CLOSE)
    if EVERY:
        killed = child(data, folder, "train")
        assert killed.stdout is not None
        while killed.stdout.readline().partition(":")[0] not in ("epoch 1", ""):  # said when it is kept
            pass
        killed.send_signal(signal.SIGKILL)
        _, err = killed.communicate()
        assert killed.returncode == -signal.SIGKILL, err
    process = child(data, folder, *["all"] * EVERY)
    out, err = process.communicate()
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("xla", ["off", pytest.param("on", marks=soak)])
def test_the_features_of_two_devices_are_those_of_one_bit_for_bit(xla: str, measured: dict[str, Any]) -> None:
    found = measured["pass"][xla]
    assert found["equal"] and found["computed"] == 60
    assert found["reason"].endswith("; batches divided among CPU:0, CPU:1")
    assert measured["placed"].endswith("device:CPU:1")  # the weights of a copy


@pytest.mark.slow
@pytest.mark.parametrize("case", ["gradual", "accumulated", pytest.param("XLA", marks=soak),
                                  pytest.param("bfloat16", marks=soak)])
def test_two_devices_train_the_weights_of_one(case: str, measured: dict[str, Any]) -> None:
    """Batches have 7 rows, or 3 where they are accumulated, which two devices cannot divide evenly. Weights move by
    1e-3 and more, and in float32 they differ by rounding."""
    found = measured["training"][case]
    assert found["steps"] >= 12 and found["moved"] > 1e-3
    assert found["apart"] < (2e-6 if case != "bfloat16" else 1e-3)
    assert found["losses"] < (1e-5 if case != "bfloat16" else 1e-2)


@soak
@pytest.mark.parametrize("way", ["", "XLA", "accumulated"])
def test_an_embedding_trains_as_on_one_device_also_where_a_batch_has_fewer_rows_than_there_are_devices(
        way: str, measured: dict[str, Any]) -> None:
    found = measured["sparse"][way]
    assert found["apart"] < 1e-6 < 1e-3 < found["moved"]


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_been(measured: dict[str, Any]) -> None:
    found = measured["resumed"]
    assert len(found["left"]) == 1 and found["left"][0] < "after-000003"
    assert found["epochs"] == [1, 2, 3] and found["apart"] == 0


@pytest.mark.slow
def test_a_number_of_devices_is_chosen_where_there_are_so_many(measured: dict[str, Any]) -> None:
    assert measured["chosen"] == ["CPU:0", "CPU:1"]


@soak
def test_the_record_names_the_devices_and_the_export_is_a_plain_model(measured: dict[str, Any]) -> None:
    found = measured["pipeline"]
    assert found["devices"] == ["CPU:0", "CPU:1"] == found["runtime"] and found["setting"] == 2
    assert "batches divided among CPU:0, CPU:1" in found["features"] and found["label"] in CLOSE
