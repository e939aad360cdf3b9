"""Sources: folders, tables and TFDS data sets become rows with content hashes; what cannot be used is named."""

import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import draw, draw_folder
from image_files import broken_tables, write_table

from kerastl.data.examples import Examples
from kerastl.data.images import read_images, read_labelled, read_unlabelled
from kerastl.data.options import ReadOptions
from kerastl.data.split import split
from kerastl.errors import DataError, KerastlError, OptionError

TWO = {"red": (200, 60, 60), "blue": (60, 80, 210)}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the network fails the test."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("asked for the network"))


def reasons(examples: Examples) -> dict[str, str]:
    """What was left out, by its origin."""
    return {one.origin: one.reason for one in examples.skipped}


def labelled(examples: Examples) -> dict[str, str]:
    """Each row's label, by its origin."""
    return {origin: examples.label_of(row) for row, origin in enumerate(examples.origins)}


# Folders


def test_a_folder_of_class_folders_becomes_rows_with_content_hashes(images: Path) -> None:
    found = read_images(str(images))
    assert found.modality.name == "image" and found.classes == ("blue", "green", "red") and not found.skipped
    assert found.counts() == {"blue": 14, "green": 14, "red": 14} and not any(found.source_split)
    assert all(label == origin.split("/")[0] for origin, label in labelled(found).items())
    for origin, item, one in zip(found.origins, found.items, found.ids, strict=True):
        assert Path(item) == images / origin
        assert one == hashlib.blake2b(Path(item).read_bytes(), digest_size=16).hexdigest()
    assert found.groups == found.ids


def test_the_order_is_that_of_the_names_however_the_files_were_written(images: Path, tmp_path: Path) -> None:
    first = read_images(str(images))
    files = sorted(images.rglob("*.png"), key=lambda path: path.read_bytes())
    for path in files:
        copy = tmp_path / path.relative_to(images)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    again = read_images(str(tmp_path))
    assert again.origins == first.origins == tuple(sorted(first.origins)) and again.ids == first.ids


def test_images_may_lie_deeper_and_hidden_files_are_not_seen(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10, TWO)
    draw(tmp_path / "red" / "2024" / "may" / "deep.png", TWO["red"], 777)
    for hidden in (".DS_Store", "red/.thumb.png", "red/.cache/x.png", ".git/config"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"hidden")
    found = read_images(str(tmp_path))
    assert found.counts() == {"blue": 10, "red": 11} and not found.skipped
    assert labelled(found)["red/2024/may/deep.png"] == "red"


def test_an_empty_class_and_a_file_beside_the_classes_are_named(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10, TWO)
    (tmp_path / "void").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    found = read_images(str(tmp_path))
    assert found.classes == ("blue", "red")
    assert reasons(found) == {"void": "class folder without files",
                              "notes.txt": "not inside a class folder"}


def test_odd_class_names_are_only_names(tmp_path: Path) -> None:
    names = ["two words", "quote\"'s", "\U0001f600", "<script>alert(1)<", "a|b", "c..", "-x", "%s{}", "tab\t", "né"]
    draw_folder(tmp_path, 10, {name: (20 * i, 90, 90) for i, name in enumerate(names)})
    found = read_images(str(tmp_path))
    assert found.classes == tuple(sorted("tab" if name == "tab\t" else name for name in names))
    assert found.task.exclusive and found.notes == (
        "'a|b': the bar is part of the label; `multi_label=on` separates labels at bars",
        "labels in normal form (Unicode NFC, without outer blanks, invisible characters and line breaks): "
        "'tab\\t' as 'tab'")
    assert all(origin.startswith(label) for origin, label in labelled(found).items())


def test_links_to_files_and_to_class_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = draw_folder(tmp_path / "elsewhere", 11, TWO)
    root = tmp_path / "root"
    (root / "red").mkdir(parents=True)
    (root / "blue").symlink_to(elsewhere / "blue", target_is_directory=True)
    for path in (elsewhere / "red").iterdir():
        (root / "red" / path.name).symlink_to(path)
    (root / "red" / "broken.png").symlink_to(tmp_path / "gone.png")
    (root / "red" / "around").symlink_to(root, target_is_directory=True)  # followed, it would never end
    found = read_images(str(root))
    assert found.counts() == {"blue": 11, "red": 11} and found.notes == (
        "followed links to folders: blue", "not used (link to a folder around it): red/around")
    assert reasons(found) == {"red/around": "link to a folder around it", "red/broken.png": (
        f"No such file or directory: it is a link to {tmp_path / 'gone.png'}, which does not exist")}


@pytest.mark.parametrize(("names", "sides"), [
    (("train", "validation", "test"), ("train", "validation", "test")),
    (("training", "train", "val"), ("train", "train", "validation")),
    (("train", "dev"), ("train", "validation")), (("train",), ("train",)),
])
def test_folders_named_as_sides_are_the_users_split(names: Sequence[str], sides: Sequence[str], tmp_path: Path) -> None:
    for seed, name in enumerate(names):
        draw_folder(tmp_path / name, 10, TWO, seed=1000 * seed)
    (tmp_path / "licence.txt").write_text("free")
    found = read_images(str(tmp_path))
    assert found.classes == ("blue", "red")
    side = dict(zip(names, sides, strict=True))
    assert [side[origin.split("/")[0]] for origin in found.origins] == list(found.source_split)
    assert reasons(found) == {"licence.txt": "not inside a class folder"}


def test_classes_that_are_all_named_like_splits_are_read_only_on_request(tmp_path: Path) -> None:
    root = str(draw_folder(tmp_path, 10, {"test": (1, 2, 3), "Valid": (90, 90, 90)}))
    with pytest.raises(DataError, match="Valid and test .* named like splits and contain no class folders") as raised:
        read_images(root)
    assert "set `split_column` to none" in raised.value.hint
    found = read_images(root, options=ReadOptions(split_column="none"))
    assert found.classes == ("Valid", "test") and not any(found.source_split)
    assert found.notes == (
        "WARNING: the folders Valid and test are named like splits and are classes here, as requested",)


# Tables


def numbered(folder: Path, n: int, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    """n images, `pic/<i>.png`, in two classes by turns, with columns made of i."""
    for i in range(n):
        draw(folder / "pic" / f"{i}.png", (90, 90, 90), i, size=8)
    label = columns.pop("label", lambda i: ("red", "blue")[i % 2])
    return [{"path": f"pic/{i}.png", "label": label(i), **{name: of(i) for name, of in columns.items()}}
            for i in range(n)]


@pytest.fixture(params=["csv", "tsv", "jsonl", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where to write a table, once for each kind; ten images of a class lie beside it."""
    return tmp_path / f"table.{request.param}"


def test_a_table_has_paths_relative_to_itself_groups_and_sides(table: Path) -> None:
    records = numbered(table.parent, 24, group=lambda i: "" if i < 4 else f"g{i // 4}",
                       split=lambda i: ("train", "Validation ", "TEST", "")[i % 4])
    records[0]["path"] = str(table.parent / "pic" / "0.png")  # absolute paths are as good
    found = read_images(write_table(table, records))
    assert found.origins == tuple(record["path"] for record in records) and not found.skipped
    assert found.source_split == ("train", "validation", "test", "") * 6
    assert found.groups == (*found.ids[:4], *(f"g{i // 4}" for i in range(4, 24)))
    assert found.counts() == {"blue": 12, "red": 12} and labelled(found)["pic/3.png"] == "blue"


def test_rows_without_label_path_or_file_are_listed(table: Path) -> None:
    records = numbered(table.parent, 24)
    records[0]["label"] = records[1]["label"] = None  # the first record tells the columns of a JSON table
    records[2]["label"], records[3]["path"], records[4]["path"] = "  ", None, "gone.png"
    records[5]["path"], records[6]["path"] = "pic", "pic/\0.png"
    found = read_images(write_table(table, records), min_per_class=5)
    header = table.suffix in (".csv", ".tsv")  # which takes a line, so that row 1 is in line 2
    assert reasons(found) == {
        **{f"row {row}{f' (line {row + 1})' if header else ''}": "no path" if row == 4 else "no label"
           for row in range(1, 5)},
        "gone.png": "No such file or directory", "pic": "not a regular file", "pic/\0.png": "not a valid file name",
    }
    assert found.origins == tuple(f"pic/{i}.png" for i in range(7, 24))


@pytest.mark.parametrize(("label", "classes"), [
    (lambda i: i % 2, ("0", "1")), (lambda i: bool(i % 2), ("False", "True")), (lambda i: i % 2 / 2, ("0.0", "0.5")),
])
def test_labels_that_are_numbers_are_names(label: Callable[[int], Any], classes: tuple[str, ...], table: Path) -> None:
    assert read_images(write_table(table, numbered(table.parent, 20, label=label))).classes == classes


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_not_a_number_is_no_label_and_no_group(ending: str, tmp_path: Path) -> None:
    nan = float("nan")
    records = numbered(tmp_path, 24, label=lambda i: nan if i == 5 else float(i % 2),
                       group=lambda i: nan if i % 3 else float(i // 6))
    found = read_images(write_table(tmp_path / f"t.{ending}", records))
    assert found.classes == ("0.0", "1.0") and reasons(found) == {"row 6": "no label"}
    assert found.groups[1] == found.ids[1] and found.groups[0] == found.groups[3] == "0.0"


def test_a_group_called_zero_is_a_group(table: Path) -> None:
    records = numbered(table.parent, 24, group=lambda i: i // 6)
    assert read_images(write_table(table, records)).groups == tuple(str(i // 6) for i in range(24))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(ending: str, tmp_path: Path) -> None:
    path = Path(write_table(tmp_path / f"t.{ending}", numbered(tmp_path, 20, label=lambda i: ("né", "日本")[i % 2])))
    before = read_images(str(path))
    text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text)
    again = read_images(str(path))
    assert again.classes == ("né", "日本") and again.ids == before.ids and not again.skipped


@pytest.mark.parametrize("several", [lambda names: "|".join(names), lambda names: " | ".join(names) + "|", list])
def test_several_labels_come_as_a_list_or_with_bars(several: Callable[[list[str]], Any], tmp_path: Path) -> None:
    names = [["red", "blue"], ["red"], ["blue", "dark"]]
    records = numbered(tmp_path, 30, label=lambda i: several(names[i % 3]))
    found = read_images(write_table(tmp_path / "t.jsonl", records))
    assert not found.task.exclusive and found.classes == ("blue", "dark", "red")
    assert found.targets[:3].tolist() == [[1, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert found.counts() == {"blue": 20, "dark": 10, "red": 20} and found.label_of(2) == "blue|dark"


def test_an_empty_list_is_a_row_without_any_of_the_labels(tmp_path: Path) -> None:
    records = numbered(tmp_path, 40, label=lambda i: [["red"], [], ["blue", "red"], ["rare"] * (i == 3)][i % 4])
    found = read_images(write_table(tmp_path / "t.parquet", records))
    assert found.classes == ("blue", "red") and found.label_of(1) == ""
    assert "pic/3.png" not in found.origins  # all it had was the class that is too small
    assert len(found) == 39 and reasons(found) == {"rare": "class of 1 row, fewer than 10 (`min_per_class`)"}


@pytest.mark.parametrize(("column", "right"), [("Label", "label"), ("labels", "label"), ("PATH", "path"),
                                               ("image_path", "path")])
def test_a_column_is_found_by_a_usual_name_and_that_is_said(column: str, right: str, table: Path) -> None:
    records = [{column if name == right else name: value for name, value in record.items()}
               for record in numbered(table.parent, 20)]
    found = read_images(write_table(table, records))
    assert f"{right} from column {column!r} (by name)" in found.notes[-1] and found.classes == ("blue", "red")
    odd = [{"what" if name == column else name: value for name, value in record.items()} for record in records]
    found = read_images(write_table(table, odd))
    assert f"{right} from column 'what' (by content)" in found.notes[-1] and found.classes == ("blue", "red")
    assert {column.role for column in found.summary.columns} == {"path", "label"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", broken_tables())
def test_a_broken_table_is_one_clear_message(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind.split()[0]}"
    path.write_bytes(broken_tables()[kind])
    with pytest.raises(DataError, match=path.name) as raised:
        read_images(str(path))
    assert raised.value.expected and raised.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "reason"), [
    ("csv endless cell", "broken quoting: a quote opened in line 2002 is never closed"),
    ("jsonl cut", "broken JSON: line 2000"), ("jsonl list", "not a JSON object: line 2001: [1, 2]"),
])
def test_a_broken_line_is_left_out_and_no_other(kind: str, reason: str, tmp_path: Path) -> None:
    draw(tmp_path / "pic" / "1.png", (90, 90, 90), 1)
    path = tmp_path / f"t.{kind.split()[0]}"
    path.write_bytes(broken_tables()[kind])
    found = read_images(str(path), min_per_class=0)
    assert found.origins == ("pic/1.png",) and found.skipped[0].reason.startswith(reason)
    assert len(found.skipped) == 1001 and found.skipped[-1].origin.endswith(" more")


def test_a_table_in_another_encoding_is_read_and_that_is_said(tmp_path: Path) -> None:
    records = numbered(tmp_path, 20, label=lambda i: ("né", "red")[i % 2])
    path = Path(write_table(tmp_path / "t.csv", records))
    path.write_bytes(path.read_text().encode("latin-1"))
    found = read_images(str(path))
    assert found.classes == ("né", "red") and found.notes[0].startswith("latin-1: byte 0xe9 at ")


def test_an_unknown_side_is_named_with_its_row(table: Path) -> None:
    records = numbered(table.parent, 4, split=lambda i: "elsewhere" if i == 2 else "train")
    with pytest.raises(DataError, match=r"row 3( \(line 4\))?: split 'elsewhere'") as raised:
        read_images(write_table(table, records))
    assert "validation" in raised.value.expected


# Too little, and the same content twice


def test_small_classes_are_left_out_by_name_with_their_counts(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10, TWO)
    for name, n in (("few", 9), ("one", 1)):
        draw_folder(tmp_path, n, {name: (90, 90, 90)}, seed=500 * n)
    found = read_images(str(tmp_path))
    assert found.classes == ("blue", "red") and set(labelled(found).values()) == {"blue", "red"}
    assert reasons(found) == {"few": "class of 9 rows, fewer than 10 (`min_per_class`)",
                              "one": "class of 1 row, fewer than 10 (`min_per_class`)"}
    assert read_images(str(tmp_path), min_per_class=9).classes == ("blue", "few", "red")


@pytest.mark.parametrize(("counts", "words"), [
    ({"red": 12}, ("too few classes", "'red': 12 rows")), ({"red": 9, "blue": 3}, ("too few rows", "blue: 3, red: 9")),
    ({"red": 40, "blue": 3}, ("too few rows", "blue: 3, red: 40")), ({}, ("no labelled images",)),
])
def test_fewer_than_two_classes_is_an_error_with_the_counts(counts: dict[str, int], words: tuple[str, ...],
                                                            tmp_path: Path) -> None:
    for seed, (name, n) in enumerate(counts.items()):
        draw_folder(tmp_path, n, {name: (90, 90, 90)}, seed=1000 * seed)
    with pytest.raises(DataError) as raised:
        read_images(str(tmp_path))
    assert str(tmp_path) in raised.value.got and all(word in raised.value.got for word in words)
    assert raised.value.expected and raised.value.hint


@pytest.mark.parametrize(("name", "words"), [
    ("nowhere", "no such file or folder"), ("notes.txt", "is not in a supported format"),
    ("gone.csv", "no such file or folder"),
])
def test_what_is_no_source_is_told(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=f"{words}(.|\n)*: .*a table"):
        read_images(str(tmp_path / name))


def test_a_table_none_of_whose_files_is_there_shows_the_first(tmp_path: Path) -> None:
    records = [{"path": "a.png", "label": "red"}, {"path": "b.png", "label": "blue"}]
    with pytest.raises(DataError, match=r"a\.png: No such file") as raised:
        read_images(write_table(tmp_path / "t.csv", records))
    assert "relative to the table's folder" in raised.value.hint


def test_exact_duplicates_stay_with_their_labels_and_share_a_group(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10, TWO)
    shutil.copy(tmp_path / "red" / "3.png", tmp_path / "blue" / "liar.png")
    found = read_images(str(tmp_path))
    twins = [found.origins.index("red/3.png"), found.origins.index("blue/liar.png")]
    assert [found.label_of(row) for row in twins] == ["red", "blue"]
    assert found.ids[twins[0]] == found.ids[twins[1]] and found.groups[twins[0]] == found.groups[twins[1]]
    assert len(set(found.ids)) == 20


# Images without labels


def test_any_folder_or_table_will_do_where_labels_do_not_matter(table: Path) -> None:
    records = numbered(table.parent, 3)
    plain = read_unlabelled(str(table.parent / "pic"))
    assert plain.origins == ("0.png", "1.png", "2.png")
    path = write_table(table, [{"path": record["path"]} for record in records] + [{"path": "gone.png"}])
    listed = read_unlabelled(path)
    assert listed.ids == plain.ids and reasons(listed) == {"gone.png": "No such file or directory"}


def test_records_without_a_path_are_rows_that_cannot_be_read(tmp_path: Path) -> None:
    records = numbered(tmp_path, 2)
    (tmp_path / "t.jsonl").write_text(json.dumps(records[0]) + '\n{"id": 7}\n{"path": null}\n' + json.dumps(records[1]))
    found = read_unlabelled(str(tmp_path / "t.jsonl"))
    assert found.origins == ("pic/0.png", "pic/1.png")
    assert reasons(found) == {"row 2": "no path", "row 3": "no path"}


# TFDS


def test_an_empty_list_among_single_labels_is_no_label(tmp_path: Path) -> None:
    records = numbered(tmp_path, 24, label=lambda i: [] if i == 5 else ["red", "blue"][i % 2])
    found = read_images(write_table(tmp_path / "t.jsonl", records))
    assert found.classes == ("blue", "red") and found.task.exclusive
    assert reasons(found) == {"pic/5.png": "no label"}


def test_a_pipe_in_a_class_folder_is_not_waited_for(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 10, TWO)
    os.mkfifo(root / "red" / "pipe.png")
    assert reasons(read_images(str(root))) == {"red/pipe.png": "not a regular file"}


# What examples show of themselves


def test_examples_show_what_they_are_and_no_paths(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "photos", 12)
    found = read_images(str(root))
    assert repr(found) == f"Examples(36 images, 3 classes, {root})"
    assert repr(split(found, "cv")) == f"Examples(36 images, 3 classes, {root}, split: cv)"
    assert found.task.name == "single_label" and found.classes_of(0) == [0]


def test_examples_become_a_table(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    found = split(read_images(str(draw_folder(tmp_path, 12))), "cv")
    frame = found.to_frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == [
        "origin", "image", "label", "group", "source_split", "split", "id"]
    assert frame["origin"].tolist() == list(found.origins) and frame["id"].tolist() == list(found.ids)
    assert frame["label"].value_counts().to_dict() == {"blue": 12, "green": 12, "red": 12}
    assert found.split is not None
    assert frame["split"].tolist() == [f"fold {part}" for part in found.split.part]


@pytest.mark.parametrize(("argument", "words"), [
    ("text_column", "the source contains images"), ("label_column", ".* is a folder"),
    ("group_column", ".* is a folder"),
])
def test_images_have_no_columns_of_texts_and_folders_none_at_all(argument: str, words: str, images: Path) -> None:
    with pytest.raises(OptionError, match=f"`{argument}` is a, but {words}"):
        read_labelled(str(images), options=ReadOptions().with_columns(**{argument: "a"}))


def test_without_pandas_a_table_is_one_clear_message(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # so that importing it fails, installed or not
    with pytest.raises(KerastlError, match="pandas is not installed"):
        read_images(str(images)).to_frame()
