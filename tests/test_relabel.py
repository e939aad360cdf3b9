"""Corrections of labels: from the table that `check` writes to the run record, and what is refused."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import COLOURS, draw, draw_folder

import kerastl as tl
from kerastl.audit.fixes import fixes_file, write_fixes
from kerastl.data.corrections import COLUMNS, REMOVE
from kerastl.display import csv_cell
from kerastl.report.check_page import check_page
from kerastl.report.model_card import model_card
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_examples

Shell = Callable[..., tuple[int, str, str]]
HOSTILE = "=HYPERLINK(\"http://x\")\n<script>alert(1)</script>'\"\u202e"


def text_table(path: Path, labels: Sequence[str] = ("good", "bad")) -> tl.Examples:
    """A table of 12 texts of each label, and its rows as they are read."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"a {label} film, number {i}", label)
                                                         for label in labels for i in range(12))])
    return tl.read_texts(path, min_per_class=0)


def row_of(examples: tl.Examples, row: int, new: str, author: str = "") -> tuple[str, ...]:
    return examples.ids[row], examples.origins[row], examples.label_of(row), new, author


def write(path: Path, rows: Sequence[Sequence[str]], head: Sequence[str] = (*COLUMNS, "author")) -> str:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *([csv_cell(cell) for cell in row] for row in rows)])
    return str(path)


def reread(table: Path, fixes: str, min_per_class: int = 10) -> tl.Examples:
    return tl.read_texts(table, options=tl.ReadOptions(relabel=fixes), min_per_class=min_per_class)


def test_labels_are_corrected_and_rows_removed_before_anything_else(tmp_path: Path) -> None:
    table, fixes = tmp_path / "t.csv", tmp_path / "fixes.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"text {i} {label}", label) for label in ("a", "b", "=c")
                                                         for i in range(10)), ("a typing error", "aa")])
    raw = tl.read_texts(table, min_per_class=0)
    path = write(fixes, [row_of(raw, 30, "a", "Ann"), row_of(raw, 0, "=c", "Bo"), row_of(raw, 1, ""),
                         row_of(raw, 29, "", "Cy"), row_of(raw, 28, REMOVE)])
    examples = reread(table, path, min_per_class=9)
    assert examples.counts() == {"=c": 10, "a": 10, "b": 10} and len(examples) == 30
    assert examples.label_of(list(examples.ids).index(raw.ids[30])) == "a"
    assert raw.ids[28] not in examples.ids
    assert examples.corrections is not None and (record := examples.corrections.relabelling) is not None
    assert (record.rows, record.corrected, record.removed) == (5, 2, 1)
    assert record.sha256 == hashlib.sha256(fixes.read_bytes()).hexdigest() and record.file == path
    assert record.authors == ("Ann", "Bo", "Cy") and {(change.given, change.new) for change in record.changes} == {
        ("aa", "a"), ("a", "=c"), ("=c", REMOVE)}
    assert any("2 labels corrected and 1 row removed" in note for note in examples.notes)
    assert any("'aa' has no rows left" in note for note in examples.notes)
    assert any(loss.requested and "relabel" in loss.reason for loss in examples.summary.losses)
    with pytest.raises(tl.DataError):  # without the corrections, the class is too small, and 9 rows are not
        tl.read_texts(table, min_per_class=11)


@pytest.mark.parametrize(("change", "message"), [
    (lambda raw: [row_of(raw, 0, "goood")], "'goood' is not a class; did you mean 'good'"),
    (lambda raw: [("0" * 32, "row 7", "good", "bad", "")], "row 7: no row has this content"),
    (lambda raw: [(raw.ids[0], raw.origins[0], "bad", "good", "")], "its label is 'good', not 'bad'"),
    (lambda raw: [row_of(raw, 0, "bad"), row_of(raw, 0, "")], "listed twice")])
def test_a_table_that_does_not_fit_changes_nothing_and_lists_the_rows(
        change: Callable[[tl.Examples], list[tuple[str, ...]]], message: str, tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv")
    path = write(tmp_path / "fixes.csv", [row_of(raw, 5, "bad"), *change(raw)])
    with pytest.raises(tl.DataError, match="nothing was changed") as refused:
        reread(tmp_path / "t.csv", path)
    assert message in str(refused.value)


def test_content_decides_and_not_the_place_in_the_table(tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv")
    path = write(tmp_path / "fixes.csv", [row_of(raw, 0, "bad")])
    lines = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text("\n".join([lines[0], "a film on top,good", *lines[1:]]))
    examples = reread(tmp_path / "t.csv", path)
    assert examples.label_of(list(examples.ids).index(raw.ids[0])) == "bad" and examples.counts()["bad"] == 13
    assert any("elsewhere" in note for note in examples.notes)
    (tmp_path / "t.csv").write_text("\n".join([*lines, *lines[1:2]]))  # the same text twice: its origin tells
    examples = reread(tmp_path / "t.csv", path)
    assert [label for label, content in zip(examples.labels, examples.ids, strict=True)
            if content == raw.ids[0]] == ["bad", "good"]


@pytest.mark.slow
@pytest.mark.parametrize("word", ["no such file", "folder", "ending", "column", "cells", "empty"])
def test_what_is_no_table_of_corrections_is_one_message_and_exit_code_2(word: str, shell: Shell, tmp_path: Path
                                                                        ) -> None:
    text_table(tmp_path / "t.csv")
    path = tmp_path / "fixes.csv"
    if word == "folder":
        path.mkdir()
    elif word == "ending":
        path = tmp_path / "fixes.png"
        path.write_bytes(b"x")
    elif word == "column":
        write(path, [("a", "b")], head=("id", "new label"))
    elif word == "empty":
        path.write_text("")
    elif word == "cells":
        path.write_text(",".join(COLUMNS) + "\na,b\n")
    code, out, err = shell("run", "minilm_text", "--data", tmp_path / "t.csv", "--name", "m", "--out", tmp_path,
                           "--relabel", path)
    assert code == 2 and out == "" and err.count("error: ") == 1 and "Traceback" not in err and str(path) in err


def test_verbs_that_read_labelled_data_apply_them_too(shell: Shell, tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv", ("gut", "schlecht"))
    path = write(tmp_path / "fixes.csv", [row_of(raw, 0, "schlecht", "Ann")], head=(*COLUMNS, "author"))
    counts = []
    for more in ((), ("--relabel", path)):
        code, out, err = shell("check", tmp_path / "t.csv", "--backbone", "none", "--json", *more)
        assert code == 0, err
        counts.append(json.loads(out)["classes"])
    assert counts[1]["schlecht"] == counts[0]["schlecht"] + 1
    code, _, err = shell("compare", tmp_path / "t.csv", "--backbones", "minilm", "--relabel", tmp_path / "missing.csv")
    assert code == 2 and "--relabel is" in err


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv", ("gut", "schlecht"))
    rows = [(*COLUMNS, "author"), row_of(raw, 0, "schlecht", "Jürgen")]
    (tmp_path / "fixes.csv").write_bytes("".join(";".join(row) + "\r\n" for row in rows).encode("utf-8-sig"))
    examples = reread(tmp_path / "t.csv", str(tmp_path / "fixes.csv"))
    assert examples.counts() == {"gut": 11, "schlecht": 13}
    assert examples.corrections and examples.corrections.relabelling
    assert examples.corrections.relabelling.authors == ("Jürgen",)


def test_a_new_label_may_be_written_as_in_the_source_or_as_in_the_table(tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv", ("=good", "-bad x"))
    for written in ("-bad x", "'-bad x", "'-bad\nx", " -bad x "):
        with open(tmp_path / "fixes.csv", "w", newline="") as file:
            csv.writer(file).writerows([(*COLUMNS, "author"), row_of(raw, 0, written)])
        assert reread(tmp_path / "t.csv", str(tmp_path / "fixes.csv")).counts() == {"-bad x": 13, "=good": 11}


def test_rows_with_several_labels_are_corrected_too(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"text {i},{('a|b', 'b', 'a')[i % 3]}\n" for i in range(30)))
    several = tl.ReadOptions(multi_label="on")
    raw = tl.read_texts(table, options=several, min_per_class=0)
    path = write(tmp_path / "fixes.csv", [row_of(raw, 0, "b"), row_of(raw, 1, "b|a")])
    examples = tl.read_texts(table, options=replace(several, relabel=path))
    assert [examples.label_of(row) for row in range(3)] == ["b", "a|b", "a"]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tl.CheckResult]:
    """A folder of images, one of them in the wrong class and with a hostile name, and what a check found."""
    root = draw_folder(tmp_path_factory.mktemp("images") / "d", 14)
    draw(root / "green" / "=cmd'|\"<b>,\n.png", COLOURS["red"], 999)
    cache = tmp_path_factory.mktemp("cache")
    return root, tl.check(str(root), backbone="tiny_net", weights="none", cache_dir=str(cache))


@pytest.mark.slow
def test_the_table_of_a_check_is_edited_and_trains(checked: tuple[Path, tl.CheckResult], tmp_path: Path) -> None:
    root, result = checked
    path = fixes_file(str(tmp_path / "fixes.csv"))
    write_fixes(path, result)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    error, first = result.label_errors[0], rows[0]
    assert error.origin == "green/=cmd'|\"<b>,\n.png" and (error.label, error.predicted) == ("green", "red")
    assert (first["given_label"], first["suggested_label"], first["new_label"]) == ("green", "red", "")
    assert [row["id"] for row in rows] == [error.id for error in result.label_errors]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
    unchanged = tl.read_images(root, options=tl.ReadOptions(relabel=str(path)))
    assert unchanged.counts() == result.counts and "corrects nothing" in unchanged.notes[-1]
    first["new_label"], first["author"] = "red", "Ann"
    with open(tmp_path / "edited.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerows(rows)
    record = tl.classify_images(root, name="m", out=tmp_path / "out", backbone="tiny_net", weights="none",
                                tflite="none", relabel=str(tmp_path / "edited.csv"), precision="float32", xla="off")
    assert record.counts == {"blue": 14, "green": 14, "red": 15} and record.relabel is not None
    assert record.relabel.sha256 == hashlib.sha256((tmp_path / "edited.csv").read_bytes()).hexdigest()
    document = json.loads((Path(record.path) / "run.json").read_text())
    assert document["relabel"]["corrected"] == 1 and document["relabel"]["authors"] == ["Ann"]
    assert document["label_errors"]["rows"] == 43 and RunRecord.read(Path(record.path)).relabel == record.relabel
    card = (Path(record.path) / "MODEL_CARD.md").read_text()
    assert "1 label corrected" in card and "Ann" in card and card.startswith(model_card(record))
    report = (Path(record.path) / "report.html").read_text()
    assert "Possible label errors" in report and "Corrected before training: 1 label corrected" in report
    shutil.move(tmp_path / "edited.csv", tmp_path / "elsewhere.csv")  # the version restores its labels by itself
    restored = restore_examples(Path(record.path), record)
    assert restored.counts() == record.counts and record.read_options.relabel is None
    assert (Path(record.path) / "relabel.csv").exists() and not tl.verify(record.path).failed
    with pytest.raises(tl.OptionError, match="may hold your corrections"):
        fixes_file(str(path))


@pytest.mark.slow
def test_the_page_of_a_check_escapes_what_comes_from_data(checked: tuple[Path, tl.CheckResult]) -> None:
    _, result = checked
    page = check_page(result)
    assert "Possible label errors" in page and "<b>," not in page and "&lt;b&gt;" in page
    assert page.count("suggested <b>red</b>") >= 1 and "data:image/jpeg" in page


def test_hostile_texts_and_labels_survive_the_table(tmp_path: Path) -> None:
    labels = ("=good", "'=bad")
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"{HOSTILE} {label} {i}", label) for label in labels
                                                         for i in range(12))])
    raw = tl.read_texts(tmp_path / "t.csv", min_per_class=0)
    assert set(raw.classes) == set(labels)
    path = write(tmp_path / "fixes.csv", [row_of(raw, 0, "'=bad"), row_of(raw, 12, "=good"), row_of(raw, 13, "=good")])
    assert reread(tmp_path / "t.csv", path).counts() == {"=good": 13, "'=bad": 11}
    assert "'=good" in Path(path).read_text() and "''=bad" in Path(path).read_text()


def test_folders_as_classes_and_corrected_labels_exclude_each_other(tmp_path: Path) -> None:
    raw = text_table(tmp_path / "t.csv")
    examples = reread(tmp_path / "t.csv", write(tmp_path / "fixes.csv", [row_of(raw, 0, "bad")]))
    with pytest.raises(tl.OptionError, match="`relabel` corrects labels"):
        tl.by_folder(examples)


@pytest.mark.slow
def test_check_prints_both_opinions_and_writes_a_table_only_where_none_is(checked: tuple[Path, tl.CheckResult],
                                                                          shell: Shell, tmp_path: Path) -> None:
    words = ("check", checked[0], "--backbone", "tiny_net", "--weights", "none", "--cache-dir", tmp_path)
    code, out, _ = shell(*words, "--json", "--fixes", tmp_path / "fixes.csv")
    document = json.loads(out)
    found = document["label_errors"]["errors"]
    assert code == 0 and document["label_errors"]["rows"] == 43 and len(found) == len(document["odd_labels"]) >= 1
    assert (found[0]["given"], found[0]["suggested"], found[0]["verdict"]) == ("green", "red", "likely")
    assert found[0]["neighbours"] > 0.5 and found[0]["self_confidence"] < found[0]["suggested_probability"]
    assert document["odd_labels"][0] == {"origin": found[0]["origin"], "label": "green", "looks_like": "red",
                                         "probability": found[0]["suggested_probability"]}
    before = (tmp_path / "fixes.csv").read_bytes()
    code, out, err = shell(*words, "--fixes", tmp_path / "fixes.csv")
    assert code == 2 and out == "" and "--fixes" in err and (tmp_path / "fixes.csv").read_bytes() == before
