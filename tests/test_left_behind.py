"""What killed processes leave behind is found by the next ones, which remove it, but nothing that a process works on;
also after the clock was set back."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_cache import IDS, child, done, filled, there
from tiny import KEY, content_id, known_rows

from kerastl.errors import OptionError
from kerastl.features.cache import Space
from kerastl.features.housekeeping import evict
from kerastl.files import (
    atomic_file,
    check_writable,
    held_folder,
    own_temporary_files,
    remove_leftovers,
    write_atomically,
)
from kerastl.files.partial import FRESH_SECONDS, PARTIAL
from kerastl.studies.journal import Journal
from kerastl.training.fine_tuning.fine_tune import FINISHED, remove_finished
from kerastl.versions.claim import claim
from kerastl.versions.folder import new_version

DAY = 24 * 3600
LATER = (60, -DAY, -400 * DAY)  # seconds for which files lie there; below 0: the clock was set back by so much


def older(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As if another process held it: another descriptor of the same file does not get the lock either."""
    handle = os.open(path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


# Output files


@pytest.mark.parametrize("seconds", LATER)
@pytest.mark.parametrize("name", ["table.csv", "[a]*.csv", f"{'long' * 20}.csv"])
def test_what_a_kill_left_of_an_output_goes_when_it_is_written_again(name: str, seconds: float, tmp_path: Path) -> None:
    with atomic_file(tmp_path / name) as partial:
        partial.write_text("old")
    path, left, other = tmp_path / name, partial, tmp_path / ".other.csv.0123abcd.part"
    left.write_text("half")
    other.write_text("of another file")
    for file in (left, other):
        older(file, seconds)
    check_writable(path, "out")
    assert not left.exists() and other.exists()
    left.write_text("half")
    older(left, seconds)
    write_atomically(path, "whole")
    assert {file.name for file in tmp_path.iterdir()} == {name, other.name}


def test_a_partial_file_that_is_young_or_held_stays(tmp_path: Path) -> None:
    young, held = (tmp_path / f".x.csv.0123abc{number}.part" for number in range(2))
    for file in (young, held):
        file.write_text("half")
    older(held, 60)
    with locked(held):
        check_writable(tmp_path / "x.csv", "out")
    assert young.exists() and held.exists()
    check_writable(tmp_path / "x.csv", "out")
    assert young.exists() and not held.exists()


# Segments of the cache


@pytest.mark.parametrize("seconds", LATER)
def test_rows_of_a_killed_run_go_and_those_of_a_running_one_stay(seconds: float, tmp_path: Path) -> None:
    space = filled(tmp_path, [4, 3])
    first, second = sorted(space.folder.glob("*.ids.npy"))
    rows = [path.with_name(path.name.replace(".ids.", ".rows.")) for path in (first, second)]
    first.unlink()
    begun = second.rename(second.with_name(f".{second.name}.0123abcd.part"))
    for path in (*rows, begun):
        older(path, seconds)
    with locked(begun):
        evict(tmp_path)
    assert [path.exists() for path in rows] == [False, True]
    begun.rename(second)  # the process completes its segment
    evict(tmp_path)
    assert there(tmp_path, IDS[:7]) == IDS[4:7]


def test_ids_without_rows_go(tmp_path: Path) -> None:
    """A process that cleared the cache was killed."""
    folder = filled(tmp_path, [4, 3]).folder
    min(folder.glob("*.rows.npy")).unlink()
    evict(tmp_path)
    assert len(list(folder.glob("*.npy"))) == 2 and there(tmp_path, IDS[:7]) == IDS[4:7]


WRITER = """
space, i = Space(folder, KEY), 0
print("ready", flush=True)
for i in range(60):
    ids = [content_id((i, j)) for j in range(3)]
    space.append(ids, known_rows(ids))
"""


@pytest.mark.slow
def test_a_writer_keeps_all_of_its_rows_while_others_tidy_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where rows count as left behind at once."""
    monkeypatch.setattr("kerastl.features.housekeeping.FRESH_SECONDS", -1.0)
    process = child(WRITER, tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    while process.poll() is None:
        evict(tmp_path)
    done(process)
    ids = [content_id((i, j)) for i in range(60) for j in range(3)]
    assert there(tmp_path, ids) == ids
    assert np.array_equal(Space(tmp_path, KEY).gather(ids), known_rows(ids))


# Temporary files


KILLED = """
import os, sys, tempfile
from kerastl.files import own_temporary_files
with own_temporary_files():
    tempfile.mkdtemp(prefix="of-a-library-")
    print(tempfile.gettempdir(), flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
print(tempfile.gettempdir())
"""


def test_temporary_files_go_with_their_process_or_with_the_next_one(tmp_path: Path) -> None:
    def run(how: str) -> list[str]:
        return subprocess.run([sys.executable, "-c", KILLED, how], env={**os.environ, "TMPDIR": str(tmp_path)},
                              stdout=subprocess.PIPE, text=True).stdout.split()

    inside, outside = run("to the end")
    assert Path(inside).parent == tmp_path and outside == str(tmp_path) and not list(tmp_path.iterdir())
    left = Path(run("killed")[0])
    assert [path.name[:13] for path in left.iterdir()] == ["of-a-library-"]
    run("to the end")
    assert left.exists()  # young
    older(left, 60)
    older(next(left.iterdir()), 60)
    with locked(left):
        run("to the end")
    assert left.exists()
    run("to the end")
    assert not left.exists()


def test_temporary_files_of_a_block_are_private_and_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                  ) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyError), own_temporary_files():
        folder = Path(tempfile.gettempdir())
        assert folder.stat().st_mode & 0o777 == 0o700
        raise KeyError
    assert tempfile.gettempdir() == str(tmp_path) and not list(tmp_path.iterdir())


def test_what_a_killed_process_left_a_moment_ago_goes_at_the_end_of_the_next_one(tmp_path: Path,
                                                                                 monkeypatch: pytest.MonkeyPatch
                                                                                 ) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / ".kerastl.01234567.part"
    left.mkdir()
    with own_temporary_files():
        assert left.exists()  # a process may be about to lock it
        older(left, 60)
    assert not left.exists()


# Processes


STARTING = """
import socket, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from kerastl.inputs.isolation.forker import command
from kerastl.inputs.isolation.limits import Limits
ours, theirs = socket.socketpair()
words = command("kerastl.inputs.isolation.image_worker", theirs.fileno(), Limits())
print(subprocess.Popen(words, pass_fds=[theirs.fileno()]).pid, flush=True)
time.sleep(600)
"""


def test_a_process_that_is_still_starting_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    """The one that makes workers imports TensorFlow, which takes very long here."""
    begun = tmp_path / "begun"
    (tmp_path / "tensorflow.py").write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, "-c", STARTING, tmp_path], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert time.monotonic() < deadline, "it imports nothing"
        time.sleep(0.1)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "it goes on importing"
        time.sleep(0.1)


def test_what_was_too_young_when_a_run_began_is_removed_when_it_has_written_its_version(tmp_path: Path) -> None:
    left = tmp_path / "m/.1.0123abcd.part"
    with new_version(str(tmp_path), "m") as version:
        left.mkdir()
        older(left, 60)
        (version.folder / "run.json").write_text("{}")
    assert version.path.exists() and not left.exists()


KILLED_WHILE_REMOVING = """
import os, sys
from pathlib import Path
import kerastl.files, kerastl.shards.store, kerastl.training.fine_tuning.fine_tune
unlink, removed = os.unlink, []
def die(*arguments, **more):
    if removed:
        os._exit(9)
    removed.append(unlink(*arguments, **more))
os.unlink = die
cache = Path(sys.argv[1])
if sys.argv[2] == "training":
    kerastl.training.fine_tuning.fine_tune.remove_finished(cache)
elif sys.argv[2] == "network":
    with kerastl.shards.store.job_folder(cache, "job"):
        pass
else:
    kerastl.files.remove_unheld(cache / "remote/entry")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "place", "parent"), [
    ("training", "fine_tune/state", "fine_tune"), ("network", "shards/job/network", "shards/job"),
    ("entry", "remote/entry", "remote")])
def test_a_folder_that_is_half_removed_has_lost_its_name(what: str, place: str, parent: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    (folder / "after-000001").mkdir(parents=True)
    for name in ("after-000001/latest.npz", "after-000001/epochs.json", "model.keras"):
        (folder / name).write_text("x")
    (folder / FINISHED).write_text("0")
    older(folder / FINISHED, 30 * DAY)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_REMOVING, str(tmp_path), what])
    assert killed.returncode == 9 and not folder.exists()
    rest, = (tmp_path / parent).glob(f".*{PARTIAL}")
    assert 0 < len([path for path in rest.rglob("*") if path.is_file()]) < 4
    assert remove_leftovers(tmp_path / parent, older_than=0) > 0 and not rest.exists()


# The clock, the home directory, several processes


def test_leftovers_of_the_future_go_and_what_is_of_now_stays(tmp_path: Path) -> None:
    for name in ("now", "soon", "future"):
        (tmp_path / f".{name}.0123abcd.part").write_text("x")
    older(tmp_path / ".soon.0123abcd.part", -FRESH_SECONDS / 2)
    older(tmp_path / ".future.0123abcd.part", -DAY)
    assert remove_leftovers(tmp_path) == 1 and not (tmp_path / ".future.0123abcd.part").exists()


def test_without_a_home_directory_there_is_one_message_and_no_folder_of_that_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="there is no home directory for the cache(.|\n)*set `cache_dir`"):
        from kerastl.features.cache import chosen_dir

        chosen_dir(None)
    assert chosen_dir(tmp_path / "cache") == tmp_path / "cache"
    (tmp_path / "out").mkdir()
    assert claim(tmp_path / "out") is None
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "out"}


def test_a_journal_of_two_processes_loses_no_record_to_a_kill(tmp_path: Path) -> None:
    """One is killed in the middle of a line; the other one, which had read the file before, goes on."""
    one, other = (Journal(tmp_path / "rows.jsonl") for _ in range(2))
    one.add("a", {"n": 1})
    with open(tmp_path / "rows.jsonl", "ab") as file:
        file.write(b'{"key": "torn", "n"')
    other.add("b", {"n": 2})
    one.add("c", {"long": "x" * 100_000})
    assert [json.loads(line)["key"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()
            if line.endswith("}")] == ["a", "b", "c"]
    assert Journal(tmp_path / "rows.jsonl").get("b") == {"key": "b", "n": 2}


WAITING = """
import sys
from pathlib import Path
from kerastl.files import held_folder
with held_folder(Path(sys.argv[1]), "does the same"):
    print("held", flush=True)
"""


def test_a_folder_is_held_by_one_process_after_another_also_where_it_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "new/state"
    with held_folder(folder, "does the same"):
        process = subprocess.Popen([sys.executable, "-c", WAITING, folder], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == f"another process does the same ({folder}): waiting for it\n"
        folder.rmdir()
    assert process.communicate(timeout=60)[0] == "held\n" and folder.is_dir()


def test_states_of_trainings_go_when_nobody_needs_them(tmp_path: Path) -> None:
    ages = {"mine": 0, "of another": 0, "finished long ago": 8 * DAY, "abandoned": 31 * DAY, "killed": 29 * DAY,
            "at work": 31 * DAY}
    for name, age in ages.items():
        state = tmp_path / "fine_tune" / name
        state.mkdir(parents=True)
        if name in ("mine", "of another", "finished long ago"):
            (state / FINISHED).write_text(str(os.getpid()) if name == "mine" else "1")
            older(state / FINISHED, age)
        older(state, age)
    with locked(tmp_path / "fine_tune/at work"):
        remove_finished(tmp_path)
    assert {path.name for path in (tmp_path / "fine_tune").iterdir()} == {"of another", "killed", "at work"}
