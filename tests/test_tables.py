"""Tables as people have them: dialects, encodings, compression, JSON arrays, Parquet types, Excel, images inside."""

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from conftest import draw

from kerastl.data import source as sources
from kerastl.data.delimited import Record
from kerastl.data.detection import modality_of
from kerastl.data.encoding import decode_lines, decode_paths
from kerastl.data.images import read_images, read_unlabelled
from kerastl.data.tables import Table, open_table
from kerastl.data.texts import read_texts
from kerastl.errors import DataError

Open = Callable[..., Table]
BODY = [("nice film", "pos"), ("so, so", "neg"), ('a "film"', "pos"), ("two\nlines", "neg"), ("x; y | z", "pos")]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens what is given as a file's content."""

    def opening(content: bytes | str, name: str = "t.csv") -> Table:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_table(tmp_path / name, tmp_path)

    return opening


def records(table: Table, only: Sequence[str] | None = None) -> list[Record | str]:
    return [record for _, record in table.records(only)]


def rows(table: Table) -> list[tuple[Any, ...]]:
    """The texts and labels of a table without broken records."""
    return [(record["text"], record["label"]) for record in records(table) if isinstance(record, dict)]


def sheet(body: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label"), **options: Any) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, **options).writerows([header, *body])
    return out.getvalue()


# Dialects


@pytest.mark.parametrize(("content", "note"), [
    ("sep=;\r\n" + sheet(BODY, delimiter=";"), "the first line, sep=;, names the delimiter"),
    ("sep=,\n" + sheet(BODY), "the first line, sep=,, names the delimiter"),
    ('"sep=|"\r\n' + sheet(BODY, delimiter="|"), "the first line, sep=|, names the delimiter"),
    ("SEP=^\n" + sheet(BODY, delimiter="^"), "the first line, sep=^, names the delimiter"),
    (sheet(BODY, delimiter=";"), "cells are separated by semicolons, not by commas"),
    (sheet(BODY, delimiter="|"), "cells are separated by bars, not by commas"),
    (sheet(BODY, delimiter="\t"), "cells are separated by tabs, not by commas"),
    (sheet(BODY, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
     "quotes inside cells are written with a backslash"),
    (sheet(BODY, doublequote=False, escapechar="\\", delimiter=";"),
     "quotes inside cells are written with a backslash"),
    (sheet([(*row, "") for row in BODY], ("text", "label", "")),
     "lines end in a delimiter: the empty column behind it is not used"),
    (sheet([(*row, "") for row in BODY]), ""),
    (sheet([(str(i), *row) for i, row in enumerate(BODY)], ("", "text", "label")),
     "column 1 has no name in the header"),
    (sheet([(str(i), *row) for i, row in enumerate(BODY)]),
     "the rows have one more cell than the header: the first, a number, is not used"),
    ('"text", "label"\n' + "".join('"{}", "{}"\n'.format(a.replace('"', '""'), b) for a, b in BODY),
     "blanks after delimiters are ignored"),
    ("'text','label'\n" + "".join(f"'{a}','{b}'\n" for a, b in BODY), "cells are quoted by single quotes"),
    ("\n\r\n" + sheet(BODY), ""), (sheet(BODY, quoting=csv.QUOTE_ALL), ""),
    (sheet(BODY, lineterminator="\r\r\n"), ""),  # a text file of Windows, written twice
], ids=lambda value: value[:30])
def test_every_dialect_gives_the_same_rows_and_is_said(content: str, note: str, opened: Open) -> None:
    table = opened(content)
    assert rows(table) == BODY and all(isinstance(record, dict) for record in records(table))
    assert note in table.notes if note else not table.notes


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_are_detected_outside_of_quotes(end: str, opened: Open) -> None:
    table = opened(sheet(BODY, lineterminator=end, quoting=csv.QUOTE_ALL))
    assert rows(table) == BODY and table.form.line_end == end
    table = opened(sheet([("one\r\ntwo", "pos")] * 3, lineterminator="\n", quoting=csv.QUOTE_ALL))
    assert rows(table) == [("one\r\ntwo", "pos")] * 3 and table.form.line_end == "\n"


def test_escapes_far_into_a_file_are_seen_and_other_backslashes_stay(opened: Open) -> None:
    plain = "".join(f'"{"plain words " * 20}{i}",pos\n' for i in range(1000))  # over what a dialect is detected from
    odd = "".join(f'"He said \\"no\\", {i}, in C:\\new",neg\n' for i in range(40))
    table = opened("text,label\n" + plain + odd)
    assert len(plain) > 1 << 16 and len(rows(table)) == 1040 == len(records(table))
    assert rows(table)[-1] == ('He said "no", 39, in C:\\new', "neg")
    assert "quotes inside cells are written with a backslash" in table.notes and table.form.dialect
    assert table.form.dialect.escape == "\\" and not table.form.dialect.mixed


def test_backslashes_that_are_no_escapes_stay(opened: Open) -> None:
    body = [("C:\\dir\\", "pos"), ('{"a": "x\\"y"}', "neg"), ("a\\,b", "pos"), ("\\n", "neg"), ('\\"', "pos")]
    for options in ({}, {"quoting": csv.QUOTE_ALL}):
        table = opened(sheet(body, **options))
        assert rows(table) == body and not table.notes


def test_both_ways_to_write_quotes_in_one_file_are_read_and_said(opened: Open) -> None:
    doubled = "".join(f'"a ""film"" \\ {i}",pos\n"C:\\dir\\",pos\n' for i in range(20))
    table = opened("text,label\n" + doubled + '"He said \\"no\\" twice",neg\n')
    assert len(rows(table)) == 41 and rows(table)[-1] == ('He said "no" twice', "neg")
    assert "quotes inside cells are written with a backslash in some lines and doubled in others" in table.notes


def test_escaped_quotes_in_cells_of_several_lines_are_read(opened: Open) -> None:
    body = [(f'She said "no" twice,\nthen {i}.', "pos") for i in range(300)]
    plain = [(f"A film,\nnumber {i}.", "neg") for i in range(300)]  # beyond the first rows
    for written in (body, plain + body):
        table = opened(sheet(written, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL))
        assert rows(table) == written and "quotes inside cells are written with a backslash" in table.notes


@pytest.mark.parametrize("name", ['the "label"', 'a ","', "a\\,"])
def test_names_of_columns_are_read_like_cells(name: str, opened: Open) -> None:
    for options in ({}, {"doublequote": False, "escapechar": "\\"}):
        body = [(str(i), f'a "film" {i}', "0", "1") for i in range(20)]
        table = opened(sheet(body, ("number", "text", name, "x"), **options))
        assert table.names == ("number", "text", name, "x")
        assert [tuple(record.values()) for record in records(table) if isinstance(record, dict)] == body


def test_row_numbers_are_found_where_the_last_column_is_mostly_empty(opened: Open) -> None:
    body = [(str(i), f"film {i}", "pos", "A" * (i % 4 == 0)) for i in range(20)]
    table = opened(sheet(body, ("text", "label", "group")))
    assert rows(table) == [row[1:3] for row in body]
    empty = [(*row[:2], "") for row in body]  # lines that end in a delimiter
    assert opened(sheet(empty, ("number", "text"))).names == ("number", "text")


def test_one_column_is_not_divided(opened: Open) -> None:
    table = opened('text\nHello, world\n"quoted, too"\nplain\n12,5\n')
    assert [record["text"] for record in records(table) if isinstance(record, dict)] == [
        "Hello, world", "quoted, too", "plain", "12,5"]
    assert table.notes == ("one column: commas are part of its cells",)


def test_a_row_with_more_cells_is_no_index_unless_it_is_one(opened: Open) -> None:
    table = opened("text,label\nwell, fine,pos\nso, so,neg\n")
    assert records(table) == [f"wrong number of cells: 3 in line {line}, 2 in the header" for line in (2, 3)]


def test_other_readers_lose_rows_behind_a_stray_quote(tmp_path: Path) -> None:
    """Why `data.lines` and `data.delimited` have code of their own."""
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "nice,pos\n" * 20 + '"open,pos\n' + "fine,neg\n" * 20 + '"quoted",pos\n')
    invalid = list[Any]()
    options = pyarrow.csv.ParseOptions(newlines_in_values=True,
                                       invalid_row_handler=lambda row: invalid.append(row) or "skip")
    assert pyarrow.csv.read_csv(path, parse_options=options).num_rows + len(invalid) < 30
    with path.open(newline="") as file:
        assert sum(len(row) == 2 for row in csv.reader(file)) < 30
    found = open_table(path)
    assert len(rows(found)) == 41 and len(records(found)) == 42
    assert csv.Sniffer().sniff("text\nthe best\nthe rest\n").delimiter == "t"  # and why `data.dialect` has


# Encodings


RUSSIAN = "Это был очень хороший фильм, мне понравилось всё, кроме конца."
LEGACY = {"cp1251": RUSSIAN, "koi8_r": RUSSIAN, "cp1253": "Ήταν μια πολύ καλή ταινία και μου άρεσε όλο το έργο.",
          "cp1250": "Zażółć gęślą jaźń, to był świetny film i bardzo długi wieczór.",
          "iso8859_2": "Zażółć gęślą jaźń, to był świetny film i bardzo długi wieczór.",
          "cp1254": "İstanbul'da çok güzel bir gün geçirdik, ışıklar gece boyunca yandı. Şehir büyüktü.",
          "cp932": "この映画はとても面白かったです。最後の場面だけは好きではありません。",
          "gb18030": "这部电影非常好看，除了结尾之外我都很喜欢。", "big5": "這部電影非常好看，除了結尾之外我都很喜歡。",
          "cp949": "이 영화는 정말 재미있었습니다. 결말만 빼고 모두 좋았습니다."}


@pytest.mark.parametrize("codec", LEGACY)
def test_encodings_of_other_scripts_are_detected_and_said(codec: str, opened: Open) -> None:
    body = [(f"{LEGACY[codec]} \"{i}\" a|b\\", "pos") for i in range(5)]
    table = opened(sheet(body).encode(codec))
    assert rows(table) == body and table.form.encoding == codec
    assert "is not UTF-8; detected by its letters" in table.notes[0]


@pytest.mark.parametrize(("text", "codec"), [
    ("Le café était déjà fermé, très décevant, à côté.", "latin-1"), ("Größe, süß, schön, für, Bäume, Öl", "latin-1"),
    ("The café’s “service” was naïve – it cost €5…", "cp1252"), ("el niño comió mañana, ¿qué más?", "latin-1"),
    # charset-normalizer takes these for Central European
    ("avó já ação também à ação atenção são música já pão são é já", "latin-1"),
    ("så ändå möte också älska många är år på är älska att går är", "latin-1"),
    ("små også små være på blå år bør blå være sø når får både", "latin-1"),
    ("à fermé été hôtel à ça près leçon la français et le crème crème", "latin-1")])
@pytest.mark.parametrize("times", [1, 30])
def test_western_texts_are_not_mistaken_for_others(text: str, codec: str, times: int, opened: Open) -> None:
    body = [(f"{text} {i}", "pos") for i in range(times)]
    table = opened(sheet(body).encode("cp1252"))
    assert rows(table) == body and table.form.encoding == codec


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("text", ["nice", "这部电影非常好看" * 50])
def test_wide_encodings(codec: str, text: str, opened: Open) -> None:
    line = json.dumps({"text": text, "label": "pos"}, ensure_ascii=False)
    for name, content in (("t.csv", sheet([(text, "pos")] * 3)), ("t.jsonl", f"{line}\n" * 3),
                          ("t.json", f"[{line}, {line}, {line}]")):
        assert rows(opened(content.encode(codec), name)) == [(text, "pos")] * 3


def test_a_letter_that_is_in_no_encoding_is_a_row_with_a_reason(opened: Open) -> None:
    content = sheet([(RUSSIAN, "pos")] * 999).encode("cp1251") + b"\x98,neg\nfine,neg\n"
    assert records(opened(content))[999:] == ["not cp1251", {"text": "fine", "label": "neg"}]
    cut = sheet([("fine", "pos")] * 3).encode("utf-16") + b"x"
    assert records(opened(cut))[3:] == ["wrong number of cells: 1 in line 5, 2 in the header"]


@pytest.mark.parametrize(("data", "lines", "encoding"), [
    (b"caf\xe9 was awful\nfine\n", ["café was awful", "fine"], "latin-1"),
    ("“nice”\r\ncafé\r\n".encode("cp1252"), ["“nice”", "café"], "cp1252"),
    ("café\r\n\r\nfine".encode("utf-16"), ["café", "", "fine"], "UTF-16"),
    ("\ufeffcafé\rfine\r".encode(), ["café", "fine"], "UTF-8"), (b"", [], "UTF-8"),
    (f"{RUSSIAN}\n".encode("koi8-r"), [RUSSIAN], "koi8_r"),
    ("a\u2028b\x85c\x0bd\n".encode(), ["a\u2028b\x85c\x0bd"], "UTF-8"),
])
def test_lines_of_standard_input_are_decoded_as_files_are(data: bytes, lines: list[str], encoding: str) -> None:
    found = decode_lines(data)
    assert found[0] == lines and found[1].name == encoding and not any(map(found[1].unreadable, lines))


def test_a_line_that_is_not_in_the_encoding_is_known_and_paths_keep_their_bytes() -> None:
    lines, encoding = decode_lines("日本\n".encode() + b"caf\xe9\nfine\n")
    assert [encoding.unreadable(line) for line in lines] == ["", "not UTF-8", ""]
    assert [os.fsencode(path) for path in decode_paths(b"caf\xe9.png\r\nb.png\n")] == [b"caf\xe9.png", b"b.png"]
    assert decode_paths("é.png\r\nb.png".encode("utf-16")) == ["é.png", "b.png"] and decode_paths(b"") == []


# Compression and formats


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


PACK = {"gz": ("gzip", gzip.compress), "bz2": ("bzip2", bz2.compress), "xz": ("xz", lzma.compress),
        "zst": ("zstd", lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)),
        "zip": ("zip", lambda data: zipped(t__csv=data, __MACOSX=b"", **{"__DS_Store": b""}))}


@pytest.mark.parametrize("ending", PACK)
def test_compressed_tables(ending: str, opened: Open, tmp_path: Path) -> None:
    name, compress = PACK[ending]
    table = opened(compress(sheet(BODY, delimiter=";").encode("utf-16")), f"t.csv.{ending}")
    assert rows(table) == BODY and table.form.compression == name and table.form.encoding == "UTF-16"
    assert rows(opened(compress(sheet(BODY).encode()), "t.csv")) == BODY  # whatever the name says
    with pytest.raises(DataError, match=f"t.csv.{ending} (cannot be decompressed by|contains)"):
        opened(compress(sheet(BODY * 999).encode())[:-30], f"t.csv.{ending}")
    with pytest.raises(DataError, match=f"is not compressed by {name}, as its name says"):
        opened(sheet(BODY), f"t.csv.{ending}")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["t.csv", f"t.csv.{ending}"])


def test_several_parts_of_a_compressed_file_are_one(opened: Open) -> None:
    for ending in ("gz", "bz2", "xz", "zst"):
        compress = PACK[ending][1]
        assert len(rows(opened(compress(sheet(BODY).encode()) + compress(b"more,pos\n"), f"t.csv.{ending}"))) == 6


def test_a_compressed_table_of_parquet_and_one_of_nothing_known(opened: Open) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), file)
    assert rows(opened(gzip.compress(file.getvalue()), "t.parquet.gz")) == [("a", "b")]
    assert rows(opened(file.getvalue(), "t.csv")) == [("a", "b")]
    with pytest.raises(DataError, match="contains notes.doc, which is not in a supported format"):
        opened(gzip.compress(b"x"), "notes.doc.gz")
    with pytest.raises(DataError, match="contains 2 files: a.csv, b.csv"):
        opened(zipped(a__csv=b"", b__csv=b""), "t.zip")


def test_a_bomb_is_refused(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LARGE", 1 << 20)
    for name, bomb in (("t.csv.gz", gzip.compress(b"\0" * (8 << 20))),
                       ("t.xlsx", zipped(**{"xl/workbook__xml": b"", "xl/sharedStrings__xml": b" " * (8 << 20)}))):
        with pytest.raises(DataError, match="over 200 times as large"):
            opened(bomb, name)


@pytest.mark.parametrize(("head", "words"), [
    (b"\xd0\xcf\x11\xe0" + bytes(600), "an Excel file in the old format, or one with a password"),
    (b"<!DOCTYPE html><html>", "an HTML page"), (b"%PDF-1.7", "a PDF document"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
    (b"SQLite format 3\0", "an SQLite database"),
])
@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.json"])
def test_a_file_that_is_no_table_is_called_what_it_is(head: bytes, words: str, name: str, opened: Open) -> None:
    with pytest.raises(DataError, match=f"{name} is {words}, not a table") as raised:
        opened(head, name)
    assert raised.value.hint


# JSON


OBJECTS = [{"text": a, "label": b, "n": [1, {"x": "]},{"}]} for a, b in BODY]


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("t.json", json.dumps(OBJECTS), "json"), ("t.json", json.dumps(OBJECTS, indent=2), "json"),
    ("t.jsonl", json.dumps(OBJECTS), "json"), ("t.json", "\n".join(map(json.dumps, OBJECTS)), "jsonl"),
    ("t.ndjson", "\r\n".join(map(json.dumps, OBJECTS)), "jsonl"),
    ("t.json", " \n [\n" + json.dumps(OBJECTS)[1:], "json"),
    ("t.json", "\n".join(json.dumps(one, indent=1) for one in OBJECTS), "json"),
    ("t.json", json.dumps(OBJECTS).replace("}, {", "},\n{"), "json"),
])
def test_json_comes_as_an_array_or_as_lines(name: str, content: str, kind: str, opened: Open) -> None:
    table = opened(content, name)
    assert rows(table) == BODY and table.form.kind == kind and table.names == ("text", "label", "n")


def test_an_array_over_many_blocks_has_its_lines(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.data.json_rows.BLOCK", 7)
    objects = [{"text": f"日本 {i}", "label": "x" * (i % 40)} for i in range(50)]
    table = opened(json.dumps(objects, indent=2, ensure_ascii=False), "t.json")
    assert records(table) == objects and [origin for origin, _ in table.records(None)][:2] == ["row 1 (line 2)",
                                                                                             "row 2 (line 6)"]
    table = opened('[{"text": "a", "label": 1},\n 12345,\n null, {"text": "b", "label": 2}]', "t.json")
    assert records(table) == [{"text": "a", "label": 1}, "not a JSON object: line 2: 12345",
                              "not a JSON object: line 3: null", {"text": "b", "label": 2}]


@pytest.mark.parametrize(("content", "words"), [
    (json.dumps(OBJECTS)[:-20], "broken JSON: line"), (json.dumps(OBJECTS)[:-1], "its array is not closed"),
    ('[{"text": "a"},\n{"text": b}]', "broken JSON: line 2, column 10: Expecting value"),
    ('{"data": [{"text": "a"}, {"text": "b"}],\n "version": 1}', "is one JSON object, with the keys data, version"),
    ('{"text": {"0": "a", "1": "b"},\n"label": {"0": "c", "1": "d"}}', "is one JSON object, with the keys text, label"),
])
def test_json_that_is_no_table_is_refused(content: str, words: str, opened: Open) -> None:
    with pytest.raises(DataError) as raised:
        records(opened(content, "t.json"))
    assert words in str(raised.value) and raised.value.hint


# Parquet


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize("kind", [
    pyarrow.binary(), pyarrow.large_binary(), pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(),
    pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), pyarrow.dictionary(pyarrow.int32(), pyarrow.binary())])
def test_texts_of_every_type_of_parquet_are_texts_in_every_role(kind: Any, opened: Open) -> None:
    def column(values: Sequence[str | None]) -> Any:
        texts = pyarrow.array(values, pyarrow.string())
        if pyarrow.types.is_dictionary(kind):
            return texts.cast(kind.value_type).dictionary_encode()
        return texts.cast(kind)

    table = opened(parquet(text=column(["é", "b", None]), label=column(["x", None, "y"]), group=column(["1", "1", "2"]),
                           split=column(["train", "test", "train"])), "t.parquet")
    assert records(table) == [{"text": "é", "label": "x", "group": "1", "split": "train"},
                              {"text": "b", "label": None, "group": "1", "split": "test"},
                              {"text": None, "label": "y", "group": "2", "split": "train"}]


@pytest.mark.parametrize(("values", "plain"), [
    (pyarrow.array([Decimal("1.50"), None]), [Decimal("1.50"), None]),
    (pyarrow.array([1, None], pyarrow.int64()), [1, None]), (pyarrow.array([True, None]), [True, None]),
    (pyarrow.array([["a", "b"], []]), [["a", "b"], []]), (pyarrow.array([[b"a"], None]), [["a"], None]),
    (pyarrow.array([["a"], []], pyarrow.large_list(pyarrow.string())), [["a"], []]),
    (pyarrow.array([1, None], pyarrow.timestamp("ns")), ["1970-01-01 00:00:00.000000001", None]),
    (pyarrow.array([2**50, None], pyarrow.timestamp("ms")), ["<value out of range: 1125899906842624>", None]),
    (pyarrow.array([datetime.date(2024, 5, 1), None]), ["2024-05-01", None]),
    (pyarrow.array([1, None], pyarrow.duration("ns")), ["1", None]),
    (pyarrow.array([{"a": 1}, None]), [{"a": 1}, None]), (pyarrow.nulls(2), [None, None]),
    (pyarrow.array([1.5, None], pyarrow.float32()), [1.5, None]),
], ids=lambda value: str(value.type) if isinstance(value, pyarrow.Array) else "")
def test_values_of_other_types_of_parquet(values: Any, plain: list[Any], opened: Open) -> None:
    table = opened(parquet(label=values, text=["a", "b"]), "t.parquet")
    assert records(table, ["label"]) == [{"label": value} for value in plain]


def test_bytes_that_are_not_utf_8_are_a_row_with_a_reason_where_they_are_used(opened: Open) -> None:
    table = opened(parquet(text=["a", "b"], label=[b"\xff\xfe", b"x"]), "t.parquet")
    assert records(table, ["text", "label"]) == ["not UTF-8: column 'label'", {"text": "b", "label": "x"}]
    assert records(table, ["text"]) == [{"text": "a"}, {"text": "b"}]


def hub(path: Path, features: dict[str, Any], **columns: Any) -> Path:
    """A Parquet file with the metadata of Hugging Face's `datasets`."""
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return path


NAMES = {"names": ["neg", "pos"], "_type": "ClassLabel"}


def test_numbers_of_classes_are_their_names(tmp_path: Path) -> None:
    table = open_table(hub(tmp_path / "t.parquet", {"label": NAMES, "text": {"dtype": "string", "_type": "Value"}},
                           text=["a", "b", "c", "d", "e"], label=[0, 1, -1, None, 7]))
    assert records(table, ["label"]) == [{"label": "neg"}, {"label": "pos"}, {"label": None}, {"label": None},
                                         "class number out of range (7, of 2 names): column 'label'"]
    assert table.notes == ("labels of column 'label' are the names in the file's metadata: neg, pos",)
    for several in ([NAMES], {"feature": NAMES, "_type": "Sequence"}, {"feature": NAMES, "_type": "List"}):
        table = open_table(hub(tmp_path / "t.parquet", {"label": several}, label=[[0, 1], []]))
        assert records(table) == [{"label": ["neg", "pos"]}, {"label": []}]


def test_the_index_of_pandas_is_no_column(opened: Open) -> None:
    file, data = io.BytesIO(), pyarrow.table({"text": ["a"], "label": ["b"], "__index_level_0__": [7]})
    metadata = {"pandas": json.dumps({"index_columns": ["__index_level_0__"]})}
    pyarrow.parquet.write_table(data.replace_schema_metadata(metadata), file)
    table = opened(file.getvalue(), "t.parquet")
    assert table.names == ("text", "label") and "__index_level_0__" in table.notes[0]


# Images inside


def pictures(folder: Path, n: int = 24) -> list[bytes]:
    for i in range(n):
        draw(folder / f"{i}.png", (200, 60, 60) if i % 2 else (60, 80, 210), i, size=8)
    return [(folder / f"{i}.png").read_bytes() for i in range(n)]


def test_images_in_parquet_are_unpacked_once_and_read(tmp_path: Path) -> None:
    blobs = pictures(tmp_path / "pic")
    cells = [{"bytes": blob, "path": f"{i}.png"} for i, blob in enumerate(blobs)]
    cells[3] = {"bytes": None, "path": "pic/3.png"}  # only a path, relative to the table
    cells[4] = {"bytes": None, "path": None}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    path = hub(tmp_path / "t.parquet", {"image": {"_type": "Image"}, "label": NAMES},
               image=pyarrow.array(cells, kind), label=[i % 2 for i in range(24)])
    assert modality_of(str(path)).name == "image"
    found = read_images(str(path), cache_dir=tmp_path / "cache")
    assert found.counts() == {"neg": 11, "pos": 12} and found.origins[:2] == ("row 1: 0.png", "row 2: 1.png")
    assert [Path(item).read_bytes() for item in found.items] == [blob for i, blob in enumerate(blobs) if i != 4]
    assert [(one.origin, one.reason) for one in found.skipped] == [("row 5", "no image")]
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.png")}
    assert len(written) == 22 and read_images(str(path), cache_dir=tmp_path / "cache").ids == found.ids
    assert {file: file.stat().st_mtime_ns for file in written} == written
    first = next(iter(written))
    first.write_bytes(first.read_bytes()[:10])  # as if writing it had been interrupted
    assert read_images(str(path), cache_dir=tmp_path / "cache").ids == found.ids


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary(), pyarrow.binary_view()])
def test_plain_bytes_of_images_in_parquet(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    blobs = pictures(tmp_path / "pic")
    data = pyarrow.table({"jpeg": pyarrow.array(blobs, kind), "label": ["ab"[i % 2] for i in range(24)]})
    pyarrow.parquet.write_table(data, tmp_path / "t.parquet")
    found = read_unlabelled(str(tmp_path / "t.parquet"))
    assert [Path(path).read_bytes() for path in found.items] == blobs and found.origins[0] == "row 1"
    assert read_images(tmp_path / "t.parquet", cache_dir=tmp_path).counts() == {"a": 12, "b": 12}


def test_sounds_and_images_of_a_repeated_name_are_no_images(tmp_path: Path) -> None:
    cells = pyarrow.array([{"bytes": b"RIFF....WAVE", "path": "a.wav"}],
                          pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))
    assert open_table(hub(tmp_path / "t.parquet", {"a": {"_type": "Audio"}}, a=cells)).images == ()
    twice = pyarrow.Table.from_arrays([cells, cells, pyarrow.array(["x"])], ["a", "a", "label"])
    pyarrow.parquet.write_table(twice, tmp_path / "u.parquet")
    table = open_table(tmp_path / "u.parquet")
    assert table.images == () and table.names == ("a", "a", "label") and records(table, ["label"]) == [{"label": "x"}]


def test_a_table_of_texts_may_have_images_too(tmp_path: Path) -> None:
    blobs = pictures(tmp_path / "pic")
    data = pyarrow.table({"image": blobs, "caption": [f"it is {i}" for i in range(24)],
                          "text": [f"text {i}" for i in range(24)], "label": ["ab"[i % 2] for i in range(24)]})
    pyarrow.parquet.write_table(data, tmp_path / "t.parquet")
    assert len(read_texts(tmp_path / "t.parquet")) == 24


# Folders of Parquet files


def test_a_folder_of_parquet_files_is_one_table_with_its_split(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    (root / "data").mkdir(parents=True)
    (root / "README.md").write_text("# About")
    for name, n in (("train-00000-of-00002", 12), ("train-00001-of-00002", 10), ("test-00000-of-00001", 4)):
        hub(root / "data" / f"{name}.parquet", {"label": NAMES}, text=[f"{name} {i}" for i in range(n)],
            label=[i % 2 for i in range(n)])
    assert modality_of(str(root)).name == "text"
    found = read_texts(root)
    assert found.counts() == {"neg": 13, "pos": 13} and found.source_split.count("train") == 22
    assert found.source_split.count("test") == 4 and found.origins[0] == "data/test-00000-of-00001.parquet, row 1"
    assert found.notes[0].startswith("3 Parquet files are read as one table: data/test-00000-of-00001.parquet, ")
    hub(root / "data" / "train-2.parquet", {}, other=["x"])
    with pytest.raises(DataError, match="train-2.parquet has the columns other, but .* has text, label"):
        read_texts(root)


def test_a_folder_of_parquet_files_of_images(tmp_path: Path) -> None:
    blobs = pictures(tmp_path / "pic")
    for part, start in (("train", 0), ("validation", 12)):
        (tmp_path / "hub" / part).mkdir(parents=True)
        data = pyarrow.table({"img": blobs[start:start + 12], "label": ["ab"[i % 2] for i in range(12)]})
        pyarrow.parquet.write_table(data, tmp_path / "hub" / part / "0000.parquet")
    assert modality_of(str(tmp_path / "hub")).name == "image"
    found = read_images(tmp_path / "hub", cache_dir=tmp_path / "cache")
    assert found.counts() == {"a": 12, "b": 12} and found.source_split == ("train",) * 12 + ("validation",) * 12


# Excel


def workbook(path: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, content in enumerate(sheets, 1):
        page = book.create_sheet(f"page {number}")
        for row in content:
            page.append(row)
    book.save(path)
    return path


def test_excel_is_read_from_the_first_sheet_with_content(tmp_path: Path) -> None:
    head = ["text", None, "label"]
    body = [["nice", "x", 1], [datetime.datetime(2024, 5, 1), None, True], [None, None, None], [3.5, "é", None],
            ["a", "b", "c", "d"], ["#N/A", None, "x"]]
    table = open_table(workbook(tmp_path / "t.xlsx", [], [[], head, *body], [["notes"]]))
    assert table.names == ("text", "column 2", "label") and table.form.sheet == "page 2"
    assert table.notes == ("sheet 'page 2' is read; not used: 'page 3'", "column 2 has no name in the header")
    assert list(table.records(["text", "label"])) == [
        ("row 1 (line 3)", {"text": "nice", "column 2": "x", "label": 1}),
        ("row 2 (line 4)", {"text": "2024-05-01", "column 2": None, "label": True}),
        ("row 3 (line 6)", {"text": 3.5, "column 2": "é", "label": None}),
        ("row 4 (line 7)", "wrong number of cells: 4, 3 in the header"),
        ("row 5 (line 8)", "the error of a formula: #N/A in column 'text'")]


def test_an_excel_file_that_cannot_be_read_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "t.xlsx", [["text", "label"], ["a", "b"]])
    (tmp_path / "renamed.csv").write_bytes(path.read_bytes())
    assert rows(open_table(tmp_path / "renamed.csv")) == [("a", "b")]
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="t.xlsx"):
        open_table(path)
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "openpyxl", None)  # so that importing it fails, installed or not
    with pytest.raises(DataError, match="openpyxl is not installed"):
        open_table(path)
