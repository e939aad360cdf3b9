"""Sources of texts: every kind and encoding is read and told; what cannot be used is left out, by reason and row."""

import csv
import hashlib
import json
import os
import random
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import draw_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import write_table

from kerastl.data import column_guesses, examples, lines
from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples
from kerastl.data.images import read_images
from kerastl.data.images import read_unlabelled as read_unlabelled_images
from kerastl.data.split import split
from kerastl.data.spool import Spool
from kerastl.data.texts import read_texts, read_unlabelled
from kerastl.errors import DataError, OptionError

GOOD = "".join(f"nice film number {i},{('neg', 'pos')[i % 2]}\n" for i in range(20))
PLAIN = "text from column 'text' (by name), label from column 'label' (by name)"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the network fails the test."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("asked for the network"))


def reasons(found: Examples) -> dict[str, str]:
    """What was left out, by its origin."""
    return {one.origin: one.reason for one in found.skipped}


def labels(found: Examples) -> list[str]:
    """Each row's label."""
    return [found.label_of(row) for row in range(len(found))]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Examples]:
    """Reads what is given as a file's content: bytes, text (in UTF-8) or records."""

    def reading(content: bytes | str | Sequence[dict[str, Any]], name: str = "t.csv", **options: Any) -> Examples:
        path = tmp_path / name
        if isinstance(content, bytes | str):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        else:
            write_table(path, content)
        return read_texts(str(path), min_per_class=options.pop("min_per_class", 1), cache_dir=tmp_path, **options)

    return reading


Read = Callable[..., Examples]


# Tables and their columns


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_every_kind_of_table_gives_the_same_rows(name: str, read: Read) -> None:
    records = [{"id": i, "Text": f"film {i}, it's \"good\"", "label": ("neg", "pos")[i % 2]} for i in range(20)]
    if name == "t.tsv":
        records = [{"text": f"film {i}, it's \"good\"", "label": one["label"]} for i, one in enumerate(records)]
        found = read("text\tlabel\n" + "".join(f"{one['text']}\t{one['label']}\n" for one in records), name)
    else:
        found = read(records, name)
        assert found.notes == ("text from column 'Text' (by name), label from column 'label' (by name); not used: id",)
    assert found.modality.name == "text" and found.classes == ("neg", "pos") and labels(found) == ["neg", "pos"] * 10
    assert list(found.items) == [f"film {i}, it's \"good\"" for i in range(20)] and not found.skipped
    header = name in ("t.csv", "t.tsv")  # which takes a line, so that row 1 is in line 2
    assert list(found.origins) == [f"row {i}{f' (line {i + 1})' if header else ''}" for i in range(1, 21)]
    assert found.source_split == ("",) * 20
    assert found.ids[3] == hashlib.blake2b(found.items[3].encode(), digest_size=16).hexdigest()
    assert found.groups is found.ids


@pytest.mark.parametrize(("text", "label"), [
    ("text", "label"), ("Review", "Sentiment"), ("sentence", "labels"), ("tweet", "class"), ("body", "category"),
    ("review text", "gold-label"), ("description", "target"), ("comment", "emotion"),
])
def test_columns_are_found_by_name(text: str, label: str, read: Read) -> None:
    found = read([{"when": "a day in May", label: ("neg", "pos")[i % 2], text: f"t {i}"} for i in range(20)])
    assert found.items[5] == "t 5" and found.counts() == {"neg": 10, "pos": 10}
    assert f"{text!r} (by name)" in found.notes[0] and f"{label!r} (by name)" in found.notes[0]


@pytest.mark.parametrize("pair", column_guesses.PAIRS)
def test_two_columns_of_a_known_pair_are_one(pair: tuple[str, str], read: Read) -> None:
    found = read([{pair[0]: f"a {i}", pair[1]: f"b {i}", "label": i % 2} for i in range(20)])
    assert list(found.items) == [(f"a {i}", f"b {i}") for i in range(20)] and "(by name)" in found.notes[0]
    sizes = [len(f"{side} 7").to_bytes(4, "little") + f"{side} 7".encode() for side in "ab"]
    assert found.ids[7] == hashlib.blake2b(b"".join(sizes), digest_size=16).hexdigest()


def test_columns_are_found_by_content(read: Read) -> None:
    records = [{"nr": i, "hash": f"{i:040x}", "said": f"{i} good films", "verdict": ("bad", "good")[i % 2],
                "points": i % 5} for i in range(30)]
    found = read(records)
    assert found.items[4] == "4 good films" and found.classes == ("bad", "good")
    assert found.notes == ("text from column 'said' (by content), label from column 'verdict' (by content); "
                           "not used: nr, hash, points",)
    found = read([{"word": word, "label": i % 2} for i, word in enumerate(["fine", "awful", "so", "grand"] * 5)])
    assert found.items[1] == "awful"  # no column has sentences, so one of words will do
    cjk = [{"a": f"影片{i}很好", "b": ("好", "坏")[i % 2]} for i in range(30)]
    assert read(cjk).items[2] == "影片2很好" and read(cjk).classes == ("坏", "好")


def test_columns_are_taken_as_asked(read: Read) -> None:
    records = [{"text": "no", "label": "no", "a": f"a {i}", "b,c": f"b {i}", "what": i % 3} for i in range(30)]
    found = read(records, text_column="a", label_column="what")
    assert found.items[2] == "a 2" and found.classes == ("0", "1", "2")
    assert found.notes == ("text from column 'a' (as requested), label from column 'what' (as requested); "
                           "not used: text, label, b,c",)
    assert read(records, text_column="b,c", label_column="what").items[2] == "b 2"  # there is a column of this name
    assert read(records, text_column="a, text", label_column="what").items[2] == ("a 2", "no")


@pytest.mark.parametrize(("options", "words"), [
    ({"text_column": "txt"}, ("`text_column` is 'txt'", "no such column", "text, label, more", "did you mean 'text'?")),
    ({"label_column": "LABLE"}, ("`label_column` is 'LABLE'", "did you mean 'label'?")),
    ({"text_column": "text,mor"}, ("is 'mor'", "did you mean 'more'?")),
    ({"label_column": "xyz"}, ("is 'xyz'", "name one of these columns")),
    ({"text_column": "text,more,label"}, ("one column, or two different ones as in a,b",)),
    ({"text_column": "text,text"}, ("one column, or two different ones as in a,b",)),
    ({"text_column": "label", "label_column": "label"}, ("are both 'label'",)),
])
def test_a_wrong_column_lists_those_there_are_and_the_closest(options: dict[str, str], words: Sequence[str], read: Read
                                                              ) -> None:
    with pytest.raises(DataError) as raised:
        read("text,label,more\na b,pos,c\n", **options)
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("t.csv", "text\nhello\n", "has one column, 'text'"), ("t.jsonl", '{"text": "a"}\n', "has one column, 'text'"),
    ("t.csv", "", "has no columns"), ("t.jsonl", "", "has no columns"),
    ("t.csv", "text,label\n", "no usable texts in"),
    ("t.csv", "text,label\n,\n \t,pos\n", "(row 1 (line 2): empty text)"),
    ("t.csv", "a,b\n1,2\n3,4\n", "no column of"), ("t.csv", "text,when\na b,1\nc d,2\ne f,3\n", "looks like labels"),
    ("t.csv", '"text,label\na,b\n', "the first line is not a valid header"),
    ("t.parquet", "junk", "a valid Parquet file"),
    ("t.csv", "text,text,label\na b,c d,pos\n", "has 2 columns named 'text'"),
    ("t.csv", "what a film,good\nso bad,bad\nso good,good\nwhat fun,good\n", "looks like a row, not a header"),
    ("t.csv", "text,label,split\na b,pos,train\na c,neg,elsewhere\n", "row 2 (line 3): split 'elsewhere'"),
    ("t.csv", "text,label\n" + GOOD.replace("neg", "pos"), "too few classes ('pos': 20 rows)"),
    ("t.doc", "hello", "is not in a supported format"),
])
def test_a_source_that_cannot_be_is_one_clear_message(name: str, content: str, words: str, read: Read) -> None:
    with pytest.raises(DataError) as raised:
        read(content, name)
    assert words in str(raised.value) and raised.value.expected and raised.value.hint


def test_splits_and_groups_are_honoured(read: Read) -> None:
    records = [{"text": f"t {i // 2}", "label": i % 2, "split": ("train", "Dev", "test", "")[i % 4],
                "group": "g" if i in (4, 9) else ""} for i in range(20)]
    found = read(records)
    assert found.source_split == ("train", "validation", "test", "") * 5
    assert found.groups[4] == found.groups[5] == found.groups[8] == found.groups[9] == "g"  # 4 and 5 share a content
    assert found.groups[0] == found.ids[0] == found.ids[1]


@pytest.mark.parametrize("several", [lambda names: "|".join(names), lambda names: " | ".join(names) + "|", list])
def test_several_labels_come_as_a_list_or_with_bars(several: Callable[[list[str]], Any], read: Read) -> None:
    names = [["red", "blue"], ["red"], ["blue", "dark"]]
    found = read([{"text": f"t {i}", "label": several(names[i % 3])} for i in range(30)], "t.jsonl")
    assert not found.task.exclusive and found.classes == ("blue", "dark", "red")
    assert found.targets[:3].tolist() == [[1, 0, 1], [0, 0, 1], [1, 1, 0]] and found.label_of(2) == "blue|dark"


@pytest.mark.parametrize(("mark", "usual", "words"), [
    (";", "t.csv", "semicolons, not by commas"), ("\t", "t.csv", "tabs, not by commas"),
    (",", "t.tsv", "commas, not by tabs"), ("|", "t.csv", "bars, not by commas"),
])
def test_another_delimiter_is_found_and_said(mark: str, usual: str, words: str, read: Read) -> None:
    text = "".join(f"so, so; {i}{mark}{('neg', 'pos')[i % 2]}\n" for i in range(20)).replace(
        "so, so; ", "so so " if mark in ",;" else "so, so; ")
    found = read(f"text{mark}label\n{text}", usual)
    assert found.counts() == {"neg": 10, "pos": 10} and words in found.notes[0] and not found.skipped


# Encodings


MORE = "café naïve,pos\nCœur “quoted”,neg\n"


@pytest.mark.parametrize(("codec", "mark", "note"), [
    ("utf-8", b"", ""), ("utf-8", b"\xef\xbb\xbf", "UTF-8: with a byte order mark"),
    ("utf-16-le", b"\xff\xfe", "UTF-16: detected by its byte order mark"),
    ("utf-16-be", b"\xfe\xff", "UTF-16: detected by its byte order mark"),
    ("utf-16-le", b"", "UTF-16: detected by its NUL bytes"), ("utf-16-be", b"", "UTF-16: detected by its NUL bytes"),
    ("cp1252", b"", "cp1252: byte 0xe9 at "),
])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_are_found_and_said(codec: str, mark: bytes, note: str, end: str, read: Read) -> None:
    content = ("text,label\n" + GOOD + MORE).replace("\n", end)
    found = read(mark + content.encode(codec))
    assert list(found.items[-2:]) == ["café naïve", "Cœur “quoted”"] and len(found) == 22 and not found.skipped
    assert found.notes[-1] == PLAIN and found.notes[0].startswith(note) and len(found.notes) == 1 + bool(note)


@pytest.mark.parametrize("codec", ["utf-8", "latin-1"])
def test_lines_may_end_as_on_an_old_mac(codec: str, read: Read) -> None:
    found = read(f"text,label\n{GOOD}café,pos\n".replace("\n", "\r").encode(codec))
    assert len(found) == 21 and found.items[20] == "café" and not found.skipped


def test_latin_1_is_said_with_the_first_byte_that_is_not_utf_8(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.data.encoding.BLOCK", 7)  # so that characters lie across blocks
    content = ("text,label\n" + GOOD + "café naïve,pos\n").encode("latin-1")
    found = read(content)
    assert found.items[-1] == "café naïve"
    assert found.notes[0] == f"latin-1: byte 0xe9 at {content.index(0xe9)} is not UTF-8"
    found = read(("text,label\n" + GOOD + "日本語, 日本,pos\n".replace(", ", " ")).encode())
    assert found.items[-1] == "日本語 日本" and found.notes == (PLAIN,)


def test_lines_that_are_not_utf_8_in_a_file_that_is_are_left_out(read: Read) -> None:
    content = ("text,label\n" + GOOD + "日本,pos\n").encode() + b"caf\xe9,pos\nfine,neg\n"
    found = read(content)
    assert list(found.items[-2:]) == ["日本", "fine"] and reasons(found) == {"row 22 (line 23)": "not UTF-8"}
    assert found.notes[0] == f"UTF-8: but byte 0xe9 at {content.index(0xe9)} is not UTF-8"
    lone = "text,label\n" + GOOD + "lone \ud800,pos\n"
    assert reasons(read(b"\xff\xfe" + lone.encode("utf-16-le", "surrogatepass"))) == {"row 21 (line 22)": "not UTF-16"}
    rows = [json.dumps({"text": f"日本 {i}", "label": i % 2}, ensure_ascii=False).encode() for i in range(20)]
    found = read(b"\n".join([*rows, b'{"text": "caf\xe9", "label": 1}']), "t.jsonl")
    assert len(found) == 20 and reasons(found) == {"row 21": "not UTF-8"}


def test_text_in_parquet_that_is_not_utf_8_is_left_out(tmp_path: Path) -> None:
    texts = pyarrow.array([b"caf\xe9", *(b"text %d" % i for i in range(20))], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"text": texts, "label": [str(i % 2) for i in range(21)]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    found = read_texts(str(tmp_path / "t.parquet"))
    assert len(found) == 20 and reasons(found)["row 1"].startswith("not UTF-8")
    table = pyarrow.table({"text": [b"caf\xe9", "é".encode(), b"x"] * 4, "label": [str(i // 6) for i in range(12)]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")  # columns of bytes are read as UTF-8
    found = read_texts(str(tmp_path / "b.parquet"), min_per_class=2)
    assert list(found.items[:2]) == ["é", "x"] and reasons(found)["row 4"].startswith("not UTF-8")


# Bad rows


@pytest.mark.parametrize(("row", "reason"), [
    (",pos", "empty text"), ("  \t ,pos", "empty text"), ("\x00\x1f,pos", "empty text"), ("hello,", "no label"),
    ("hello, ", "no label"), ("a,b,c", "wrong number of cells: 3 in line 22, 2 in the header"),
    ("alone", "wrong number of cells: 1 in line 22, 2 in the header"),
    ('"x"y,pos', "broken quoting: text after the closing quote in line 22"),
    ('"never closed,pos', "broken quoting: a quote opened in line 22 is never closed"),
    ("a\rb,pos", "broken line: a carriage return inside line 22"),
])
def test_a_bad_row_is_left_out_with_its_reason_and_no_other(row: str, reason: str, read: Read) -> None:
    found = read(f"text,label\n{GOOD}{row}\nlast,pos\n\n")
    assert reasons(found) == {"row 21 (line 22)": reason} and len(found) == 21
    assert found.origins[20] == "row 22 (line 23)"
    known = ": pos 1" if row.endswith(",pos") and "\r" not in row else ""
    assert found.notes == (PLAIN,)
    assert found.summary.losses_line == f"skipped 1 of 22 rows: {reason.partition(':')[0]} (1{known})"


def test_an_unclosed_quote_does_not_take_other_rows_along(read: Read) -> None:
    found = read(f'text,label\n{GOOD}"open,pos\n{GOOD}"quoted, well",neg\n"two\nlines",pos\n')
    assert reasons(found) == {
        "row 21 (line 22)": "broken quoting: a quote opened in line 22 is closed in the middle of line 43"}
    assert len(found) == 42 and list(found.items[-2:]) == ["quoted, well", "two\nlines"]


def test_quotes_in_tsv_that_do_not_fit_are_characters(read: Read) -> None:
    odd = ['"open\tpos', "next\tneg", 'done"\tpos', '"x" y\tneg', '"proper ""quotes"""\tpos', '"two\nlines"\tneg']
    found = read("text\tlabel\n" + GOOD.replace(",", "\t") + "\n".join(odd), "t.tsv")
    assert list(found.items[20:]) == ['"open', "next", 'done"', '"x" y', 'proper "quotes"', "two\nlines"]
    assert not found.skipped


@pytest.mark.slow
def test_a_cell_over_the_limit_is_left_out_alone(read: Read) -> None:
    before = csv.field_size_limit()
    long, most = "x" * 10_000_001, "y" * 10_000_000
    two_lines = f'"{"line" * 400_000}\n{"line" * 2_500_000}"'
    found = read(f"text,label\n{GOOD}{long},pos\nafter,pos\n{two_lines},neg\n{most},pos\n")
    assert reasons(found) == {"row 21 (line 22)": "a cell over 10 MB", "row 23 (line 24)": "a cell over 10 MB"}
    assert list(found.items[-2:]) == ["after", most] and csv.field_size_limit() == before
    found = read([{"text": text, "label": text[0]} for text in (long, "xs", "b")], "t.jsonl")
    assert list(found.items) == ["xs", "b"] and reasons(found) == {"row 1": "a cell over 10 MB"}


@pytest.mark.slow
def test_a_stray_quote_far_from_the_next_does_not_take_the_rows_between_along(read: Read) -> None:
    far = "".join(f"{'far ' * 10_000}{i},pos\n" for i in range(260))
    found = read(f'text,label\n{GOOD}"open,pos\n{far}"open too,pos\n{GOOD}')
    assert list(reasons(found)) == ["row 21 (line 22)", "row 282 (line 283)"] and len(found) == 300


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_line_too_long_to_be_read_is_passed_over(name: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 200)
    rows = [{"text": f"{'long ' * 100 if i in (3, 7) else 'short'} {i}", "label": i % 2} for i in range(20)]
    found = read(rows, name)
    assert reasons(found) == {f"row {row}{f' (line {row + 1})' if name == 't.csv' else ''}": "a cell over 10 MB"
                              for row in (4, 8)} and len(found) == 18
    if name == "t.csv":
        found = read(f'text,label\n{GOOD}"{"long " * 100}\n"",{"long " * 100}",pos\nlast,pos\n"{"long " * 100}\n{GOOD}')
        assert list(reasons(found).values()) == ["a cell over 10 MB",
                                                 "broken quoting: a quote opened in line 25 is never closed"]
        assert len(found) == 41


def test_nul_bytes_are_kept_and_said(read: Read) -> None:
    found = read(f"text,label\n{GOOD}nul \0 byte,pos\nand \0\0 more,neg\n")
    assert found.items[20] == "nul \0 byte" and not found.skipped
    assert found.notes[-1] == "NUL bytes in 2 texts: each is replaced by a space"


@pytest.mark.parametrize(("row", "reason"), [
    ('{"text": "cut', "broken JSON: line 21, column 10: Unterminated string starting at"),
    ("[1, 2]", "not a JSON object: line 21: [1, 2]"), ('{"text": ' + "1" * 9999 + "}", "broken JSON: line 21:"),
    ('{"text": null, "label": 1}', "empty text"), ('{"label": 1}', "empty text"), ('{"text": "x"}', "no label"),
    ('{"text": ["a"], "label": 1}', "not a text: a list in column 'text'"), ('{"text": "x", "label": NaN}', "no label"),
    ("[" * 100_000, "broken JSON: line 21 is nested too deeply"),
])
def test_a_bad_line_of_json_is_left_out(row: str, reason: str, read: Read) -> None:
    rows = [json.dumps({"text": f"t {i}", "label": i % 2}) for i in range(20)]
    found = read("\n".join([*rows, row, "", '{"text": "last", "label": 0}']), "t.jsonl")
    assert len(found) == 21 and found.origins[20] == "row 22 (line 23)"  # an empty line is not a row
    assert list(reasons(found)) == ["row 21"] and reasons(found)["row 21"].startswith(reason)


def test_numbers_are_texts_and_odd_labels_are_names(read: Read) -> None:
    found = read([{"text": 100 + i, "label": bool(i % 2)} for i in range(20)], "t.parquet")
    assert found.items[1] == "101" and found.classes == ("False", "True")


def test_a_pair_with_an_empty_half_is_left_out(read: Read) -> None:
    records = [{"premise": f"a {i}", "hypothesis": "" if i == 4 else f"b {i}", "label": i % 2} for i in range(20)]
    assert reasons(read(records)) == {"row 5 (line 6)": "empty text"}


def test_of_very_many_bad_rows_the_first_are_listed_and_the_rest_counted(read: Read) -> None:
    found = read(f"text,label\n{GOOD}" + ",pos\nalone\n" * 1500)
    assert len(found.skipped) == examples.LISTED + 2
    assert [(one.origin, one.reason) for one in found.skipped[-2:]] == [
        ("1,000 more", "empty text"), ("1,000 more", "wrong number of cells")]
    assert found.summary.losses_line == ("skipped 3,000 of 3,020 rows: empty text (1,500: pos 1,500), "
                                         "wrong number of cells (1,500)")


def test_a_class_of_one_row_is_left_out_and_named(read: Read) -> None:
    found = read(f"text,label\n{GOOD}alone,rare\n", min_per_class=10)
    assert found.classes == ("neg", "pos") and len(found) == 20
    assert reasons(found) == {"rare": "class of 1 row, fewer than 10 (`min_per_class`)"}


@pytest.mark.slow
def test_five_thousand_classes_work_or_are_refused_in_a_few_lines(read: Read) -> None:
    def rows(each: int) -> str:
        return "text,label\n" + "".join(f"text {i} of {c},c{c}\n" for i in range(each) for c in range(5000))

    found = split(read(rows(3), min_per_class=3), "cv")
    assert len(found.classes) == 5000 and found.split is not None and set(found.split.folds) == {0, 1, 2, 3, 4}
    with pytest.raises(DataError, match=r"too few rows .* c0: 1, .* and 4,980 more classes") as raised:
        read(rows(1), min_per_class=10)
    assert len(str(raised.value)) < 1000
    mostly = read(rows(1) + GOOD, min_per_class=10)
    assert mostly.classes == ("neg", "pos") and len(mostly.skipped) == examples.LISTED + 1
    assert mostly.skipped[-1].origin == "4,000 more"


def test_texts_with_different_labels_are_counted(read: Read) -> None:
    found = read(f"text,label\n{GOOD}{GOOD.replace('pos', 'other')}{GOOD}")
    assert found.notes[-1] == "10 texts occur with different labels: see kerastl check"
    several = [{"text": f"t {i % 10}", "label": ["a", "b"] if i in (3, 5) else ["a"]} for i in range(20)]
    assert read(several, "t.jsonl").notes[-1] == "2 texts occur with different labels: see kerastl check"
    assert read(f"text,label\n{GOOD}{GOOD}").notes == (PLAIN,)


def test_a_limit_takes_the_same_rows_of_each_class(read: Read) -> None:
    found = read(f"text,label\n{GOOD}", limit=8)
    assert found.counts() == {"neg": 4, "pos": 4}
    assert list(found.items) == [f"nice film number {i}" for i in sorted(int(one.split()[-1]) for one in found.items)]
    assert list(read(f"text,label\n{GOOD}", limit=8).ids) == list(found.ids)


# Folders


def write_files(root: Path, per_class: int = 10, classes: Sequence[str] = ("neg", "pos")) -> Path:
    """`root/<class>/<number>.txt`."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            (root / name / f"{i:02}.txt").write_text(f"{root.name} {name} text {i}\n")
    return root


def test_a_folder_of_class_folders_of_files(tmp_path: Path) -> None:
    root = write_files(tmp_path / "d")
    (root / "neg" / "deep" / "er").mkdir(parents=True)
    (root / "neg" / "deep" / "er" / "x.TXT").write_bytes("café".encode("latin-1"))
    (root / "neg" / "bom.txt").write_bytes("\ufeffmarked".encode())
    (root / "pos" / "wide.txt").write_bytes("wide".encode("utf-16"))
    (root / "pos" / "empty.txt").write_bytes(b" \n")
    (root / "pos" / "odd.txt").write_bytes("日本".encode() + b"\xe9")
    (root / "pos" / "notes.md").touch()
    (root / "readme.txt").touch()
    (root / "void").mkdir()
    os.mkfifo(root / "pos" / "pipe.txt")
    found = read_texts(str(root), cache_dir=tmp_path)
    assert found.modality.name == "text" and found.counts() == {"neg": 12, "pos": 11}
    texts = dict(zip(found.origins, found.items, strict=True))
    assert texts["neg/03.txt"] == "d neg text 3" and texts["neg/deep/er/x.TXT"] == "café"
    assert texts["neg/bom.txt"] == "marked" and texts["pos/wide.txt"] == "wide"
    assert reasons(found) == {
        "pos/empty.txt": "empty text", "pos/notes.md": "not a .txt file", "void": "class folder without files",
        "readme.txt": "not inside a class folder", "pos/pipe.txt": "not a regular file",
        "pos/odd.txt": "not UTF-8: but byte 0xe9 at 6 is not UTF-8"}
    assert found.notes[:5] == ("not used (not inside a class folder): readme.txt",
                               "not used (class folder without files): void",
                               "UTF-8: 2 files, the first neg/bom.txt (with a byte order mark)",
                               "latin-1: 1 file, the first neg/deep/er/x.TXT (byte 0xe9 at 3 is not UTF-8)",
                               "UTF-16: 1 file, the first pos/wide.txt (detected by its byte order mark)")


def test_folders_named_as_sides_are_the_users_split(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write_files(tmp_path / "d" / name, 4)
    found = read_texts(str(tmp_path / "d"), min_per_class=1)
    assert found.classes == ("neg", "pos")
    assert found.source_split == ("test",) * 8 + ("train",) * 8 + ("validation",) * 8
    with pytest.raises(OptionError, match="`text_column` is a, but .* is a folder"):
        read_texts(str(tmp_path / "d"), text_column="a")


# What a source holds


def test_the_kind_of_a_source_is_told(tmp_path: Path) -> None:
    texts = [{"text": f"t {i}", "label": i % 2} for i in range(20)]
    files = [{"path": f"{i}.png", "label": i % 2} for i in range(20)]
    caption = [{"image": f"{i}.png", "description": f"it is {i}", "label": i % 2} for i in range(20)]
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        for records, kind in ((texts, "text"), (files, "image"), (caption, "text"),
                              ([{"image_path": one["path"], "label": one["label"]} for one in files], "image")):
            assert modality_of(write_table(tmp_path / name, records)).name == kind
    assert modality_of(str(write_files(tmp_path / "texts"))).name == "text"
    assert modality_of(str(draw_folder(tmp_path / "images", 1))).name == "image"
    (tmp_path / "void").mkdir()
    assert modality_of(str(tmp_path / "void")).name == "image"
    with pytest.raises(DataError, match="no such file or folder"):
        modality_of(str(tmp_path / "gone.csv"))


def test_a_reader_says_when_it_is_given_the_other_kind(tmp_path: Path) -> None:
    texts, images = str(write_files(tmp_path / "texts")), str(draw_folder(tmp_path / "images", 2))
    table = write_table(tmp_path / "t.csv", [{"text": f"t {i}", "label": i % 2} for i in range(20)])
    paths = write_table(tmp_path / "p.csv", [{"path": f"{i}.png", "label": i % 2} for i in range(20)])
    for source in (texts, table):
        for reader in (read_images, read_unlabelled_images):
            with pytest.raises(DataError, match="contains texts, not images"):
                reader(source)
    for source in (images, paths):
        for reader in (read_texts, read_unlabelled):
            with pytest.raises(DataError, match="contains images, not texts"):
                reader(source)


# Texts without labels


def test_any_folder_or_table_will_do_where_labels_do_not_matter(tmp_path: Path) -> None:
    root = write_files(tmp_path / "d", 2)
    found = read_unlabelled(str(root / "neg"))
    assert list(found.origins) == ["00.txt", "01.txt"] and found.items[1] == "d neg text 1"
    path = write_table(tmp_path / "t.jsonl", [{"text": "b b"}, {"text": ""}, {"text": "a a"}])
    found = read_unlabelled(path, cache_dir=tmp_path)
    assert list(found.items) == ["b b", "a a"] and reasons(found) == {"row 2": "empty text"}
    (tmp_path / "void").mkdir()
    for reader in (read_unlabelled, read_texts):
        with pytest.raises(DataError, match="no usable texts in"):
            reader(str(tmp_path / "void"))


# What holds them


def test_texts_lie_in_a_file_without_a_name_and_are_picked_without_reading(tmp_path: Path, read: Read) -> None:
    found = read(f"text,label\n{GOOD}")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    some = found.take(np.array([7, 3, 3])).take(range(2))
    assert list(some.items) == ["nice film number 7", "nice film number 3"] and some.origins[1] == "row 4 (line 5)"
    assert list(some.ids) == [found.ids[7], found.ids[3]] and some.groups is some.ids
    assert found.items[-1] == found.items[np.int64(19)] and found.items[1:3] == [found.items[1], found.items[2]]
    with pytest.raises(IndexError):
        found.items[20]
    rest = found.without({0: "no words"})
    assert len(rest.items) == 19 and reasons(rest) == {"row 1 (line 2)": "no words"}


def test_a_spool_gives_back_what_was_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.data.spool.BUFFER", 100)
    put = ["", "\0", "\ud800 lone", "\U0001f600" * 60, *(f"text {i}" for i in range(300))]
    spool = Spool[str](tmp_path / "new")
    for text in put:
        spool.append(text)
    assert list(spool) == put and len(spool) == 304 and spool.sizes[:4].tolist() == [0, 1, 8, 240]
    pairs = Spool[tuple[str, str]](None, pairs=True)
    pairs.append(("", "b"))
    pairs.append(("a" * 300, ""))
    assert list(pairs) == [("", "b"), ("a" * 300, "")] and list(pairs.take(np.array([1]))) == [("a" * 300, "")]


# Whatever the texts


quick = settings(derandomize=True, deadline=None, database=None, max_examples=60)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: any(one.isalnum() for one in text))


@quick
@given(texts=st.lists(words, min_size=2, max_size=8), name=st.sampled_from(["t.csv", "t.jsonl", "t.parquet"]),
       chance=st.randoms(use_true_random=False))
def test_whatever_was_written_comes_back(texts: list[str], name: str, chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = [{"text": text, "label": f"l{i % 2}"} for i, text in enumerate(texts)]
        found = read_texts(write_table(Path(folder) / name, records), min_per_class=1, cache_dir=Path(folder))
        assert list(found.items) == texts and not found.skipped
        rows = chance.sample(range(len(texts)), len(texts))
        assert list(found.take(rows).items) == [texts[row] for row in rows]


@quick
@given(content=st.binary(max_size=200), name=st.sampled_from(["t.csv", "t.tsv", "t.jsonl"]))
def test_no_bytes_crash_a_reader_and_every_row_is_accounted_for(content: bytes, name: str) -> None:
    start = {"t.csv": b"text,label\n", "t.tsv": b"text\tlabel\n", "t.jsonl": b'{"text": "a a", "label": "b"}\n'}[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(start + content)
        try:
            found = read_texts(str(path), min_per_class=0)
        except DataError:
            return
        seen = [*found.origins, *reasons(found)]
        assert sorted(int(origin.split()[1]) for origin in seen) == list(range(1, len(seen) + 1))
