"""Tables as people have them: each is read rightly, with a line for what was decided, or refused with its cause."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kerastl.data.examples import Examples
from kerastl.data.options import ReadOptions
from kerastl.data.split import split
from kerastl.data.texts import read_texts
from kerastl.errors import DataError

WORDS = "the quick brown fox jumps over the lazy dog while seven wizards brew potent ale".split()


def text(i: int) -> str:
    return f"{WORDS[i % 14]} {WORDS[(i * 5 + 3) % 14]} number {i}"


def csv(labels: list[str], n: int = 30, header: str = "text,label") -> str:
    return "\n".join([header, *(f"{text(i)},{labels[i % len(labels)]}" for i in range(n))]) + "\n"


def read(folder: Path, content: "str | bytes", name: str = "t.csv", least: int = 2, **options: str) -> Examples:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_texts(path, options=ReadOptions(**options), min_per_class=least, cache_dir=folder / "cache")


def refused(folder: Path, content: "str | bytes", name: str = "t.csv", **options: str) -> str:
    with pytest.raises(DataError) as error:
        read(folder, content, name, **options)
    return str(error.value)


def test_a_class_whose_rows_are_all_broken_is_named(tmp_path: Path) -> None:
    """The class of a row with too many cells is known from the side of its label."""
    lost = "".join(f"{text(i)}, and {text(i)}, too,neg\n" for i in range(8))
    examples = read(tmp_path, csv(["a", "b"], 1000) + lost)
    assert examples.classes == ("a", "b")
    assert "wrong number of cells (8: neg 8)" in examples.summary.losses_line
    assert examples.summary.warnings == ("all 8 rows of the class 'neg' were skipped, but 0.0% of the others",)


@pytest.mark.parametrize("row, known", [("neg,{},and more", "neg"), ('neg,"{}', "neg"), ("neg", "neg")])
def test_the_class_of_a_broken_row_is_known_if_its_label_comes_first(tmp_path: Path, row: Any, known: Any) -> None:
    lines = [row.format(text(i)) for i in range(4)]
    good = [f"{('pos', 'neg')[i % 2]},{text(i)}" for i in range(100)]
    examples = read(tmp_path, "\n".join(["label,text", *good, *lines]) + "\n")
    assert [loss.by_class for loss in examples.summary.losses] == [{known: 4}]


def test_the_class_of_a_row_that_is_not_utf8_is_known(tmp_path: Path) -> None:
    good = csv(["bas", "haut"], 60).encode() + "é été,haut\n".encode() * 8
    examples = read(tmp_path, good + "été,bas\n".encode("latin-1") * 3)
    assert [(loss.reason, loss.by_class) for loss in examples.summary.losses] == [("not UTF-8", {"bas": 3})]


def test_odd_labels_of_broken_rows_are_no_classes(tmp_path: Path) -> None:
    lost = "".join(f"{text(i)}, and more {i}\n" for i in range(0)) + "a,b,some end of a text\nc,d,another one\n"
    examples = read(tmp_path, csv(["a", "b"], 60) + lost)
    assert [loss.by_class for loss in examples.summary.losses] == [{}]


def test_too_few_classes_because_of_broken_rows_names_these(tmp_path: Path) -> None:
    message = refused(tmp_path, "text,label\n" + "".join(
        f"{text(i)}{', and more' * (i % 2)},{('pos', 'neg')[i % 2]}\n" for i in range(30)))
    assert "skipped 15 of 30 rows: wrong number of cells (15: neg 15)" in message


def test_headers_of_joined_files_are_no_rows(tmp_path: Path) -> None:
    part = "\ufeff" + csv(["a", "b"])
    examples = read(tmp_path, part + part.replace("number", "no.") * 12)
    assert examples.classes == ("a", "b")
    assert examples.summary.losses_line == "skipped 12 of 402 rows: the header again (12)"


def test_a_second_byte_order_mark_is_not_part_of_a_name(tmp_path: Path) -> None:
    assert [column.name for column in read(tmp_path, "\ufeff\ufeff" + csv(["a", "b"])).summary.columns] == [
        "text", "label"]


@pytest.mark.parametrize("label", [[{"name": "a"}], [["a"], ["b"]], {"id": 1, "name": "a"}])
def test_nested_values_are_no_labels(tmp_path: Path, label: Any) -> None:
    lines = [json.dumps({"text": text(i), "label": label if i < 3 else ["a", "b"][i % 2]}) for i in range(90)]
    examples = read(tmp_path, "\n".join(lines), "t.jsonl")
    assert examples.classes == ("a", "b")
    assert [(loss.reason, loss.rows) for loss in examples.summary.losses] == [("not a label", 3)]


LISTS = ['"[""a"", ""b""]"', '"[\'a\']"', '"[]"', '"[\'b\', \'c\']"']


def test_lists_written_as_text_are_several_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = read(tmp_path, csv(LISTS, 40))
    assert examples.classes == ("a", "b", "c") and [examples.label_of(i) for i in range(4)] == ["a|b", "a", "", "b|c"]
    assert "several labels per row, in a list in 40 rows; `multi_label=off` keeps" in capsys.readouterr().out
    assert read(tmp_path, csv(LISTS, 40), multi_label="off").task.exclusive


def test_lists_of_one_label_are_one_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = read(tmp_path, csv(['"[""a""]"', "['b']"]))
    assert examples.classes == ("a", "b") and examples.task.exclusive
    assert "each list contains one label" in capsys.readouterr().out


def test_an_array_of_numpy_is_not_read_as_one_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python joins strings that no comma separates."""
    examples = read(tmp_path, csv(["['a' 'b']", "['a']"]))
    assert examples.classes == ("['a' 'b']", "['a']")
    assert "read as one label each; `multi_label=on` reads them as several" in capsys.readouterr().out


@pytest.mark.parametrize("mark, word", [(";", "semicolon"), (",", "comma")])
def test_other_marks_between_labels_are_named_and_read_on_request(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: Any, word: Any) -> None:
    content = csv([f'"{mark.join(labels)}"' for labels in ("ab", "a", "bc", "ca")], 40)
    assert len(read(tmp_path, content).classes) == 4
    assert f"`multi_label=on` reads them as several, joined by a {word}" in capsys.readouterr().out
    examples = read(tmp_path, content, multi_label="on")
    assert examples.classes == ("a", "b", "c") and examples.label_of(0) == "a|b"
    assert f"several labels per row, joined by a {word} in 30 rows" in capsys.readouterr().out


def test_a_name_with_a_comma_is_no_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, csv(['"Portland, Oregon"', '"Salem, Oregon"', '"Paris, Texas"']))
    assert "multi_label" not in capsys.readouterr().out


def test_half_a_character_in_a_label_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": text(i), "label": ["a\ud83d", "b"][i % 2]}) for i in range(20)]
    assert read(tmp_path, "\n".join(lines), "t.jsonl").classes == ("a\ufffd", "b")
    assert r"'a\ud83d' as 'a\ufffd'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Split", "SPLIT", " split "])
def test_a_split_column_in_another_case_is_used(tmp_path: Path, name: Any) -> None:
    content = f"text,label,{name}\n" + "".join(f"{text(i)},{'ab'[i % 2]},{('train', 'test')[i % 3 == 0]}\n"
                                               for i in range(30))
    assert read(tmp_path, content).summary.parts == {"train": 20, "validation": 0, "test": 10}
    assert not read(tmp_path, content, split_column="none").summary.parts


@pytest.mark.parametrize("name, values, remark", [
    ("Train ", ("train", "test"), "column 'Train' looks like a split"),
    ("Usage", ("Training", "PublicTest"), "column 'Usage' may be a split, but has other values too")])
def test_a_column_that_may_be_a_split_is_named(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], name: Any, values: Any, remark: Any) -> None:
    rows = [f"{text(i)},{'ab'[i % 2]},{values[i % 2]}" for i in range(30)]
    read(tmp_path, "\n".join([f"text,label,{name}", *rows]))
    assert remark in capsys.readouterr().out


def test_a_first_line_that_may_be_a_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, csv(["pos", "neg"], header="Great,pos"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert "WARNING: the first line is taken as the header, although 'pos' in it is also a label" in last
    read(tmp_path, csv(["pos", "neg"], header="what they said,mood"))
    assert "WARNING" not in capsys.readouterr().out


def test_amounts_are_not_taken_for_classes_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = [f"{i % 25}.{i % 25 + 10}" for i in range(25)]
    assert "the labels are 25 different numbers" in " ".join(read(tmp_path, csv(prices, 100)).summary.remarks)
    assert "replace them by a few ranges" in refused(tmp_path, csv(prices, 25))
    assert not read(tmp_path, csv([f"{i}.0" for i in range(25)], 100)).summary.remarks


def test_many_columns_and_long_names_are_clipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"c{i}" for i in range(500)]
    read(tmp_path, ",".join([*names, "text,label"]) + "\n" + "".join(
        "1," * 500 + f"{text(i)},{'ab'[i % 2]}\n" for i in range(9)))
    assert "c19 and 480 more" in capsys.readouterr().out
    assert len(refused(tmp_path, "\0" * 2000).replace(str(tmp_path), "")) < 600


@pytest.mark.parametrize("content, name, cause", [
    ("text,label\n", "t.csv", "it has no rows below its header"),
    ('["a b", "pos"]\n["c d", "neg"]\n', "t.jsonl", "contains no JSON objects (not a JSON object: line 1"),
    ("text,label\na b,pos\n", "t.json", "contains no JSON objects"),
    ('{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}', "t.json", "orient='records'"),
    ('{"text": ["a", "b"], "label": ["x", "y"]}', "t.json", "one JSON object, with the keys text, label"),
    ('{"version": 1, "data": [{"text": "a"}, {"text": "b"}]}', "t.json", "one JSON object, with the keys version"),
])
def test_tables_that_cannot_be_read_name_the_cause(tmp_path: Path, content: Any, name: Any, cause: Any) -> None:
    assert cause in refused(tmp_path, content, name)


def test_json_in_a_file_named_csv_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": text(i), "label": "ab"[i % 2]} for i in range(30)]
    for content in (json.dumps(rows), "\n".join(map(json.dumps, rows))):
        assert len(read(tmp_path, content)) == 30
        assert "in the format json, although its name ends in .csv" in capsys.readouterr().out


def test_a_table_that_is_compressed_twice_is_named(tmp_path: Path) -> None:
    data = gzip.compress(gzip.compress(csv(["a", "b"]).encode()))
    assert "is compressed twice" in refused(tmp_path, data, "t.csv.gz")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "iso2022_jp"])
@pytest.mark.parametrize("header, labels", [("text,label", ["良い", "悪い"]), ("текст,метка", ["да", "нет"])])
def test_encodings_without_a_mark_are_detected(tmp_path: Path, codec: Any, header: Any, labels: Any) -> None:
    assert read(tmp_path, csv(labels, header=header).encode(codec)).classes == tuple(sorted(labels))


def test_nuls_in_utf8_are_not_utf16(tmp_path: Path) -> None:
    content = csv(["да", "нет"]).replace("number 4", "n\0mber 4").replace("number 6", "nu\0ber 6")
    assert read(tmp_path, content).classes == ("да", "нет")


def test_classes_that_are_one_group_each_are_refused(tmp_path: Path) -> None:
    rows = [f"{text(i)},{'abcd'[i % 4]},{'abcd'[i % 4]}" for i in range(80)]
    with pytest.raises(DataError, match="each class of .* is one group"):
        split(read(tmp_path, "\n".join(["text,label,group", *rows])))


@pytest.mark.parametrize("codec, words, labels", [
    ("cp932", "とても良い映画でした 最悪の映画でした 面白くて楽しい", ["良い", "悪い"]),
    ("cp866", "отличный фильм и хорошая игра ужасный сюжет", ["да", "нет"]),
    ("cp949", "정말 재미있는 영화였습니다 최악의 영화", ["좋다", "나쁘다"]),
    ("gb18030", "这部电影非常好看 剧情很差浪费时间", ["好", "差"])])
def test_encodings_are_detected_by_their_letters(tmp_path: Path, codec: Any, words: Any, labels: Any) -> None:
    content = "text,label\n" + "".join(f"{words} {i},{labels[i % 2]}\n" for i in range(30))
    assert read(tmp_path, content.encode(codec)).classes == tuple(sorted(labels))


def test_letters_that_are_control_characters_are_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = "text,label\n" + "".join(f"très café déjà vu été {i},{('élevé', 'bas')[i % 2]}\n" for i in range(40))
    read(tmp_path, content.encode("mac_roman"))
    assert "probably in another one: save it as UTF-8" in capsys.readouterr().out
