"""A random table, written in any of the forms that tables come in, reads back the same, or is refused by a message.

KERASTL_EXAMPLES=20000 tries more tables than the 200 of the usual run.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kerastl.data.tables import open_table
from kerastl.errors import DataError

Rows = list[tuple[str, str]]

PROSE = ("Le café était déjà fermé, très décevant.", "Für größere Größen müßte man zahlen: \"süß\"", "¿Qué más, señor?",
         "nice film; not bad", "what a \"film\"", "one\nand two", "plain")
LETTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(list(" ,;|\t\"'\\\n\r#=aé日\u2028\x85\0\x0b"))
CELL = st.text(LETTERS, min_size=1, max_size=12).filter(str.strip)
TABLES = st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8)
PROSE_TABLES = st.lists(st.tuples(st.sampled_from(PROSE), st.sampled_from(["pos", "né"])), min_size=1, max_size=8)
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    ".zst": lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)}


@dataclass(frozen=True)
class Sheet:
    """How a CSV file is written."""

    name: str = "t.csv"
    delimiter: str = ","
    quoting: Any = csv.QUOTE_MINIMAL
    end: str = "\n"
    codec: str = "utf-8"
    before: str = ""  # the header
    extra: str = ""  # index: a column without a name; short: without its place in the header; last: an empty column

    def write(self, rows: Rows, escaped: bool = False) -> bytes:
        """The rows as a file. escaped: quotes by backslashes, not doubled."""
        out = io.StringIO(newline="")
        options = {"doublequote": False, "escapechar": "\\"} if escaped else {}
        breaks = any("\r" in cell or "\n" in cell for row in rows for cell in row)  # which Python 3.11 may not quote
        quoting = csv.QUOTE_ALL if breaks else self.quoting
        writer = csv.writer(out, delimiter=self.delimiter, quoting=quoting, lineterminator=self.end, **options)
        front, behind = self.extra in ("index", "short"), [""] * (self.extra == "last")
        writer.writerow([*[""] * (self.extra == "index"), "text", "label", *behind])
        writer.writerows([*[str(i)] * front, *row, *behind] for i, row in enumerate(rows))
        return (self.before + out.getvalue()).encode(self.codec)


def read(name: str, content: bytes) -> Rows | str:
    """The texts and labels of a file, or the message that refuses it. A row that is skipped fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            table = open_table(path, Path(folder))
            records = [record for _, record in table.records(["text", "label"])]
        except DataError as error:
            return str(error)
        assert not [record for record in records if isinstance(record, str)], records
        return [(record["text"], record["label"]) for record in records if isinstance(record, dict)]


examples = settings(derandomize="KERASTL_EXAMPLES" not in os.environ, deadline=None, database=None,
                    max_examples=int(os.environ.get("KERASTL_EXAMPLES", 200)) // 4)


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    delimiter = draw(st.sampled_from(",;\t|"))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return Sheet(
        name="t.tsv" if delimiter == "\t" and draw(st.booleans()) else "t.csv", delimiter=delimiter,
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        end=end, before=draw(st.sampled_from(["", "", f"sep={delimiter}{end}"])),
        codec=draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])),
        extra=draw(st.sampled_from(["", "", "index", "short", "last"])))


@examples
@given(rows=TABLES, sheet=sheets(), compression=st.sampled_from([*COMPRESSIONS]))
@example(rows=[("a\\", "b"), ("c", '\\"')], sheet=Sheet(quoting=csv.QUOTE_ALL), compression="")
@example(rows=[('x\\",\\"y', "b")], sheet=Sheet(), compression="")
@example(rows=[("one\rtwo", "b"), ("three\r\nfour", "c")], sheet=Sheet(end="\r\n"), compression=".gz")
def test_csv_with_doubled_quotes(rows: Rows, sheet: Sheet, compression: str) -> None:
    if sheet.end == "\r":  # a carriage return in a cell cannot be told from an end of a line
        assume(not any("\r" in cell for row in rows for cell in row))
    if sheet.delimiter == "\t":  # where quotes may be characters, lines that are whole rows are rows
        assume(not any("\t" in cell and "\n" in cell for row in rows for cell in row))
    assert read(f"{sheet.name}{compression}", COMPRESSIONS[compression](sheet.write(rows))) == rows


@examples
@given(rows=TABLES, sheet=sheets())
@example(rows=[("0", '"\n')], sheet=Sheet())
def test_csv_with_escaped_quotes(rows: Rows, sheet: Sheet) -> None:
    """One row has quotes: without any, whether two backslashes are one cannot be told."""
    assume(sheet.delimiter != "\t" and (sheet.end != "\r" or not any("\r" in cell for row in rows for cell in row)))
    rows = [('she said "no" twice', "b"), *rows]
    assert read(sheet.name, sheet.write(rows, escaped=True)) == rows


@examples
@given(rows=PROSE_TABLES, sheet=sheets(), codec=st.sampled_from(["latin-1", "cp1252"]))
def test_csv_in_a_legacy_encoding(rows: Rows, sheet: Sheet, codec: str) -> None:
    sheet = Sheet(**{**sheet.__dict__, "codec": codec})
    assert read(sheet.name, sheet.write(rows)) == rows


def _jsonl(rows: Rows) -> bytes:
    return "\n".join(json.dumps({"text": a, "label": b}, ensure_ascii=False) for a, b in rows).encode()


def _array(rows: Rows, **options: Any) -> bytes:
    return json.dumps([{"text": a, "label": b} for a, b in rows], **options).encode()


def _parquet(rows: Rows, kind: Any) -> bytes:
    file = io.BytesIO()
    columns = {name: pyarrow.array([row[i] for row in rows], pyarrow.string()).cast(
        kind) if not pyarrow.types.is_dictionary(kind) else pyarrow.array([row[i] for row in rows]).dictionary_encode()
        for i, name in enumerate(("text", "label"))}
    pyarrow.parquet.write_table(pyarrow.table(columns), file, row_group_size=3)
    return file.getvalue()


def _zipped(rows: Rows) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data/t.csv", Sheet().write(rows))
        archive.writestr("__MACOSX/data/._t.csv", b"\0")
    return file.getvalue()


FORMS: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "jsonl": ("t.jsonl", _jsonl), "jsonl in .json": ("t.json", _jsonl), "array": ("t.json", _array),
    "array in .jsonl": ("t.jsonl", lambda rows: _array(rows, indent=2)),
    "array in UTF-16": ("t.json", lambda rows: _array(rows, ensure_ascii=False).decode().encode("utf-16")),
    "zip": ("t.zip", _zipped), "zstd": ("t.jsonl.zst", lambda rows: COMPRESSIONS[".zst"](_jsonl(rows))),
    **{f"parquet of {kind}": ("t.parquet", lambda rows, kind=kind: _parquet(rows, kind)) for kind in (
        pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.string_view(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))},
}


@examples
@given(rows=TABLES, form=st.sampled_from(sorted(FORMS)))
def test_other_formats(rows: Rows, form: str) -> None:
    name, write = FORMS[form]
    assert read(name, write(rows)) == rows


def _workbook(rows: Rows) -> bytes:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in [("text", "label"), *rows]:
        book.active.append(row)
    book.save(file)
    return file.getvalue()


EXCEL_CELL = st.text("aé日,;\"\t\n' #", min_size=1).filter(str.strip)


@settings(examples, max_examples=examples.max_examples // 5)
@given(rows=st.lists(st.tuples(EXCEL_CELL, EXCEL_CELL), min_size=1, max_size=5))
def test_excel(rows: Rows) -> None:
    assert read("t.xlsx", _workbook(rows)) == rows


def _damaged(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 20])):
        place, kind = chance.randrange(len(data) or 1), chance.random()
        if kind < 0.5:
            data[place:place + 1] = bytes([chance.randrange(256)])
        elif kind < 0.7:
            del data[place:place + chance.randrange(1, 50)]
        elif kind < 0.85:
            data[place:place] = chance.randbytes(chance.randrange(1, 9))
        else:
            del data[place:]
    return bytes(data)


def test_no_damage_crashes_a_reader(tmp_path: Path) -> None:
    chance, rows = random.Random(0), [(f'text {i} "é"\nx', "ab"[i % 2]) for i in range(30)]
    forms = {name: write(rows) for name, write in FORMS.values()} | {"t.xlsx": _workbook(rows)}
    forms |= {f"t.csv{ending}": compress(Sheet().write(rows)) for ending, compress in COMPRESSIONS.items()}
    outcomes = Counter[str]()
    for _ in range(max(200, int(os.environ.get("KERASTL_EXAMPLES", 0)) // 4)):
        name = chance.choice(sorted(forms))
        (tmp_path / name).write_bytes(_damaged(forms[name], chance))
        try:
            list(open_table(tmp_path / name, tmp_path).records(["text", "label"]))
            outcomes["read"] += 1
        except DataError as error:
            assert name in error.got
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20
