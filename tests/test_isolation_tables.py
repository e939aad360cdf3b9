"""Parquet and Excel tables are read by worker processes: the same records, and a table that ends its reader is one
message."""

import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from table_forms import TEXT_TABLES
from test_isolation import gone, running
from test_tables import NAMES, hub

from kerastl.data import apart
from kerastl.data.apart import frames
from kerastl.data.broken import Broken
from kerastl.data.layout import Batch, Layout, batch_of_records
from kerastl.data.tables import Table, open_table
from kerastl.data.texts import read_texts
from kerastl.errors import DataError, KerastlError
from kerastl.inputs.isolation import Isolation, Limits, isolated
from kerastl.inputs.isolation.team import Team

Shell = Callable[..., tuple[int, str, str]]
MEMORY = 400 * 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux")


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    with isolated("on", limits=Limits(memory=MEMORY, cpu=2)) as isolation:
        assert isolation is not None
        yield isolation


@pytest.fixture
def team(isolation: Isolation) -> Team:
    """The workers that read tables, one of which has read one. Tests that leave some behind fail."""
    team = isolation.team(apart.TASK, "read", "tables")
    team.start()
    assert len(team.pids) == 1
    return team


def in_full(table: Table, only: Sequence[str] | None = None) -> list[Any]:
    """All that can be known of the records of a table, with the types of values and the cells of broken records."""
    return [(origin, str(record), repr(record.first), repr(record.last), record.first is record.last)
            if isinstance(record, Broken) else (origin, repr(record)) for origin, record in table.records(only)]


def read_both(path: Path, *only: Sequence[str]) -> tuple[Table, list[Any]]:
    """A table that is read in a worker, and its records, which are those that are read here."""
    def read() -> Any:
        try:
            table = open_table(path)
            return table, [in_full(table, columns) for columns in (None, *only)]
        except DataError as error:
            return str(error), []

    with isolated("off"):
        here, records = read()
    there, same = read()
    assert same == records
    if isinstance(here, str):
        assert there == here
        return there, []
    assert replace(there, records=here.records) == here
    return there, same[0]


def long_table(path: Path, rows: int = 50_000) -> Path:
    """More than fits into a socket."""
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"this is text number {i}" for i in range(rows)],
                                               "label": ["a", "b"] * (rows // 2)}), path)
    return path


def kinds() -> dict[str, Any]:
    """Columns of all kinds."""
    array, kind = pyarrow.array, pyarrow
    images = kind.struct([("bytes", kind.binary()), ("path", kind.string())])
    long = "x" * (frames.LONG + 5)
    return {
        "text": array(["é", None, "a\0b"]), "more": array(["", "\U0001f600", long]), "again": array(["a", "b", "c"]),
        "nul": array(["a\0", "\0b", ""]), "number": array([-2**63, 0, None]), "wide": array([0, 2**64 - 1, 1], "u8"),
        "float": array([float("nan"), float("-inf"), -0.0]), "half": array(np.array([0.1, 2, 3], np.float16)),
        "bool": array([True, None, False]), "nothing": kind.nulls(3), "decimal": array([Decimal("1.50"), None, 0],
                                                                                      kind.decimal128(9, 2)),
        "class": array([1, -1, 0]), "classes": array([[0, 1], [], None]), "wrong": array([0, 7, 1]),
        "bytes": array([b"ok", b"\xff\xfe", None]), "list": array([["a", None], [], None]),
        "nested": array([[["a"], []], None, [[]]]),
        "struct": array([{"b": 1, "a": {"c": None}}, None, {"b": 2, "a": {"c": "d"}}]),
        "map": array([[("k", 1)], [], None], kind.map_(kind.string(), kind.int32())),
        "date": array([date(2024, 5, 1), None, date(1, 1, 1)]),
        "nanoseconds": array([1, 2, None], kind.timestamp("ns")),
        "zone": array([0, 1, None], kind.timestamp("us", "America/New_York")),
        "out of range": array([2**50, 1, None], kind.timestamp("ms")), "time": array([1, 2, None], kind.time64("ns")),
        "duration": array([1, 2, None], kind.duration("ns")),
        "dates": array([[1, None], [], None], kind.list_(kind.timestamp("ns", "Asia/Tokyo"))),
        "dated": array([{"at": date(2024, 5, 1), "n": [timedelta(1)]}, None, None]),
        "dictionary": array(["u", "v", "u"]).dictionary_encode(), "uuid": array([UUID(int=i).bytes for i in range(3)],
                                                                               kind.uuid()),
        "image": array([{"bytes": b"\x89PNG\0\xff", "path": "a.png"}, {"bytes": None, "path": None}, None], images),
        "plain image": array([b"\x89PNG\0\xff", None, b"\xff\xd8\xff" * 9999])}


def test_values_of_all_kinds_come_back_as_they_are(team: Team, tmp_path: Path) -> None:
    columns = kinds()
    path = hub(tmp_path / "t.parquet", {"class": NAMES, "classes": [NAMES], "wrong": NAMES}, **columns)
    table, records = read_both(path, [], ["text"], ["class", "wrong", "bytes"], ["image"], ["absent"])
    assert len(records) == 3 and table.names == tuple(columns) and table.images == ("image", "plain image")
    assert table.notes and "['neg', 'pos']" in records[0][1] and "b'\\x89PNG" in records[0][1]
    assert len(team.pids) == 1


def test_dates_inside_of_lists_are_texts(tmp_path: Path) -> None:
    columns = {name: column for name, column in kinds().items() if name in ("dates", "dated")}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    records = [record for _, record in open_table(tmp_path / "t.parquet").records(None)]
    assert records[0] == {"dates": ["1970-01-01 09:00:00.000000001+0900", None],
                          "dated": {"at": "2024-05-01", "n": ["86400000000"]}}


def test_workbooks_come_back_as_they_are(team: Team, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["text", None, "label", "label", "when"])
    for row in (["a", 1, True, "x", datetime(2024, 5, 1)], [], ["b", 1.5, None, "y", datetime(2024, 5, 1, 1, 2)],
                ["#N/A", None, None, "z", time(1, 2)], [1, 2, 3, 4, 5, 6],
                ["e", None, None, None, timedelta(hours=30)]):
        book.active.append(row)
    book.create_sheet("more").append(["x"])
    book.save(tmp_path / "t.xlsx")
    table, records = read_both(tmp_path / "t.xlsx", ["label"], [])
    assert [origin for origin, *_ in records] == [f"row {i} (line {i + 1 + (i > 1)})" for i in range(1, 6)]
    assert table.form.sheet == "Sheet" and len([record for record in records if len(record) > 2]) == 2
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    assert read_both(tmp_path / "empty.xlsx")[1] == []
    assert len(team.pids) == 1


def test_each_form_of_tables_gives_the_same_records(team: Team, tmp_path: Path) -> None:
    from data_forms import Row

    rows = [Row(f"text {i}", ("ab"[i % 2],), f"g{i}", "train") for i in range(7)]
    read = 0
    for number, form in enumerate(form for form in TEXT_TABLES if form.name.startswith(("Parquet", "Excel"))):
        for name, values in form.variants.items():
            for place, value in enumerate(values):
                folder = tmp_path / f"{number}-{name}-{place}"
                folder.mkdir()
                with suppress(TypeError):  # variants that need others
                    source = form.write(folder, rows, **{name: value}).source
                    for file in [source] if source.is_file() else sorted(source.rglob("*.parquet")):
                        read += len(read_both(file)[1]) > 0
    assert read > 10


@pytest.mark.slow
def test_damaged_tables_end_in_the_same_message(team: Team, tmp_path: Path) -> None:
    """Some are read although they are damaged. None ends its worker in another way than it ends here."""
    choice, outcomes = random.Random(7), set()
    table = long_table(tmp_path / "w.parquet", 200).read_bytes()
    for whole, ending in ((table, "parquet"), (workbook(tmp_path), "xlsx")):
        for number in range(25):
            data = bytearray(whole)
            for _ in range(choice.randint(1, 5)):
                data[choice.randrange(4, len(data))] = choice.randrange(256)
            path = tmp_path / f"{number}.{ending}"
            path.write_bytes(data if number % 5 else data[:choice.randrange(4, len(data))])
            outcomes.add((ending, isinstance(read_both(path)[0], str)))
    assert {("parquet", True), ("xlsx", True)} <= outcomes
    assert len(team.pids) == 1


def workbook(folder: Path) -> bytes:
    book = openpyxl.Workbook()
    for i in range(20):
        book.active.append([f"text {i}", "label"])
    book.save(folder / "w.xlsx")
    return (folder / "w.xlsx").read_bytes()


@pytest.mark.slow
def test_compressed_tables_are_read_apart_too(team: Team, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "t.parquet.gz"
    path.write_bytes(gzip.compress(long_table(tmp_path / "t.parquet", 1000).read_bytes()))
    assert len(read_both(path)[1]) == 1000


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, isolation: Isolation, tmp_path: Path
            ) -> Iterator[Callable[[str], DataError]]:
    """Reads a table whose reader fails in a way. Returns the error."""
    monkeypatch.setattr(apart, "TASK", "failing_tables")
    team = isolation.team("failing_tables", "read", "tables")

    def fail(way: str) -> DataError:
        read = 0
        with pytest.raises(DataError) as raised:
            for _ in open_table(long_table(tmp_path / f"{way}.parquet", 9000)).records(None):
                read += 1
        assert read == 4096 and len(team.pids) == 1
        assert "it was behind row 4,096" in raised.value.got or way == "raise"
        return raised.value

    yield fail


@pytest.mark.parametrize(("way", "words"), [
    ("segfault", "ended by SIGSEGV"), ("leave", "ended "), ("compute", "took more than 2 seconds of processor time"),
    ("memory", "needed more than 400 MiB of memory"), ("lie", "returned what no reader of tables returns"),
    ("boast", "returned what no reader of tables returns"), ("raise", "LookupError: no such thing")])
def test_a_table_whose_reader_fails_is_one_message(way: str, words: str, failing: Callable[[str], DataError]) -> None:
    error = failing(way)
    assert words in error.got and f"{way}.parquet" in error.got and error.expected and error.hint


@pytest.mark.slow
def test_a_command_ends_with_that_message(failing: Callable[[str], DataError], shell: Shell, tmp_path: Path) -> None:
    code, out, err = shell("check", long_table(tmp_path / "segfault.parquet", 9000), "--isolate", "on", "--backbone",
                           "none", "--cache-dir", tmp_path)
    assert code == 2 and not out and "ended by SIGSEGV" in err and "set --isolate to off" in err
    assert "Traceback" not in err


def test_a_table_that_takes_too_much_memory_is_one_message(team: Team, tmp_path: Path) -> None:
    """The file stores one text of 20 MB, and that each of its rows has it."""
    path = tmp_path / "bomb.parquet"
    column = pyarrow.DictionaryArray.from_arrays([0] * 400, ["a" * 20_000_000])
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10**5
    with pytest.raises(DataError, match=r"more than 400 MiB of memory; it was before its first row"):
        in_full(open_table(path))
    assert len(team.pids) == 1


def test_a_reader_that_hangs_is_given_up(team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = open_table(long_table(tmp_path / "t.parquet")).records(None)
    next(records)
    os.kill(team.pids[1], signal.SIGSTOP)
    monkeypatch.setattr(team, "limits", replace(team.limits, seconds=1.0))
    with pytest.raises(DataError, match=r"gave no answer for 1 seconds; it was behind row \d"):
        list(records)
    assert len(team.pids) == 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_what_was_read_before_a_crash_is_not_the_whole_table(number: int, team: Team, tmp_path: Path) -> None:
    records = open_table(long_table(tmp_path / "t.parquet")).records(None)
    next(records)
    os.kill(team.pids[1], number)
    with pytest.raises(DataError, match=f"ended by {signal.Signals(number).name}"):
        list(records)
    assert len(in_full(open_table(tmp_path / "t.parquet"))) == 50_000  # another worker reads it


@pytest.mark.slow
def test_nothing_is_left_however_reading_ends(team: Team, tmp_path: Path) -> None:
    gc.collect()  # what tests before this one left, such as sockets

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    table, before = open_table(long_table(tmp_path / "t.parquet")), files()
    list(table.records(None))
    assert list(table.sample(3))[0]["label"] == "a"
    half = table.records(None)
    next(half)
    pids = team.pids
    assert len(pids) == 2 and files() == before + 2  # the socket, and the shared memory
    half.close()  # type: ignore[attr-defined]
    with suppress(ZeroDivisionError):
        for _ in table.records(None):
            pids += team.pids[1:]
            raise ZeroDivisionError
    forgotten = table.records(None)
    next(forgotten)
    pids += team.pids[1:]
    del forgotten
    gc.collect()
    assert len(pids) == 4 and gone(pids[1:]) and len(team.pids) == 1 and files() == before


def test_several_tables_are_read_at_once_and_in_threads(team: Team, tmp_path: Path) -> None:
    tables = [open_table(long_table(tmp_path / f"{i}.parquet", 9000 + i * 2)) for i in range(3)]
    assert [sum(1 for _ in zip(*(table.records(None) for table in tables), strict=False)), len(team.pids)] == [9000, 1]
    counts = dict[int, int]()

    def count(place: int) -> None:
        counts[place] = sum(1 for _ in tables[place].records(["text"]))

    threads = [threading.Thread(target=count, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {0: 9000, 1: 9002, 2: 9004} and len(team.pids) == 1


def test_a_reader_has_no_rights_files_or_network(team: Team, tmp_path: Path) -> None:
    path = long_table(tmp_path / "t.parquet")
    records = open_table(path).records(None)
    next(records)
    folder = Path(f"/proc/{team.pids[1]}")
    status = dict(line.split(":\t") for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapPrm"] == "0" * 16 and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    limits = {line[:26].strip(): line[26:].split()[0] for line in (folder / "limits").read_text().splitlines()}
    assert limits["Max open files"] == limits["Max file size"] == limits["Max core file size"] == "0"
    opened = {number: os.readlink(folder / "fd" / number) for number in os.listdir(folder / "fd")}
    assert {name for name in opened.values() if not name.startswith(("/dev/null", "socket:", "/memfd:shared"))
            } == {str(path)}
    number, = (number for number, name in opened.items() if name == str(path))
    flags = next(line for line in (folder / "fdinfo" / number).read_text().splitlines() if line.startswith("flags"))
    assert int(flags.split()[1], 8) & os.O_ACCMODE == os.O_RDONLY
    maps = (folder / "maps").read_text()
    assert "libarrow" in maps and "tensorflow" not in maps


@pytest.mark.slow
def test_a_block_that_ends_ends_its_readers(tmp_path: Path) -> None:
    with isolated("on") as isolation:
        assert isolation is not None
        table = open_table(long_table(tmp_path / "t.parquet"))
        records = table.records(None)
        next(records)
        pids = isolation.team(apart.TASK, "read", "tables").pids
        assert len(pids) == 2 and all(map(running, pids))
    assert gone(pids)
    with pytest.raises(KerastlError, match="the processes were ended"):
        list(records)


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_no_reader_outlives_the_process_that_started_it(way: signal.Signals, tmp_path: Path) -> None:
    code = ("import sys, time\nfrom pathlib import Path\nfrom kerastl.data import apart\n"
            "from kerastl.data.tables import open_table\nfrom kerastl.inputs.isolation import isolated\n"
            "with isolated('on') as isolation:\n"
            "    records = open_table(Path(sys.argv[1])).records(None)\n    next(records)\n"
            "    print(*isolation.team(apart.TASK, '', '').pids, flush=True)\n    time.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", code, long_table(tmp_path / "t.parquet")],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        pids = [int(word) for word in child.stdout.readline().split()]
        assert len(pids) == 2 and all(map(running, pids))
        child.send_signal(way)
    assert gone(pids)


@pytest.mark.slow
def test_auto_reads_large_tables_apart_and_off_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = long_table(tmp_path / "t.parquet", 100)
    for mode, large, apart_then in (("auto", 10**9, False), ("auto", 1, True), ("off", 1, False)):
        monkeypatch.setitem(apart.LARGE, "parquet", large)
        with isolated(mode) as isolation:
            assert len(in_full(open_table(path))) == 100
            pids = isolation.team(apart.TASK, "read", "tables").pids if isolation else []
            assert bool(pids) == apart_then


def frame(**parts: Any) -> dict[str, Any]:
    return {"rows": 1, "lines": None, "names": ["a"], "columns": [["plain", ["x"]]], "broken": [], **parts}


@pytest.mark.slow
@pytest.mark.parametrize("document", [
    None, [], "text", {}, frame(rows=2), frame(rows=-1), frame(rows=10**15), frame(rows="1"), frame(lines=[]),
    frame(lines=["1"]), frame(names=[1]), frame(names=["b"]), frame(names=["a", "b"]), frame(columns=[]),
    frame(columns=[["plain", []]]), frame(columns=[["plain", [[]]]]), frame(columns=[["plain", [{}]]]),
    frame(columns=[["odd", ["x"]]]), frame(columns=[["packed", [["pickle", "x"]]]]),
    frame(columns=[["packed", [["b", 0, 9]]]]), frame(columns=[["packed", [["b", -1, 1]]]]),
    frame(columns=[["packed", [["Decimal", "x"]]]]), frame(columns=[["packed", [["Decimal", 1]]]]),
    frame(columns=[["packed", [["timedelta", 10**12, 0, 0]]]]), frame(columns=[["packed", [{"a": 1}]]]),
    frame(columns=[["joined", 0, 3]]), frame(columns=[["joined", 0]]), frame(broken=[[0, 1, None, None]]),
    frame(broken=[[0, "x", "y", None]], columns=[["plain", []]]), frame(broken=[[7, "x", ["d"], None]])])
def test_what_is_no_batch_is_refused(document: Any) -> None:
    with pytest.raises(frames.REFUSED):
        frames.batch_of(document, b"x\0", Layout(["a"]), None)


def test_images_of_another_type_are_refused() -> None:
    assert frames.batch_of(frame(columns=[["plain", [None]]]), b"", Layout(["a"], images=["a"]), None)
    for value in ("x", ["l"], ["d", ["bytes", "x"]], ["d", ["path", "x"]]):
        with pytest.raises(frames.REFUSED):
            frames.batch_of(frame(columns=[["packed", [value]]]), b"", Layout(["a"], images=["a"]), None)


def test_a_frame_is_refused_by_its_size_before_it_is_received() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frames.HEAD.pack(frames.BATCH, 1, frames.MOST_BYTES + 1))
        with pytest.raises(ValueError, match="too large"):
            frames.receive(ours, 1.0)
        theirs.sendall(frames.HEAD.pack(frames.SHARED, 2, 9) + b"[]")
        with pytest.raises(ValueError, match="more than the shared memory"):
            frames.receive(ours, 1.0, bytearray(8))


@pytest.mark.slow
def test_batches_that_are_too_large_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_JSON", 300)
    batch = batch_of_records([Broken("why", {"a": i}) if i % 7 == 0 else
                              {"a": [i] * 9, "b": "x" * (2000 if i == 5 else 10) if i % 2 else None}
                              for i in range(1, 40)], list(range(1, 40)))
    layout, records, sent = Layout(["a", "b"]), list[Any](), 0
    monkeypatch.setattr(frames, "LONG", 100)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            sender = frames.Sender(theirs, bytearray())
            sender.send(batch)
            with pytest.raises(frames.TooLargeError):
                sender.send(Batch(1, {"a": [list(range(200))]}))
        with suppress(EOFError):
            while True:
                _, document, behind = frames.receive(ours)
                records += frames.batch_of(document, behind, layout, None).records(len(records) + 1)
                sent += 1
    assert records == list(batch.records(1)) and sent > 4


@pytest.mark.slow
def test_commands_read_no_table_in_this_process(
        tmp_path: Path, shell: Shell, trained: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions beside the columns of a table with images in it, and a check of texts."""
    files = sorted(images.rglob("*.png"))[:3]
    texts = pyarrow.table({"image": [file.read_bytes() for file in files], "note": ["a", None, "c"]})
    pyarrow.parquet.write_table(texts, tmp_path / "i.parquet")
    words = ("predict", trained, tmp_path / "i.parquet", "--json", "--cache-dir", tmp_path / "cache")
    written = {}
    for mode in ("off", "on"):
        if mode == "on":
            monkeypatch.setattr(apart, "READERS", dict.fromkeys(apart.READERS, (None, None)))
        code, out, err = shell(*words, "--out", tmp_path / f"{mode}.csv", "--isolate", mode)
        assert code == 0, err
        written[mode] = (tmp_path / f"{mode}.csv").read_text(), json.loads(out)["predictions"]
    assert written["on"] == written["off"] and "note" in written["on"][0]
    long_table(tmp_path / "t.parquet", 100)
    code, out, err = shell("check", tmp_path / "t.parquet", "--isolate", "on", "--backbone", "none", "--json")
    assert code == 0 and json.loads(out)["rows"] == 100, err
    with isolated("on"):
        assert len(read_texts(str(tmp_path / "t.parquet"))) == 100
