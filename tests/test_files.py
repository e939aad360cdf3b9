"""Writing by rename: a reader sees the old content or the new, whoever is killed; and what that leaves is removed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerastl.errors import OptionError
from kerastl.files import (
    TAG,
    atomic_file,
    atomic_folder,
    cache_folder,
    cache_folders,
    file_sha256,
    open_file,
    output_file,
    remove_leftovers,
    sync,
    write_atomically,
)

# Each content is one digit many times, so that a part of one, or of two, is seen.
SIZE = 200_000

FOREVER = """
import sys
from pathlib import Path
from kerastl.files import atomic_folder, write_atomically
folder, number = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    write_atomically(folder / "file", str(number % 10) * 200_000)
    with atomic_folder(folder / f"made-{number}") as made:
        for name in "ab":
            (made / name).write_text(str(number % 10) * 200_000)
    number += 1
    print(number, flush=True)
"""

EVERY_LINE = """
import os, sys
from pathlib import Path
from kerastl import files
folder = Path(sys.argv[1])
WATCHED = {"write_atomically", "atomic_file", "atomic_folder", "sync", "_rename_folder", "work"}
def work(line):
    files.write_atomically(folder / "file", str(line % 10) * 200_000)
    with files.atomic_folder(folder / f"made-{line}") as made:
        for name in "ab":
            (made / name).write_text(str(line % 10) * 200_000)
def killer(line):  # ends this process, as a kill does, before the line-th line that runs
    left = [line]
    def trace(frame, event, arg):
        if frame.f_code.co_name not in WATCHED: return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0: os.kill(os.getpid(), 9)
        return trace
    return trace
for line in range(1, 300):
    pid = os.fork()
    if pid == 0:
        sys.settrace(killer(line))
        work(line)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    content = (folder / "file").read_text()
    assert len(content) == 200_000 and len(set(content)) == 1, len(content)
    for made in folder.glob("made-*"):
        assert [(made / name).read_text() for name in "ab"] == [made.name[-1] * 200_000] * 2, made
    if status == 0: break
    assert status == -9, status
print(line)
"""


def whole(text: str) -> bool:
    return len(text) == SIZE and len(set(text)) == 1


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.slow
def test_a_kill_at_every_line_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "0" * SIZE)
    process = subprocess.run([sys.executable, "-c", EVERY_LINE, str(tmp_path)], capture_output=True, text=True,
                             timeout=300)
    assert process.returncode == 0, process.stderr
    last = int(process.stdout)
    assert 30 < last < 299  # the last run was not killed
    made = {int(name.removeprefix("made-")) for name in visible(tmp_path) - {"file"}}
    assert last in made and 1 not in made and len(made) < last / 2
    leftovers = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert leftovers and all(path.suffix == ".part" for path in leftovers)
    assert remove_leftovers(tmp_path, older_than=-60) >= 2 * SIZE
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert visible(tmp_path) == {"file", *(f"made-{number}" for number in made)}


@pytest.mark.slow
def test_readers_beside_a_writer_that_is_killed_see_no_part(tmp_path: Path) -> None:
    delays, number = random.Random(0), 1
    write_atomically(tmp_path / "file", "0" * SIZE)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", FOREVER, str(tmp_path), str(number)], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + delays.uniform(0.02, 0.1)
        while time.monotonic() < deadline:
            assert whole((tmp_path / "file").read_text())
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        finished = out.split() if out.endswith("\n") else out.split()[:-1]
        number = int((finished or [str(number)])[-1])
        assert whole((tmp_path / "file").read_text())
        made = [path for path in tmp_path.iterdir() if path.name.startswith("made-")]
        assert len(made) in (number - 1, number)
        assert all(whole((path / name).read_text()) for path in made for name in "ab")
        number = len(made) + 1
    assert number > 1


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "text", "ä\r\nb\n")
    write_atomically(tmp_path / "bytes", b"\x00\xff")
    write_atomically(tmp_path / "bytes", b"new")
    with atomic_folder(tmp_path / "folder") as folder:
        assert not (tmp_path / "folder").exists()
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text("x")
    assert (tmp_path / "text").read_bytes() == "ä\r\nb\n".encode() and (tmp_path / "bytes").read_bytes() == b"new"
    assert (tmp_path / "folder/inner/file").read_text() == "x"
    assert {path.name for path in tmp_path.iterdir()} == {"text", "bytes", "folder"}
    mode = os.stat(tmp_path / "text").st_mode & 0o777
    (tmp_path / "plain").touch()
    assert mode == os.stat(tmp_path / "plain").st_mode & 0o777


def test_a_reader_that_has_the_file_open_reads_the_old_content_to_its_end(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old" * 10_000)
    with open_file(tmp_path / "file", "r") as reader:
        start = reader.read(5)
        write_atomically(tmp_path / "file", "new")
        assert start + reader.read() == "old" * 10_000
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")
    with pytest.raises(error), atomic_file(tmp_path / "file") as partial:
        partial.write_text("ne")
        raise error
    with pytest.raises(error), atomic_folder(tmp_path / "folder") as folder:
        (folder / "file").write_text("ne")
        raise error
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "file"):
        pass  # nothing was written
    assert {path.name for path in tmp_path.iterdir()} == {"file"} and (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("content", [[], ["file"]], ids=["empty", "with a file"])
def test_a_folder_that_is_there_is_not_replaced(content: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileExistsError) as caught, atomic_folder(tmp_path / "folder") as folder:
        (folder / "new").touch()
        (tmp_path / "folder").mkdir()
        for name in content:
            (tmp_path / "folder" / name).touch()
    assert caught.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == content


def test_long_names_of_any_script_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 250, "\U0001f600" * 60):
        write_atomically(tmp_path / name, "x")
        with atomic_folder(tmp_path / f"{name}y"):
            pass
    assert len(list(tmp_path.iterdir())) == 4


def test_leftovers_go_when_nothing_in_them_changed_for_long(tmp_path: Path) -> None:
    past = time.time() - 3600
    (tmp_path / ".a.part").write_text("12345")
    (tmp_path / ".b.part").mkdir()
    (tmp_path / ".b.part/file").write_text("123")
    (tmp_path / "c.part.txt").write_text("kept")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/.d.part").write_text("kept")
    assert remove_leftovers(tmp_path) == 0 and remove_leftovers(tmp_path / "missing") == 0
    for name in (".a.part", ".b.part", "c.part.txt", "inner/.d.part"):
        os.utime(tmp_path / name, (past, past))
    assert remove_leftovers(tmp_path, older_than=1800) == 5  # a file in the folder is still new
    os.utime(tmp_path / ".b.part")
    os.utime(tmp_path / ".b.part/file", (past, past))
    assert remove_leftovers(tmp_path, older_than=1800) == 0  # and now the folder is, in which a file appeared
    os.utime(tmp_path / ".b.part", (past, past))
    size = (tmp_path / ".b.part").stat().st_size
    for name, content in ((".e.part", "1234567"), (".f.part", "12")):
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, (past, past))
    assert remove_leftovers(tmp_path, older_than=1800) == size + 3 + 7 + 2
    assert {path.name for path in tmp_path.rglob("*")} == {"c.part.txt", "inner", ".d.part"}


def test_files_open_as_utf_8_unless_told_otherwise(tmp_path: Path) -> None:
    with open_file(tmp_path / "file", "w", newline="") as file:
        file.write("é\n")
    assert (tmp_path / "file").read_bytes() == "é\n".encode()
    with open_file(tmp_path / "file") as file:
        assert file.read() == "é\n".encode()
    with open_file(str(tmp_path / "file"), "r", encoding="latin-1") as file:
        assert file.read() == "Ã©\n"
    sync(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "missing")


def test_a_hash_is_that_of_the_content_and_empty_where_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path) == file_sha256(tmp_path / "missing") == ""


def test_a_folder_that_cannot_be_renamed_is_told_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "link"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_folder_of_the_cache_has_its_tag_also_where_it_was_made_without(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n")  # of another program
    assert cache_folder(tmp_path, "old") == tmp_path / "old" and cache_folder(str(tmp_path), "new") == tmp_path / "new"
    assert cache_folders(tmp_path) == [tmp_path / "new", tmp_path / "old"]


def test_leftovers_of_one_name_are_removed_in_a_folder_that_others_use(tmp_path: Path) -> None:
    for name in (".states.0123abcd.part", ".other.0123abcd.part", "download.part"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - 100 * 3600,) * 2)
    remove_leftovers(tmp_path, name="states")
    assert visible(tmp_path) == {"download.part"} and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("out", "words"), [
    ("gone/x.csv", "there is no folder"), ("folder.csv", "which is a folder"), ("x.txt", r"must end in \.csv"),
    ("/proc/x.csv", "no file can be made in /proc")])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(out: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OptionError, match=words):
        output_file(str(tmp_path / out), (".csv",))
    assert output_file(str(tmp_path / "x.csv"), (".csv",)) == tmp_path / "x.csv"
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_an_input_is_not_replaced_by_the_output(tmp_path: Path) -> None:
    table, link = tmp_path / "t.parquet", tmp_path / "l.parquet"
    table.write_bytes(b"the user's data")
    link.symlink_to(table)
    for out in (table, link):
        with pytest.raises(OptionError, match="`out` is .*, which is an input"):
            output_file(str(out), (".parquet",), ["a text\0", "x" * 5000, str(table)])
    assert output_file(str(table), (".parquet",), ["other.parquet", str(tmp_path)]) == table
