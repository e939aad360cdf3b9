"""Images are decoded by worker processes: the same pixels, and a file that ends its worker costs its own row."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from image_files import jpeg, made, refused
from PIL import Image

from kerastl.errors import KerastlError, OptionError
from kerastl.inputs import images
from kerastl.inputs.batches import decode_file, pixel_batches
from kerastl.inputs.images import Decoder, decoder
from kerastl.inputs.isolation import FROM, Limits, isolated, workers_for
from kerastl.inputs.isolation.plain_images import plain_images
from kerastl.inputs.isolation.workers import Workers
from kerastl.inputs.pixels import Pixels

Shell = Callable[..., tuple[int, str, str]]
SIDE = 32
MEMORY = 400 * 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux")


def running(pid: int) -> bool:
    """Whether a process is there that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: Sequence[int]) -> bool:
    """Whether no process runs any more, after a while."""
    end = time.monotonic() + 60
    while any(map(running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(running, pids))


def large_png(side: int = 9_000) -> bytes:
    """A small file that takes hundreds of megabytes to decode."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (9, 9, 9)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with isolated("on", limits=Limits(memory=MEMORY)) as isolation:
        assert isolation is not None
        yield isolation.workers


@pytest.mark.slow
def test_workers_give_the_same_pixels_and_reasons(workers: Workers) -> None:
    files = {**made(), **{name: data for name, (data, _) in refused().items()}}
    kinds = set()
    for name, data in files.items():
        here, there = decoder(SIDE)(data), workers.decode(data, SIDE)
        kinds.add(type(there))
        assert np.array_equal(here, there) if isinstance(here, np.ndarray) else here == there, name
    assert kinds == {str, np.ndarray}
    tall = jpeg(Image.new("RGB", (2500, 1500), (1, 2, 3)))
    whole = workers.decode(tall, 0)  # larger than the shared memory
    assert isinstance(whole, np.ndarray) and np.array_equal(whole, decoder(0)(tall))
    accepted = workers.decode(tall[:-500], SIDE, True)
    assert np.array_equal(accepted, decoder(SIDE, True)(tall[:-500])) and isinstance(workers.decode(tall[:-500], SIDE),
                                                                                      str)


@pytest.mark.slow
def test_an_image_that_takes_too_much_memory_costs_its_own_row(workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(large_png())
    for name in ("a", "b"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg())
    skipped: dict[int, str] = {}
    batches = list(pixel_batches([str(tmp_path / name) for name in ("a.jpg", "bomb.png", "b.jpg")], SIDE, 8, skipped))
    assert [places for places, _ in batches] == [[0, 2]] and list(skipped) == [1]
    assert "400 MiB of memory" in skipped[1]
    assert isinstance(decoder(SIDE)(large_png()), np.ndarray)  # without limits


def test_a_worker_that_hangs_is_replaced(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)
    pids = workers.pids[1:]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(workers, "limits", replace(workers.limits, seconds=2.0))
    assert workers.decode(jpeg(), SIDE) == "took more than 2 seconds to decode"
    monkeypatch.undo()
    left = [pid for pid in workers.pids if pid in pids]
    assert len(left) == len(pids) - 1
    for pid in left:
        os.kill(pid, signal.SIGCONT)
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)


@pytest.mark.slow
def test_an_image_that_takes_too_much_processor_time_is_named() -> None:
    workers = Workers(Limits(cpu=0), count=1)  # the rest of a second
    try:
        reasons = {str(workers.decode(large_png(9_900), 224))[:80] for _ in range(5)}
        assert "took more than 0 seconds of processor time to decode" in reasons
    finally:
        pids = workers.pids
        workers.close()
    assert gone(pids)
    with pytest.raises(KerastlError, match="no process to decode images in"):
        workers.decode(jpeg(), SIDE)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_costs_nothing_where_the_file_is_innocent(workers: Workers, number: int) -> None:
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)
    for pid in workers.pids[1:]:
        os.kill(pid, number)
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)


@pytest.mark.slow
def test_a_file_that_crashes_each_worker_is_skipped_with_its_signal(workers: Workers) -> None:
    """The crash is real, and comes from outside: a thread kills each worker while it decodes."""
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(0.005):
            for pid in workers.pids[1:]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSEGV)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        reason = workers.decode(large_png(), SIDE)
    finally:
        stopped.set()
        thread.join()
    assert isinstance(reason, str) and "by SIGSEGV" in reason
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)


@pytest.mark.slow
def test_a_forker_that_is_killed_is_replaced(workers: Workers) -> None:
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)
    before = workers.pids
    os.kill(before[0], signal.SIGKILL)
    assert gone(before)
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)
    assert workers.pids[0] != before[0]


def test_a_worker_has_no_rights_files_or_network(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(workers.decode(jpeg(), SIDE), np.ndarray)
    folder = Path(f"/proc/{workers.pids[1]}")
    status = dict(line.split(":\t") for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapPrm"] == "0" * 16 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    limits = {line[:26].strip(): line[26:].split()[0] for line in (folder / "limits").read_text().splitlines()}
    assert limits["Max open files"] == limits["Max file size"] == limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) < 8 * 2**30
    opened = {os.readlink(path) for path in (folder / "fd").iterdir()}
    assert not [name for name in opened if not name.startswith(("/dev/null", "socket:", "/memfd:"))]
    secrets = (Path(f"/proc/{workers.pids[0]}/environ")).read_bytes()
    assert b"PYTEST" not in secrets and b"PATH=" in secrets


def test_rights_that_are_given_up_are_gone() -> None:
    code = ("import os, signal, socket, subprocess, sys\n"
            "from kerastl.inputs.isolation.limits import give_up_rights, limit_files\n"
            "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
            "give_up_rights()\n"
            "def fails(call, *arguments):\n"
            "    try: call(*arguments)\n"
            "    except OSError as error: return error.errno\n"
            "print(fails(socket.socket), fails(os.kill, child.pid, 9), fails(os.execv, '/bin/true', ['true']))\n"
            "limit_files()\n"
            "print(fails(os.open, '/etc/passwd', os.O_RDONLY))\n"
            "print(child.pid)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *answers, pid = done.stdout.split()
    os.kill(int(pid), signal.SIGKILL)
    assert answers == ["1", "1", "1", "24"]  # not permitted; too many open files


@pytest.mark.slow
@pytest.mark.parametrize("way", ["interrupt", "kill"])
def test_no_process_outlives_the_one_that_started_it(way: str) -> None:
    code = ("import sys, time\nfrom kerastl.inputs.isolation import isolated, workers_for\n"
            "sys.path.insert(0, sys.argv[1])\nfrom image_files import jpeg\n"
            "with isolated('on'):\n"
            "    workers = workers_for(1)\n    workers.decode(jpeg(), 32)\n"
            "    print(*workers.pids, flush=True)\n    time.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent)],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        pids = [int(word) for word in child.stdout.readline().split()]
        assert len(pids) == 2 and all(map(running, pids))
        child.send_signal(signal.SIGKILL if way == "kill" else signal.SIGINT)
    assert gone(pids)


@pytest.mark.slow
def test_modes() -> None:
    with isolated("off"):
        assert workers_for(10 * FROM) is None
        with isolated("auto"):
            assert workers_for(FROM - 1) is None and workers_for(FROM) is not None
        assert workers_for(FROM) is None
        with isolated("on"):
            assert workers_for(1) is not None
    with pytest.raises(OptionError, match="`isolate` is 'sometimes'"), isolated("sometimes"):
        pass


@pytest.mark.slow
def test_elsewhere_than_on_linux_on_is_refused_and_auto_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with isolated("auto") as isolation:
        assert isolation is None and workers_for(FROM) is None
    with pytest.raises(OptionError, match="`isolate` is on, but this system is darwin"), isolated("on"):
        pass


@pytest.mark.slow
def test_plain_images_have_the_pixels_that_the_graph_gives(workers: Workers) -> None:
    for size in (31, 32):  # rows of a BMP are padded
        source = Pixels(size)
        good = {name: data for name, data in made().items()}
        plain = plain_images(list(good.values()), source, workers)
        for name, content in zip(good, plain, strict=True):
            assert isinstance(content, bytes), name
            assert np.array_equal(images.decoder(size).by_graph(content), images.decoder(size)(good[name])), name
    assert isinstance(plain_images([b"GIF89a"], Pixels(32), workers)[0], str)


@pytest.mark.slow
def test_a_whole_run_and_predictions_decode_nothing_in_this_process(
        tmp_path: Path, shell: Shell, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw_folder(tmp_path / "d", 12)
    (data / "red" / "bad.png").write_bytes((data / "red" / "0.png").read_bytes()[:60])
    image = next(images.rglob("*.png"))
    words = ("predict", trained, image, data / "red" / "bad.png", "--json")
    _, before, _ = shell(*words, "--isolate", "off")

    def here(self: Decoder, data: bytes) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr(Decoder, "__call__", here)
    code, after, err = shell(*words, "--isolate", "on")
    assert code == 0 and after == before, err
    with isolated("off"), pytest.raises(AssertionError, match="decoded in this process"):
        decode_file(str(image), SIDE)
    code, out, err = shell("run", "tiny_images", "--data", data, "--name", "m", "--weights", "none", "--tflite", "none",
                           "--out", tmp_path, "--cache-dir", tmp_path / "cache", "--isolate", "on", "--json")
    assert code == 0, err
    assert [Path(item["origin"]).name for item in json.loads(out)["left_out"]] == ["bad.png"]
