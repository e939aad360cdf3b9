"""The room that the cache takes up: what is evicted, what is cleared, and directories that cannot be written to."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_cache import IDS, filled, there
from tiny import KEY, content_id, known_rows

from kerastl.errors import CheckFailed, OptionError
from kerastl.features.cache import Space, chosen_dir
from kerastl.features.housekeeping import clear, evict, usage
from kerastl.files import cache_folder


def test_eviction_takes_the_longest_unused_until_under_the_cap(tmp_path: Path) -> None:
    space = filled(tmp_path, [10] * 5)
    segment = 128 + 10 * 16 + 128 + 10 * KEY.shape[0] * 4
    assert evict(tmp_path, 5 * segment) == 0
    assert evict(tmp_path, 3 * segment) == 2 * segment
    assert len(list(space.folder.glob("*.npy"))) == 6
    assert there(tmp_path, IDS[:50]) == IDS[20:50]  # which uses them all
    assert evict(tmp_path, 3 * segment - 1) == segment and len(there(tmp_path, IDS[:50])) == 20


def test_eviction_leaves_what_just_fits(tmp_path: Path) -> None:
    filled(tmp_path, [3, 4])
    total = sum(path.stat().st_size for path in tmp_path.glob("features/*/*.npy"))
    assert evict(tmp_path, total) == 0 and len(there(tmp_path, IDS[:7])) == 7
    assert evict(tmp_path, total - 1) > 0 and there(tmp_path, IDS[:7]) == IDS[3:7]


@pytest.mark.parametrize("value", [65_600.0, -65_600.0, np.nan])
def test_numbers_that_float16_cannot_hold_are_refused(value: float, tmp_path: Path) -> None:
    space = Space(tmp_path, replace(KEY, dtype="float16"))
    rows = np.zeros((2, 6), np.float32)
    rows[1, 3] = value
    with pytest.raises(CheckFailed, match="the largest float16 value"):
        space.append(IDS[:2], rows)
    assert IDS[0] not in Space(tmp_path, space.key)
    rows[1, 3] = 65_504.0
    space.append(IDS[:2], rows)
    assert np.array_equal(space.gather(IDS[1::-1]), rows[::-1]) and space.gather(IDS[:1]).dtype == np.float32


def test_eviction_spares_the_space_that_was_opened_last(tmp_path: Path) -> None:
    other = replace(KEY, backbone="other")
    for key in (KEY, other):
        filled(tmp_path, [10, 10], key)
    Space(tmp_path, KEY)
    evict(tmp_path, 1400)  # room for one of them
    assert [(one.backbone, one.rows) for one in usage(tmp_path)] == [("tiny", 20), ("other", 0)]


def test_usage_counts_rows_and_bytes_of_each_space(tmp_path: Path) -> None:
    assert usage(tmp_path) == []
    wide = replace(KEY, backbone="wide", compute="bfloat16", shape=(64,))
    filled(tmp_path, [1, 2, 300])
    space = filled(tmp_path, [150], wide)
    large, small = usage(tmp_path)
    assert (large.backbone, large.compute, large.rows, large.name) == ("wide", "bfloat16", 150, wide.name)
    assert (small.backbone, small.rows, small.last_used) == ("tiny", 303, 1e9 + 2 * 3600)
    assert large.bytes == sum(path.stat().st_size for path in space.folder.iterdir()) > 150 * (64 * 4 + 16)


def test_clear_takes_only_what_is_ours(tmp_path: Path) -> None:
    filled(tmp_path, [10])
    for path in ("tfds/x/1.png", "fine_tune/y/best.npz", "contrast-1a/rows.npy", "notes/mine.txt", "mine.json",
                 "bfloat16-speed.json", "my-speed.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}")
    (cache_folder(tmp_path, "anything") / "large.npz").write_bytes(b"x" * 1000)  # whoever makes it
    (tmp_path / "browser").mkdir()
    (tmp_path / "browser/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    files = sum(path.stat().st_size for folder in ("features", "tfds", "fine_tune", "contrast-1a", "anything")
                for path in (tmp_path / folder).rglob("*") if path.is_file())
    assert clear(tmp_path) == files > 10 * (KEY.shape[0] * 4 + 16) + 1000
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "CACHEDIR.TAG", "browser", "mine.json", "mine.txt", "my-speed.json", "notes"]
    assert clear(tmp_path) == 0 and usage(tmp_path) == []
    filled(tmp_path, [10])  # and goes on from there
    assert there(tmp_path, IDS[:10]) == IDS[:10]


def test_a_cache_directory_that_cannot_be_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="`cache_dir`"):
        chosen_dir(str(tmp_path / "file"))
    assert chosen_dir(str(tmp_path / "new" / "deep")).is_dir()


READ_ONLY = """
import os, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[2])
from tiny import KEY, content_id
from kerastl.data.spool import Spool
from kerastl.features.cache import Space, chosen_dir
from kerastl.features.housekeeping import evict
cache = chosen_dir(sys.argv[1])
assert not os.access(cache, os.W_OK)
evict(cache, 0)
space = Space(cache, KEY)
old, new = [content_id(i) for i in range(4)], [content_id("new")]
before = space.gather(old)
space.append(new, np.ones((1, *KEY.shape), np.float32))
assert (space.gather(new) == 1).all() and (space.gather(old) == before).all()
assert new[0] not in Space(cache, KEY)
Spool(cache).append("a text")
print("served")
"""


@pytest.mark.slow
def test_a_read_only_cache_serves_what_it_has_and_keeps_the_rest_elsewhere(tmp_path: Path) -> None:
    """On a real read-only file system where one can be mounted; otherwise without the right to write."""
    space = Space(tmp_path, KEY)
    ids = [content_id(i) for i in range(4)]
    space.append(ids, known_rows(ids))
    words = [sys.executable, "-c", READ_ONLY, str(tmp_path), str(Path(__file__).parent)]
    if os.geteuid() == 0:  # root may write whatever the permissions say
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        if subprocess.run(["unshare", "-m", "sh", "-c", mount, str(tmp_path), "true"]).returncode:
            pytest.skip("nothing can be mounted here")
        words = ["unshare", "-m", "sh", "-c", mount, str(tmp_path), *words]
    else:
        for folder in (tmp_path, space.folder.parent, space.folder):
            folder.chmod(0o555)
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    for folder in (tmp_path, space.folder.parent, space.folder):
        folder.chmod(0o755)
    assert done.returncode == 0 and done.stdout.endswith("served\n"), done.stderr
    assert done.stdout.count("is read-only: features that it lacks are kept in") == 1
