"""The cache of rows on disk: whole rows or none, whoever is killed and whoever writes beside; and what it takes up."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import KEY, content_id, known_rows

from kerastl.errors import OptionError
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.housekeeping import evict, usage

HERE = Path(__file__).parent
IDS = [content_id(i) for i in range(400)]
# Known rows again, for processes that should not wait for TensorFlow.
CHILD = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.housekeeping import clear, evict, usage
KEY = SpaceKey("tiny", "0" * 32, "none", "top", "mean", "float32", (6,))
def content_id(name): return hashlib.blake2b(str(name).encode(), digest_size=16).hexdigest()
def known_rows(ids): return np.array([int(one[:5], 16) for one in ids], np.float32)[:, None] + np.arange(6)
folder = Path(sys.argv[1])
"""


def child(code: str, *words: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD + code, *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def done(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def there(folder: Path, ids: list[str]) -> list[str]:
    """Those of the ids that a new reader finds, each row looked at."""
    space = Space(folder, KEY)
    found = [one for one in ids if one in space]
    assert np.array_equal(space.gather(found), known_rows(found))
    return found


def filled(folder: Path, sizes: list[int], key: SpaceKey = KEY) -> Space:
    """Segments of these sizes, each used an hour after the one before."""
    space, at = Space(folder, key), 0
    for size in sizes:
        space.append(IDS[at:at + size], known_rows(IDS[at:at + size], key.shape[0]))
        at += size
    for hour, path in enumerate(sorted(space.folder.glob("*.ids.npy"))):
        os.utime(path, (1e9 + 3600 * hour,) * 2)
    return space


# What goes in comes out


@pytest.mark.parametrize("again", [False, True], ids=["same process", "opened again"])
def test_rows_come_back_in_the_order_asked(again: bool, tmp_path: Path) -> None:
    space = filled(tmp_path, [3, 1, 40, 7])
    space = Space(tmp_path, KEY) if again else space
    asked = random.Random(0).choices(IDS[:51], k=300)  # with repeats, over all segments
    rows = space.gather(asked)
    assert rows.dtype == np.float32 and np.array_equal(rows, known_rows(asked))
    assert space.gather([]).shape == (0, KEY.shape[0])


def test_a_missing_row_raises_and_is_not_contained(tmp_path: Path) -> None:
    space = filled(tmp_path, [5])
    assert IDS[4] in space and IDS[5] not in space
    with pytest.raises(KeyError):
        space.gather([IDS[0], IDS[5]])


Step = tuple[str, list[int], int]
STEPS = st.lists(st.tuples(st.sampled_from(["append", "gather", "open", "refresh"]),
                           st.lists(st.integers(0, 9), max_size=6), st.integers(0, 1)), max_size=12)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=80)
@given(STEPS)
def test_any_sequence_of_appends_and_gathers_equals_a_dictionary(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spaces = [Space(Path(folder), KEY), Space(Path(folder), KEY)]
        written: dict[str, np.ndarray] = {}
        seen: list[dict[str, np.ndarray]] = [{}, {}]
        for number, (what, some, who) in enumerate(steps):
            ids = [IDS[i] for i in some]
            if what == "append":  # other content each time, so that it matters which row is meant
                rows = known_rows(ids) + number if ids else np.zeros((0, KEY.shape[0]), np.float32)
                spaces[who].append(ids, rows)
                written.update(zip(ids, rows, strict=True))
                seen[who] = dict(written) if ids else seen[who]
            elif what == "gather":
                if set(ids) <= set(seen[who]):
                    wanted = [seen[who][one] for one in ids]
                    assert np.array_equal(spaces[who].gather(ids), np.array(wanted).reshape(-1, KEY.shape[0]))
                else:
                    with pytest.raises(KeyError):
                        spaces[who].gather(ids)
            else:
                if what == "open":
                    spaces[who] = Space(Path(folder), KEY)
                else:
                    spaces[who].refresh()
                seen[who] = dict(written)
            assert all((one in spaces[who]) == (one in seen[who]) for one in IDS[:10])


@pytest.mark.parametrize("field", asdict(KEY))
def test_keys_that_differ_in_one_field_have_folders_of_their_own(field: str, tmp_path: Path) -> None:
    value = getattr(KEY, field)
    other = replace(KEY, **{field: (*value, 1) if isinstance(value, tuple) else value + "."})
    assert other.name != KEY.name and replace(KEY).name == KEY.name
    filled(tmp_path, [4])
    assert IDS[0] not in Space(tmp_path, other) and IDS[0] in Space(tmp_path, replace(KEY))


def test_hostile_names_of_backbones_stay_inside_the_cache(tmp_path: Path) -> None:
    for name in ("hub:../../x", "/etc/passwd", "a\0b", "\U0001f600" * 300):
        space = Space(tmp_path, replace(KEY, backbone=name))
        assert space.folder.resolve().parent == (tmp_path / "features").resolve() and space.folder.is_dir()


# Kills


EVERY_LINE = """
def line_killer(line):  # ends this process, as a kill does, before the line-th line run of an append
    left = [line]
    def trace(frame, event, arg):
        if frame.f_code.co_name not in ("append", "_save", "atomic_file", "sync"): return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0: os.kill(os.getpid(), 9)
        return trace
    return trace
for line in range(1, 200):
    pid = os.fork()
    if pid == 0:
        space = Space(folder, KEY)  # over all that the killed ones left
        ids = [content_id((line, i)) for i in range(5)]
        sys.settrace(line_killer(line))
        space.append(ids, known_rows(ids))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0: break
    assert status == -9, status
print(line)
"""


@pytest.mark.slow
def test_a_kill_at_every_line_of_an_append_leaves_all_of_its_rows_or_none(tmp_path: Path) -> None:
    last = int(done(child(EVERY_LINE, tmp_path)))
    assert 20 < last < 199  # lines of one append; the last child was not killed
    whole = []
    for line in range(1, last + 1):
        found = there(tmp_path, [content_id((line, i)) for i in range(5)])
        assert len(found) in (0, 5)
        whole.append(len(found) == 5)
    first = whole.index(True)
    assert first > 10 and all(whole[first:])
    folder = Space(tmp_path, KEY).folder
    assert len(list(folder.glob("*.rows.npy"))) > len(list(folder.glob("*.ids.npy")))  # some died between the two


FOREVER = """
space, i = Space(folder, KEY), 0
print("ready", flush=True)
while True:
    ids = [content_id((sys.argv[2], i, j)) for j in range(50)]
    space.append(ids, known_rows(ids))
    i += 1
    print(i, flush=True)
"""


@pytest.mark.slow
def test_rows_are_whole_after_kills_at_random_moments(tmp_path: Path) -> None:
    delays = random.Random(0)
    promised: list[str] = []
    for run in range(6):
        process = child(FOREVER, tmp_path, run)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(delays.uniform(0.0, 0.08))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        finished = int((out.split() or ["0"])[-1]) if out.endswith("\n") else 0
        assert process.returncode == -signal.SIGKILL
        promised += [content_id((str(run), i, j)) for i in range(finished) for j in range(50)]
        tried = [content_id((str(run), i, j)) for i in range(finished + 2) for j in range(50)]
        assert len(there(tmp_path, tried)) % 50 == 0  # reads every row; no segment is there in part
        assert there(tmp_path, promised) == promised  # and nothing of before is lost
    assert promised
    space = Space(tmp_path, KEY)
    space.append([IDS[0]], known_rows([IDS[0]]))
    assert there(tmp_path, [IDS[0]]) == [IDS[0]]


def test_rows_without_ids_and_unfinished_files_are_not_seen(tmp_path: Path) -> None:
    space = filled(tmp_path, [4, 3])
    first, second = sorted(space.folder.glob("*.ids.npy"))
    first.unlink()
    second.with_name(".9.ids.npy.00ff.part").write_bytes(second.read_bytes()[:100])
    (space.folder / "9.rows.part").write_bytes(b"\x93NUMPY")  # as older versions named them
    assert there(tmp_path, IDS[:7]) == IDS[4:7]
    assert [one.rows for one in usage(tmp_path)] == [3]


def test_what_killed_runs_left_goes_after_a_day_and_not_before(tmp_path: Path) -> None:
    space = filled(tmp_path, [4, 3])
    orphan = min(space.folder.glob("*.rows.npy"))
    orphan.with_name(orphan.name.replace(".rows.", ".ids.")).unlink()
    partial = space.folder / "1.rows.part"
    partial.write_bytes(b"\x93NUMPY")
    evict(tmp_path)
    assert orphan.exists() and partial.exists()  # perhaps a run that is about to finish them
    for path in (orphan, partial):
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    evict(tmp_path)
    assert not orphan.exists() and not partial.exists()
    assert there(tmp_path, IDS[:7]) == IDS[4:7]


@pytest.mark.parametrize("spoil", [
    lambda rows, ids: np.save(rows, np.zeros((4, KEY.shape[0] + 1), np.float32)),
    lambda rows, ids: np.save(rows, np.zeros((3, KEY.shape[0]), np.float32)),
    lambda rows, ids: np.save(rows, np.zeros(4, np.float32)),
    lambda rows, ids: np.save(ids, np.zeros(4, "V8")),
    lambda rows, ids: os.truncate(rows, 150),
    lambda rows, ids: os.truncate(rows, 0),
    lambda rows, ids: os.truncate(ids, 140),
    lambda rows, ids: os.truncate(ids, 0),
    lambda rows, ids: rows.write_bytes(b"no numbers, but long enough to look like some" * 9),
], ids=["width", "count", "flat", "short ids", "rows cut", "rows empty", "ids cut", "ids empty", "text"])
def test_a_segment_that_does_not_fit_is_refused_with_what_to_do(spoil: Callable[[Path, Path], Any], tmp_path: Path
                                                                ) -> None:
    folder = filled(tmp_path, [4]).folder
    spoil(next(folder.glob("*.rows.npy")), next(folder.glob("*.ids.npy")))
    with pytest.raises(OptionError, match=r"does not fit(.|\n)*kerastl cache --clear"):
        Space(tmp_path, KEY)


# Several processes


SOME = """
space = Space(folder, KEY)
print("ready", flush=True)
sys.stdin.readline()
for i in range(40):
    ids = [content_id(int(sys.argv[2]) * 20 + i * 3 + j) for j in range(5)]
    space.append(ids, known_rows(ids))
print(sum(one in space for one in [content_id(i) for i in range(200)]))
"""


@pytest.mark.slow
def test_two_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    two = [subprocess.Popen([sys.executable, "-c", CHILD + SOME, str(tmp_path), str(who)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for who in range(2)]
    for process in two:  # both start together
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in two:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sizes = [int(done(process)) for process in two]
    wanted = [content_id(who * 20 + i * 3 + j) for who in range(2) for i in range(40) for j in range(5)]
    assert len(set(wanted)) < len(wanted)  # some rows are written by both
    assert there(tmp_path, wanted) == wanted
    assert max(sizes) == len(set(wanted))  # whoever ended last had taken in the other's too


WRITER = """
space = Space(folder, KEY)
print("ready", flush=True)
for i in range(150):
    ids = [content_id((i, j)) for j in range(3)]
    space.append(ids, known_rows(ids))
"""


@pytest.mark.slow
def test_looking_evicting_and_opening_while_another_writes(tmp_path: Path) -> None:
    process = child(WRITER, tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    ids = [content_id((i, j)) for i in range(150) for j in range(3)]
    rounds = 0
    while process.poll() is None:
        rounds += 1
        usage(tmp_path)
        there(tmp_path, ids)
        evict(tmp_path, 3000)
    done(process)  # it read, too, what was evicted under it
    assert rounds > 5
    evict(tmp_path, 0)
    assert there(tmp_path, ids) == []


EVICTOR = "print(evict(folder, int(sys.argv[2])))"


def test_a_reader_keeps_what_another_process_evicts(tmp_path: Path) -> None:
    space = filled(tmp_path, [10, 10, 10])
    assert int(done(child(EVICTOR, tmp_path, 0))) > 0
    assert np.array_equal(space.gather(IDS[:30]), known_rows(IDS[:30]))
    assert there(tmp_path, IDS[:30]) == []
