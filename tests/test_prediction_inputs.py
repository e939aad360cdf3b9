"""Prediction answers every row, in order: of tables, folders, arguments and standard input, whatever is wrong with one.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from text_folders import hugging_face_folder

from kerastl.cli import main
from kerastl.data.input_row import InputRow
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.prediction_inputs import Reading, input_rows
from kerastl.display import (
    begins_a_formula,
    excerpt_of,
    visible,
    visible_cell,
    visible_json,
    with_formula,
    without_formula,
)
from kerastl.errors import OptionError
from kerastl.files import write_file
from kerastl.inputs import EMPTY_TEXT, vocabulary
from kerastl.inputs.texts import Texts
from kerastl.inputs.unknown_texts import UNKNOWN, TextCheck
from kerastl.modality import IMAGE, TEXT
from kerastl.serving.batch import predict_inputs
from kerastl.verbs.predict import words

Shell = Callable[..., tuple[int, str, str]]


def rows(*inputs: object, lines: bytes = b"", texts: tuple[str, ...] = (), pair: bool = False, images: bool = False,
         notes: list[str] | None = None, options: ReadOptions = READ_AS_USUAL, cache: object = None) -> list[InputRow]:
    reading = Reading(IMAGE if images else TEXT, options, pair, cache and str(cache), [] if notes is None else notes)
    return list(input_rows(reading, [str(name) for name in inputs], lines=lines, texts=texts))


def test_files_folders_tables_and_texts_are_answered_in_their_order(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name, text in (("b.txt", "two"), ("a.txt", "one"), ("notes.md", "# no")):
        write_file(folder / name, text)
    (tmp_path / "t.csv").write_text("label,text\n1,three\n2,\n")
    inputs = ("what a film", folder / "b.txt", folder, tmp_path / "t.csv", "", "x" * 9999, "and/or maybe",
              "https://example.org/a", "ends in .txt said he")
    assert [row.item for row in rows(*inputs)] == ["what a film", "two", "one", "two", "three", "", *inputs[4:]]
    pairs = rows(tmp_path / "t.csv", pair=True, options=ReadOptions(text_column="text,label"))
    assert [row.item for row in pairs] == [("three", "1"), ("", "2")]
    assert all("no such file" in row.error for row in rows("gone.txt", "no/such/folder", "table.CSV"))


def test_images_of_files_folders_and_tables_are_answered_in_their_order(tmp_path: Path, images: Path) -> None:
    root, notes = tmp_path / "d", list[str]()
    shutil.copytree(images, root)
    listed = sorted(root.rglob("*.png"))
    for name in (f"{listed[0].stem}.txt", "other.txt"):
        (listed[0].parent / name).write_text("a caption")
    found = rows(listed[2], root, images=True, notes=notes)
    assert [row.item for row in found] == [listed[2], *sorted([*listed, listed[0].parent / "other.txt"])]
    assert notes == [f"{root}: 1 file beside an image of the same name ignored, as captions"]
    inside = [str(path.relative_to(root)) for path in listed[:3]]
    windows = inside[0].replace("/", "\\")
    (tmp_path / "t.csv").write_text(f"id,photo\n1,d\\{windows}\n2,d/{inside[1].upper()}\n3,d/{inside[2]}\n")
    found = rows(tmp_path / "t.csv", images=True)
    assert [row.item for row in found] == [listed[0], None, listed[2]] and "letter case differs" in found[1].error
    (tmp_path / "t.csv").write_text(f"path,scan\nnowhere.png,d/{inside[0]}\n")
    assert "no such file" in rows(tmp_path / "t.csv", images=True)[0].error
    chosen = rows(tmp_path / "t.csv", images=True, options=ReadOptions(path_column="scan"))
    assert [row.item for row in chosen] == [listed[0]]


@pytest.mark.parametrize("sharded", [False, True])
def test_images_inside_a_table_are_answered_under_their_rows(sharded: bool, tmp_path: Path, images: Path) -> None:
    blobs = [path.read_bytes() for path in sorted(images.rglob("*.png"))[:3]]
    cells = [{"bytes": blobs[0], "path": "a.png"}, None, {"bytes": blobs[1], "path": None}, {"bytes": None, "path": ""}]
    path = tmp_path / ("data/train-00000-of-00001.parquet" if sharded else "t.parquet")
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pa.table({"image": cells}), path)
    source = path.parent if sharded else path
    found = rows(source, images=True, cache=tmp_path / "cache")
    assert [row.item and row.item.read_bytes() for row in found] == [blobs[0], None, blobs[1], None]
    prefix = f"{source}, {'train-00000-of-00001.parquet, ' * sharded}row "
    assert [row.name for row in found] == [f"{prefix}1: a.png", *(f"{prefix}{n}" for n in (2, 3, 4))]
    assert [row.error for row in found] == ["", "no image", "", "no image"]


def test_every_row_of_a_table_is_answered_in_its_order(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"text": "good"}\n{"text": null}\n{"text": ["a", "b"]}\n{broken\n{"text": 7}\n{"other": 1}\n'
                     '{"text": {"a": 1}}\n{"text": NaN}\n{"text": "bad"}\n')
    found = rows(table)
    assert [row.item for row in found] == ["good", None, None, None, "7", None, None, None, "bad"]
    assert [row.name for row in found[1:4]] == [f"{table}, row {n}" for n in (2, 3, 4)]
    reasons = [row.error.partition(":")[0] for row in found if row.error]
    assert reasons == ["missing text", "not a text", "broken JSON", "missing text", "not a text", "missing text"]


def test_binary_columns_of_parquet_are_texts_or_an_error_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"text": pa.array([b"good", b"caf\xe9", None])}), path)
    found = rows(path)
    assert found[0].item == "good" and found[1].error.startswith("not UTF-8") and "missing text" in found[2].error


def test_a_source_that_cannot_be_opened_is_one_row_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\none\ntwo\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no table")
    (tmp_path / "void").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    found = rows(tmp_path / "gone.txt", tmp_path / "t.csv", tmp_path / "broken.parquet", tmp_path / "void",
                 tmp_path / "pipe.txt", "a text", tmp_path / "x.png")
    assert [row.item for row in found] == [None, "one", "two", None, None, None, "a text", None]
    assert "no such file" in found[0].error and "no .txt files" in found[4].error and "regular" in found[5].error
    assert all("pass it in `text`" in found[place].error for place in (0, 4))


def test_a_text_that_looks_like_a_path_is_a_text_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# readme")
    name = str(tmp_path / "README.md")
    assert "`text`" in rows(name)[0].error
    assert [row.item for row in rows("good", texts=(name, "-awful film", "no/such"))] == [
        "good", name, "-awful film", "no/such"]
    with pytest.raises(OptionError, match="`text` is"):
        rows(texts=("a",), images=True)


@pytest.mark.parametrize(("data", "lines", "note"), [
    (b"one\ntwo\n", ["one", "two"], ""), (b"one\r\ntwo", ["one", "two"], ""), (b"one\rtwo\r", ["one", "two"], ""),
    (b"a\n\nb\n\n", ["a", "", "b", ""], ""), ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc"], ""), (b"", [], ""),
    (b"bad\0x\nnice\n", ["bad\0x", "nice"], ""), (b"a\0b\n", ["a\0b"], ""),
    ("\ufeffone\n".encode(), ["one"], "byte order mark"), ("one\r\ntwö\r\n".encode("utf-16"), ["one", "twö"], "UTF-16"),
    ("one\ntwo\n".encode("utf-16-le"), ["one", "two"], "UTF-16"), (b"caf\xe9 was awful\nfine\n",
                                                                   ["café was awful", "fine"], "0xe9"),
])
def test_standard_input_is_decoded_as_a_file_is(data: bytes, lines: list[str], note: str) -> None:
    notes: list[str] = []
    assert [row.item for row in rows("-", lines=data, notes=notes)] == lines
    assert (note in notes[0] and notes[0].startswith("standard input: ")) if note else notes == []


def test_a_line_with_a_byte_that_is_not_utf_8_among_others_that_are_has_an_error_of_its_own() -> None:
    found = rows("-", lines="日本語の映画\n".encode() * 3 + b"caf\xe9\nfine\n")
    assert [bool(row.error) for row in found] == [False] * 3 + [True, False]


def test_paths_on_standard_input_are_any_bytes(tmp_path: Path, images: Path) -> None:
    good = next(images.rglob("*.png"))
    odd = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(good, odd)
    for data in (odd + b"\n\n" + os.fsencode(good) + b"\n", odd + b"\r\n" + os.fsencode(good)):
        assert [os.fsencode(row.item) for row in rows("-", lines=data, images=True)] == [odd, os.fsencode(good)]
    assert rows("-", lines=f"{good}\r\n".encode("utf-16"), images=True)[0].item == good
    assert "\ufffd" in rows("-", lines=odd, images=True)[0].name  # a name that can be printed


def test_paths_in_a_table_that_are_missing_or_no_files_are_errors_of_their_rows(tmp_path: Path, images: Path) -> None:
    good = next(images.rglob("*.png"))
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({"path": path}) + "\n" for path in
                             (str(good), None, "", "gone.png", [3], "a\0b.png", str(tmp_path))))
    found = rows(table, tmp_path / "gone", images=True)
    assert [row.item for row in found] == [good, *[None] * 7]
    assert [row.error.partition(":")[0] for row in found[1:]] == [
        "no path", "no path", "no such file or folder", "not a path", "no such file or folder", "not a regular file",
        "no such file or folder"]


def test_an_empty_path_is_not_the_current_folder_and_a_link_to_nothing_is_named(
        tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(next(images.rglob("*.png")), "a.png")
    os.symlink("nowhere", "b.png")
    found = rows("", "a.png", "b.png", images=True)
    assert [bool(row.error) for row in found] == [True, False, True]
    assert "an empty path" in found[0].error and "it is a link" in found[2].error


def test_a_model_of_pairs_tells_a_single_text_from_a_pair(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sentence1,sentence2\na,b\n")
    found = rows("alone", tmp_path / "p.csv", pair=True)
    assert "pairs of texts" in found[0].error and found[1].item == ("a", "b")
    assert "one text" in rows(tmp_path / "p.csv")[0].error


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_texts_without_a_known_token_are_found(family: str, tmp_path: Path) -> None:
    check = TextCheck(Texts(vocabulary.read(hugging_face_folder(tmp_path, family)), 16))
    for text in ("a good film", "🥱 good", "!", "7"):
        assert check([text.encode()]) == [""]
    for text in ("", " \n\t", "\x00\x01", "\u3000"):
        assert check([text.encode()]) == [EMPTY_TEXT]
    unknown = "" if family == "roberta" else UNKNOWN  # byte pairs spell everything
    for text in ("🥱🦾", "🥱 🦾", "ₓ"):
        assert check([text.encode()]) == [unknown], text
    if family == "bert":
        for text in ("\u200b", "\ufffd", "x" * 150):
            assert check([text.encode()]) == [UNKNOWN]
    assert check([[b"good", b""], [b"good", b"bad"]]) == [EMPTY_TEXT, ""] and check([]) == []


# The command


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory, dropped_in: Path) -> Path:
    """A version of a model of texts."""
    root = tmp_path_factory.mktemp("texts")
    hugging_face_folder(root / "bert", "bert")
    generator = np.random.default_rng(0)
    with open(root / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *(
            (f"a {word} film {i} {generator.integers(1000)}", label)
            for i in range(14) for word, label in (("good", "positive"), ("bad", "negative")))])
    assert main(["run", "bert_text", "--data", str(root / "t.csv"), "--name", "m", "--out", str(root), "--weights",
                 str(root / "bert"), "--unfreeze", "0", "--tflite", "none", "--epochs", "2"]) in (0, 1)
    return root / "m" / "1"


@pytest.mark.slow
def test_the_command_answers_each_row_and_counts_errors(text_model: Path, shell: Shell, tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"text": "a good film"}\n{"text": null}\n{"text": ""}\n{"text": "a bad film"}\n')
    code, out, err = shell("predict", text_model, table, "--json")
    found = json.loads(out)
    assert code == 0 and found["failed"] == 2, err
    assert [bool(row["label"]) for row in found["predictions"]] == [True, False, False, True]
    code, out, err = shell("predict", text_model, table, "--strict")
    assert code == 1 and "2 errors in 4 inputs" in out and "2 of 4 inputs have no prediction" in err
    code, out, err = shell("predict", text_model, "--text", "-awful film", "--text", str(tmp_path), "good")
    assert code == 0 and [line.split("  ")[0] for line in out.splitlines()[1:4]] == [
        "good", "-awful film", str(tmp_path)]
    code, _, err = shell("predict", text_model, "-awful film")
    assert code == 2 and "--text" in err and "-- " not in err.partition("--text")[2][:1]
    code, _, err = shell("predict", text_model, "")
    assert code == 2 and "empty text" in err
    code, _, err = shell("predict", text_model, str(tmp_path))
    assert code == 2 and "--text" in err
    out_file = tmp_path / "p.csv"  # is written even where no row has a prediction
    table.write_text('{"text": null}\n')
    assert shell("predict", text_model, table, "--out", out_file)[0] == 2
    assert "missing text" in out_file.read_text()


# What `kerastl predict` does not use and must not wait for
FOREIGN = {"keras", "keras_hub", "sklearn", "tensorflow_datasets", "pandas", "pyarrow", "openvino", "PIL", "torch"}


def imported_by(*words: object) -> set[str]:
    """The modules that the command has imported when it ends."""
    code = "import sys; from kerastl.cli import main; code = main(sys.argv[1:]); print('LOADED', code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    _, code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return set(modules)


@pytest.mark.slow
def test_predicting_for_an_image_imports_only_what_it_uses(trained: Path, images: Path) -> None:
    loaded = imported_by("predict", trained, next(images.rglob("*.png")))
    assert not loaded & (FOREIGN | {"tensorflow_text", "scipy.stats"}) and "tensorflow" in loaded


@pytest.mark.slow
def test_predicting_for_a_text_imports_only_what_it_uses(text_model: Path) -> None:
    loaded = imported_by("predict", text_model, "a good film")
    assert not loaded & (FOREIGN | {"scipy.stats"}) and "tensorflow_text" in loaded


@pytest.mark.slow
def test_what_was_imported_without_keras_has_it_when_it_is_used() -> None:
    code = ("from kerastl.inputs import text_ops\nimport sys, tensorflow as tf, tensorflow_text\n"
            "assert 'keras' not in sys.modules\n"
            "assert tensorflow_text.keras.layers.ToDense and tf.keras.optimizers.Adam\n"
            "import keras, keras_hub\nassert issubclass(keras.optimizers.Adam, tf.keras.optimizers.Optimizer)\n"
            "try: tensorflow_text.nothing\nexcept AttributeError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no attribute 'nothing'" in done.stdout


def test_a_text_after_its_flag_may_begin_with_a_dash() -> None:
    assert words(["m", "--text", "-a b", "x", "--json"]) == ["m", "--text=-a b", "x", "--json"]
    assert words(["m", "-", "--", "-a", "--text"]) == ["m", "-", "--", "-a", "--text"]
    for word in ("-awful", "-a b", "--not a flag"):
        with pytest.raises(OptionError, match="--text"):
            words(["m", word])


# What is shown and written


def test_control_characters_and_marks_of_direction_are_escaped() -> None:
    assert visible("a\x1b[31m\x07\u202eb\nc\td\u200be") == "a\\x1b[31m\\x07\\u202eb\nc\td\\u200be"
    assert visible_cell("a\nb\r\x9b") == "a\\nb\\r\\x9b" and visible("👩‍👩‍👧 é 日本") == "👩‍👩‍👧 é 日本"
    document = json.dumps({"a\u202e": "\x1b\x9b\u2028\x7f"}, ensure_ascii=False)
    assert visible_json(document).isascii() and json.loads(visible_json(document)) == json.loads(document)


@pytest.mark.parametrize("cell", [
    "=1+1", "@SUM(1)", "+4", "-2+3", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "-awful film"])
def test_a_cell_that_would_be_a_formula_begins_with_an_apostrophe(cell: str) -> None:
    assert begins_a_formula(cell) and without_formula(cell) == f"'{cell}"
    assert without_formula("a=1") == "a=1" and without_formula("") == ""
    for text in (cell, f"'{cell}", f"''{cell}", "a=1", "'quoted'", "''", "", "it's"):  # and nothing is lost
        assert with_formula(without_formula(text)) == text


@pytest.mark.slow
def test_names_in_a_csv_file_are_no_formulas_unless_raw_is_set(trained: Path, images: Path, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("=1+1.png", "@SUM(1).png", "\x1b[31mX.png", "plain.png"):
        shutil.copy(next(images.rglob("*.png")), name)
    inputs = ["=1+1.png", "@SUM(1).png", "\x1b[31mX.png", "plain.png"]
    code, out, _ = shell("predict", trained, *inputs, "--out", "p.csv")
    assert code == 0 and "2 of the cells of p.csv" in out and "--raw" in out
    with open("p.csv", newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == [
            "'=1+1.png", "'@SUM(1).png", "\\x1b[31mX.png", "plain.png"]
    shell("predict", trained, *inputs, "--out", "p.csv", "--raw")
    with open("p.csv", newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == inputs
    code, out, _ = shell("predict", trained, *inputs)
    assert code == 0 and "\\x1b[31mX.png" in out and "\x1b" not in out
    code, out, err = shell("predict", trained, "\x1b]0;title\x07.png", "--json")
    assert code == 2 and "\x1b" not in err and "\\x1b]0;title\\x07" in err
    assert predict_inputs(trained, inputs).inputs == tuple(inputs)


def test_an_excerpt_shows_no_line_ends_of_windows() -> None:
    assert visible(excerpt_of("a fine film .\r", 99)) == "a fine film ."
    assert visible(excerpt_of("  one\r\ntwo\r\n", 99)) == "one\ntwo"
    assert excerpt_of("a" * 10, 4) == "aaaa …" and visible(excerpt_of("a\rb", 9)) == "a\\rb"
