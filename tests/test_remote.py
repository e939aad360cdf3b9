"""Remote files by their URLs: read through a mirror of limited size, written completely or not at all."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from conftest import COLOURS, draw_folder
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from kerastl.data.images import read_images
from kerastl.errors import DataError, OptionError
from kerastl.files import (
    atomic_file,
    is_file,
    local_path,
    model_path,
    objects,
    output_file,
    prefetched,
    read_bytes,
    read_text,
    refreshed,
    released,
    shown,
    size_of,
    source_path,
    store,
    whole,
    write_atomically,
)
from kerastl.shell.system_errors import damaged_model
from kerastl.tokens.inputs import read_inputs
from kerastl.tokens.read import read_sentences
from kerastl.versions.folder import find_version, new_version, next_number, versions
from kerastl.versions.location import start_of


class Slow(MemoryFileSystem):  # type: ignore[misc]
    """Memory that fails the first requests, keeps the others waiting, and counts how many of them wait together."""

    protocol, cachable = "memory", False
    failures, requests, waiting, most, latency = 0, 0, 0, 0, 0.0
    lock = threading.Lock()

    def get_file(self, *arguments: Any, **options: Any) -> Any:
        """As its parent does."""
        with Slow.lock:
            Slow.requests += 1
            Slow.waiting += 1
            Slow.most = max(Slow.most, Slow.waiting)
            fails = Slow.failures > 0
            Slow.failures -= fails
        try:
            time.sleep(Slow.latency)
            if fails:
                raise OSError("reset by peer")
            return super().get_file(*arguments, **options)
        finally:
            with Slow.lock:
                Slow.waiting -= 1


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty object store in memory, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(objects, "store_of", lambda url: Slow())
    for name, value in {"failures": 0, "requests": 0, "most": 0, "latency": 0.0}.items():
        monkeypatch.setattr(Slow, name, value)
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def entries(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache/kerastl/remote/store").iterdir() if not path.name.startswith(".")]


def test_a_folder_is_listed_once_and_its_files_are_fetched_when_they_are_read(memory: Any) -> None:
    memory.pipe({"/data/cat/1.txt": b"one", "/data/dog/a b#?.txt": b"two"})
    folder = source_path("memory://data/")
    files = sorted(path for path in folder.rglob("*") if path.is_symlink())
    assert [shown(path) for path in files] == ["memory://data/cat/1.txt", "memory://data/dog/a b#?.txt"]
    assert Slow.requests == 0 and [size_of(path) for path in files] == [3, 3] and all(map(is_file, files))
    assert [read_bytes(path) for path in files] * 2 == [b"one", b"two"] * 2 and Slow.requests == 2
    assert not is_file(folder / "cat/2.txt")
    with pytest.raises(FileNotFoundError):
        read_bytes(folder / "cat/2.txt")


def test_a_file_that_changes_is_read_anew_and_one_that_goes_is_gone(memory: Any) -> None:
    memory.pipe({"/data/1.txt": b"one", "/data/2.txt": b"two"})
    folder = source_path("memory://data")
    assert read_bytes(folder / "1.txt") == b"one"
    memory.pipe("/data/1.txt", b"uno")
    memory.rm("/data/2.txt")
    folder = source_path("memory://data")
    assert read_bytes(folder / "1.txt") == b"uno" and os.listdir(folder) == ["1.txt"]


def test_a_file_that_changes_after_it_was_listed_is_read_as_it_is_now(memory: Any) -> None:
    memory.pipe("/data/1.txt", b"one")
    folder = source_path("memory://data")
    memory.pipe("/data/1.txt", b"longer")
    assert read_bytes(folder / "1.txt") == b"longer"
    assert store.size_in(os.path.basename(os.readlink(folder / "1.txt"))) == 6  # not under the name of what it was


def test_a_link_of_an_earlier_process_is_looked_up_again(memory: Any) -> None:
    memory.pipe({"/data/table.csv": b"path,label\n1.txt,a\n", "/data/1.txt": b"one"})
    folder = source_path("memory://data/table.csv").parent
    assert read_bytes(folder / "1.txt") == b"one"  # which was never listed
    memory.pipe("/data/1.txt", b"uno")
    os.utime(folder / "1.txt", (0, 0), follow_symlinks=False)
    assert read_bytes(folder / "1.txt") == b"uno"


def test_reads_are_retried_and_then_fail_with_one_message(memory: Any) -> None:
    memory.pipe({"/data/1.txt": b"one", "/data/2.txt": b"two"})
    folder = source_path("memory://data")
    Slow.failures = 2
    assert read_bytes(folder / "1.txt") == b"one" and Slow.requests == 3
    Slow.failures = 100
    with pytest.raises(DataError, match=r"memory://data/2.txt cannot be reached, after 4 tries: OSError: reset"):
        read_bytes(folder / "2.txt")


def test_requests_overlap_while_files_are_read_in_order(memory: Any) -> None:
    memory.pipe({f"/data/{n:03}.txt": str(n).encode() for n in range(100)})
    folder = source_path("memory://data")
    Slow.latency = 0.1
    paths = sorted(map(str, folder.iterdir()))
    assert [int(read_bytes(path)) for path in paths[:10]] == [*range(10)] and Slow.most == 1
    assert [int(read_bytes(path)) for path in prefetched(paths)] == [*range(100)]
    assert Slow.most >= 16 and Slow.requests == 100


def test_the_limit_of_the_cache_holds_and_the_least_recently_used_goes(
        memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, "1")
    memory.pipe({f"/data/{n}.bin": os.urandom(100_000) for n in range(30)} | {"/data/large.bin": bytes(2**20 + 1)})
    folder = source_path("memory://data")
    for n in range(30):
        assert len(read_bytes(folder / f"{n}.bin")) == len(read_bytes(folder / "0.bin")) == 100_000
        assert sum(path.stat().st_size for path in entries(tmp_path)) <= 2**20
    before = Slow.requests
    assert before == 30  # "0.bin" was never removed
    assert read_bytes(folder / "1.bin") == memory.cat("/data/1.bin") and Slow.requests == before + 1
    with pytest.raises(DataError, match=r"(?s)large.bin has 1.0 MB.*KERASTL_REMOTE_CACHE_MB"):
        read_bytes(folder / "large.bin")
    monkeypatch.setenv(store.VARIABLE, "much")
    with pytest.raises(OptionError, match="KERASTL_REMOTE_CACHE_MB is 'much'"):
        read_bytes(folder / "2.bin")


def test_what_a_killed_process_had_fetched_of_a_file_goes_when_it_is_fetched_again(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/data/1.txt", b"one")
    path = source_path("memory://data") / "1.txt"
    name = os.path.basename(os.readlink(path))
    with store.adding(tmp_path / "cache/kerastl/remote", name, "1.txt") as partial:
        dead = partial.with_name(f".{name}.01234567.part")
        dead.write_bytes(b"o")
        assert read_bytes(path) == b"one"
        assert partial.exists() and not dead.exists()  # another process is at work on the first


def test_threads_that_fetch_together_keep_the_limit(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                    ) -> None:
    monkeypatch.setenv(store.VARIABLE, "1")
    memory.pipe({f"/data/{n:02}.bin": bytes([n]) * 30_000 for n in range(60)})
    Slow.latency = 0.005
    folder = source_path("memory://data")
    for n, path in enumerate(prefetched(sorted(folder.iterdir()))):
        assert read_bytes(path) == bytes([n]) * 30_000
        assert sum(store.size_in(path.name) for path in entries(tmp_path)) <= 2**20


@pytest.mark.parametrize("name", ["/data/../../etc/passwd", "/data/a/./b", "/data/a//b", "/data/" + "x" * 300])
def test_names_that_no_folder_can_hold_are_refused(memory: Any, name: str) -> None:
    memory.store[name] = MemoryFile(memory, name, b"content")
    with pytest.raises(DataError, match="names that no folder can hold"):
        source_path("memory://data")


def test_urls_and_paths() -> None:
    assert local_path("saved_models/a") == Path("saved_models/a") and local_path("file:///tmp/a") == Path("/tmp/a")
    assert shown(local_path("s3a://bucket/a/b/")) == shown(local_path(Path("s3://bucket/a/b"))) == "s3://bucket/a/b"
    assert local_path("s3:/bucket") == Path("s3:/bucket")  # a path of this machine, when it is typed so
    for url in ("s3://", "s3:///a", "gs://bucket/../a", "memory://a//b"):
        with pytest.raises(OptionError, match="not the URL of a file or folder"):
            local_path(url)


def test_a_missing_source_and_a_missing_package_are_one_message(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such file or folder: memory://data/none"):
        source_path("memory://data/none")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    fsspec.filesystem.__globals__["get_filesystem_class"].__globals__["_registry"].pop("s3", None)
    with pytest.raises(OptionError, match=r"pip install 'kerastl\[remote\]'"):
        source_path("s3://bucket/data")


def test_an_output_is_uploaded_when_it_is_complete(memory: Any) -> None:
    path = output_file("memory://out/predictions.csv", (".csv",))
    assert not memory.find("/")  # what checked that it can be written is removed
    write_atomically(path, "a,b\n")
    assert memory.cat("/out/predictions.csv") == b"a,b\n"
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert memory.cat("/out/predictions.csv") == b"a,b\n" and read_text(path) == "a,b\n"
    with pytest.raises(OptionError, match="is an input"):
        output_file("memory://out/p.csv", (".csv",), ["memory://out/p.csv"])


def make_version(content: str = "{}") -> Path:
    with new_version("memory://models", "flowers") as version:
        (version.folder / "run.json").write_text(content)
        (version.folder / "variables").mkdir()
        (version.folder / "variables/data").write_text(content)
    return version.path


def test_a_version_is_published_and_read_back(memory: Any, tmp_path: Path) -> None:
    path = make_version()
    assert shown(path) == "memory://models/flowers/1" and whole(path) == path and Slow.requests == 0
    assert {name.removeprefix("/models/flowers/") for name in memory.find("/models")} == {
        ".next", "1/manifest.json", "1/run.json", "1/variables/data"}
    make_version('{"second": 2}')
    other = tmp_path / "another machine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(other))
        folder = find_version("memory://models/flowers")
        assert shown(folder) == "memory://models/flowers/2" and folder.is_relative_to(other)
        assert (folder / "variables/data").read_text() == '{"second": 2}'  # as TensorFlow reads it
        assert find_version("memory://models/flowers/1").name == "1" and versions(folder.parent) == [1, 2]


def test_a_version_without_its_manifest_is_not_seen_and_its_number_not_used_again(memory: Any) -> None:
    make_version()
    memory.pipe({"/models/flowers/2/run.json": b"{}", "/models/flowers/.claims/4": b"123"})
    home = model_path("memory://models/flowers")
    assert versions(home) == [1] and find_version("memory://models/flowers").name == "1" and next_number(home) == 5
    with pytest.raises(Exception, match="memory://models/flowers/2"):
        find_version("memory://models/flowers/2")
    memory.pipe("/models/flowers/2/manifest.json", b"{}")
    refreshed(home)
    assert versions(home) == [1, 2]


def test_the_manifest_is_uploaded_last_and_a_failed_upload_leaves_nothing(memory: Any, monkeypatch: pytest.MonkeyPatch
                                                                          ) -> None:
    names = list[str]()
    upload = objects.upload
    monkeypatch.setattr(objects, "upload", lambda path, url: (names.append(url), upload(path, url)))
    make_version()
    assert [name.endswith("/manifest.json") for name in names] == [False] * (len(names) - 1) + [True]

    def fails(path: Path, url: str) -> None:
        if url.endswith("manifest.json"):
            raise DataError("the network is down")
        upload(path, url)

    monkeypatch.setattr(objects, "upload", fails)
    with pytest.raises(DataError, match="the network is down"):
        make_version()
    assert not memory.find("/models/flowers/2") and versions(model_path("memory://models/flowers")) == [1]


@pytest.mark.parametrize(("claimed", "stays"), [
    (lambda: f"1 {time.time() - 25 * 3600:.0f}", False), (lambda: f"1 {time.time() - 3600:.0f}", True),
    (lambda: f"1 {time.time() + 25 * 3600:.0f}", True), (lambda: "123", True)], ids=["old", "new", "future", "0.1"])
def test_what_a_killed_writer_uploaded_is_removed_a_day_later(claimed: Callable[[], str], stays: bool, memory: Any
                                                              ) -> None:
    make_version()
    memory.pipe({"/models/flowers/2/run.json": b"half", "/models/flowers/.claims/2": claimed().encode(),
                 "/models/flowers/3/run.json": b"whole", "/models/flowers/3/manifest.json": b"{}",
                 "/models/flowers/.claims/3": b"1 1"})  # killed between the manifest and the end
    assert make_version().name == "4"
    assert memory.exists("/models/flowers/2/run.json") == stays and memory.exists("/models/flowers/3/run.json")
    assert versions(model_path("memory://models/flowers")) == [1, 3, 4] and make_version().name == "5"


def test_links_of_the_future_are_looked_up_again(memory: Any) -> None:
    """They were made before the clock was set back."""
    memory.pipe({"/data/table.csv": b"path,label\n1.txt,a\n", "/data/1.txt": b"one"})
    folder = source_path("memory://data/table.csv").parent
    assert read_bytes(folder / "1.txt") == b"one"
    memory.pipe("/data/1.txt", b"uno")
    os.utime(folder / "1.txt", (time.time() + 3600,) * 2, follow_symlinks=False)
    assert read_bytes(folder / "1.txt") == b"uno"


def test_no_way_leads_from_a_remote_version_to_the_folder_of_its_run(memory: Any) -> None:
    """The version that was fetched lies somewhere in the cache."""
    folder, record = make_version(), SimpleNamespace(started_in="../../..")
    assert start_of(whole(folder), record) is None  # type: ignore[arg-type]


def test_a_damaged_remote_version_is_one_message(memory: Any) -> None:
    make_version()
    memory.pipe("/models/flowers/1/variables/data", b"damaged")
    message = damaged_model(SimpleNamespace(model="memory://models/flowers"), ValueError("a loader's own words"))
    assert message is not None and "files changed since it was written: variables/data" in message


def test_two_runs_at_once_write_two_versions(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither loses its work, also where both have seen the same number as free."""
    with new_version("memory://models", "flowers") as mine:
        (mine.folder / "run.json").write_text("mine")
        numbers = iter([1, 1, 2])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kerastl.versions.folder.next_number", lambda home: next(numbers))
            assert make_version("other").name == "2" and mine.number == 1
    assert [memory.cat(f"/models/flowers/{n}/run.json") for n in (1, 2)] == [b"mine", b"other"]
    assert not memory.find("/models/flowers/.claims")
    with pytest.raises(RuntimeError), new_version("memory://models", "flowers"):
        raise RuntimeError
    assert make_version().name == "3"  # a number that nothing was uploaded under is free again


def test_a_version_that_is_released_makes_room(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, "1")
    for n in (1, 2):
        memory.pipe({f"/models/flowers/{n}/{name}": os.urandom(300_000) for name in ("run.json", "manifest.json")})
    home = model_path("memory://models/flowers")
    first = whole(home / "1")
    with pytest.raises(DataError, match="versions that are in use"):
        whole(home / "2")
    released(first)
    assert (whole(home / "2") / "run.json").stat().st_size == 300_000


def test_an_answer_that_ends_early_is_sent_for_again(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store uses for an ETag: it is the size that tells."""
    memory.pipe("/data/1.txt", b"the whole content")
    folder, get, cut = source_path("memory://data"), Slow.get_file, [True, False]

    def shortened(self: Slow, url: str, path: str) -> None:
        get(self, url, path)
        if cut and cut.pop(0):
            Path(path).write_bytes(b"the whole")

    monkeypatch.setattr(Slow, "get_file", shortened)
    assert read_bytes(folder / "1.txt") == b"the whole content"
    memory.pipe("/data/1.txt", b"another content")
    cut[:] = [True] * 9
    with pytest.raises(DataError, match="after 4 tries: OSError: received 9 of 15 bytes"):
        read_bytes(source_path("memory://data") / "1.txt")


@pytest.mark.parametrize(("error", "words"), [
    (ValueError("Invalid bucket name"), "memory://data/1.txt cannot be used: .*Invalid bucket name"),
    (OSError(28, "No space left on device"), "No space left on device")])
def test_what_does_not_pass_is_not_tried_again(error: Exception, words: str, memory: Any,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/data/1.txt", b"content")
    folder, calls = source_path("memory://data"), list[str]()

    def fails(self: Slow, url: str, path: str) -> None:
        calls.append(url)
        raise error

    monkeypatch.setattr(Slow, "get_file", fails)
    with pytest.raises((DataError, OSError), match=words):
        read_bytes(folder / "1.txt")
    assert len(calls) == 1


def test_a_version_in_use_stays_in_the_cache(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.VARIABLE, "1")
    memory.pipe({f"/models/flowers/1/{name}": os.urandom(200_000) for name in ("run.json", "manifest.json")})
    memory.pipe({f"/data/{n}.bin": os.urandom(300_000) for n in range(6)})
    folder = whole(model_path("memory://models/flowers") / "1")
    data = source_path("memory://data")
    for n in range(6):
        read_bytes(data / f"{n}.bin")
        assert (folder / "run.json").stat().st_size == 200_000
        assert sum(store.size_in(path.name) for path in entries(tmp_path)) <= 2**20


def test_fsspec_is_not_imported_without_a_url(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    code = ("import sys, kerastl, kerastl.files\nkerastl.files.read_bytes(sys.argv[1])\n"
            "kerastl.files.source_path(sys.argv[1])\nprint({'fsspec', 's3fs', 'asyncio'} & {*sys.modules})")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_sentences_are_read_from_urls(memory: Any, tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        content = "".join(f"{n}\tword{n}\t_\tNOUN\t_\t_\t{n - 1}\t{part}\t_\t_\n" for n in (1, 2)) + "\n"
        (tmp_path / f"x-ud-{part}.conllu").write_text(content)
        memory.pipe(f"/bucket/UD_X/x-ud-{part}.conllu", content.encode())
    memory.pipe("/bucket/a.txt", b"one two\nthree\n")
    here, there = read_sentences(tmp_path), read_sentences("memory://bucket/UD_X", cache_dir=tmp_path / "own")
    assert there.sentences == here.sentences and there.source_split == here.source_split
    assert there.source == "memory://bucket/UD_X" and (tmp_path / "own/remote").is_dir()
    assert [one.words for one in read_inputs(["memory://bucket/a.txt", "memory://is a text"])] == [
        ("one", "two"), ("three",), ("memory://is", "a", "text")]
    for read in (read_sentences, lambda url: read_inputs([url])):
        with pytest.raises(DataError, match="no such file or folder: memory://bucket/none.conllu"):
            read("memory://bucket/none.conllu")


def image_table(memory: Any, tmp_path: Path, paths: list[str]) -> str:
    draw_folder(tmp_path / "images", 3)
    for path in (tmp_path / "images").rglob("*.png"):
        memory.pipe(f"/bucket/images/{path.parent.name}/{path.name}", path.read_bytes())
    rows = [f"{name.format(colour=colour, n=n)},{colour}" for name in paths for colour in COLOURS for n in range(3)]
    memory.pipe("/bucket/tables/t.csv", "\n".join(["path,label", *rows]).encode())
    return "memory://bucket/tables/t.csv"


def test_a_table_names_images_of_its_bucket_and_nothing_else(memory: Any, tmp_path: Path) -> None:
    table = image_table(memory, tmp_path, ["../images/{colour}/{n}.png"])
    examples = read_images(table, min_per_class=3)
    assert len(examples) == 9 and examples.source == table
    memory.pipe("/other/0.png", memory.cat("/bucket/images/red/0.png"))
    for name in ("../../other/{n}.png", "../../../s3/bucket/{n}.png", "/etc/{n}.png", "../../../../../{n}.png"):
        table = image_table(memory, tmp_path, ["../images/{colour}/{n}.png", name])
        examples = read_images(table, min_per_class=3)
        assert len(examples) == 9 and len(examples.skipped) == 9
        assert {row.reason for row in examples.skipped} == {"a path out of the bucket of the table"}


def test_a_url_inside_a_table_is_not_followed(memory: Any, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    draw_folder(tmp_path / "images", 3)
    memory.pipe("/bucket/0.png", (tmp_path / "images/red/0.png").read_bytes())
    rows = [f"images/{colour}/{n}.png,{colour}" for colour in COLOURS for n in range(3)]
    table.write_text("\n".join(["path,label", *rows, "memory://bucket/0.png,red"]))
    examples = read_images(table, min_per_class=3)
    assert len(examples) == 9 and "it is an address" in examples.skipped[0].reason and Slow.requests == 0
