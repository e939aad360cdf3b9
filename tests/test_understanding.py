"""What is made of real data: folders, columns and labels are never misread without a word, and losses are counted."""

import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw, draw_folder
from image_files import write_table
from text_folders import hugging_face_folder
from tiny import made_examples

from kerastl.audit.check import check
from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples
from kerastl.data.images import read_images
from kerastl.data.labels import certainly_several, look, look_alikes, matched, normal_form, similar
from kerastl.data.options import ReadOptions
from kerastl.data.paths import Paths
from kerastl.data.split import split
from kerastl.data.summary import DataSummary, Loss, add_losses, check_losses
from kerastl.data.texts import read_texts, read_unlabelled
from kerastl.errors import CheckFailed, DataError, KerastlError, OptionError
from kerastl.fields import from_json
from kerastl.versions.record import RunRecord

TWO = {"cat": (200, 60, 60), "dog": (60, 80, 210)}
Shell = Callable[..., tuple[int, str, str]]


def reasons(examples: Examples) -> dict[str, str]:
    """What was skipped, by its origin."""
    return {item.origin: item.reason for item in examples.skipped}


def texts(folder: Path, labels: Sequence[Any], name: str = "t.jsonl", **columns: Sequence[Any]) -> str:
    """A table of different texts with these labels and more columns."""
    records = [{"text": f"a film, number {i}", "label": label, **{key: values[i] for key, values in columns.items()}}
               for i, label in enumerate(labels)]
    return str(write_table(folder / name, records))


def read(source: str, **options: Any) -> Examples:
    return read_texts(source, options=ReadOptions(**options), min_per_class=1)


# Folders


@pytest.mark.parametrize(("names", "parts"), [
    (("Train", "Test"), {"train": 20, "validation": 0, "test": 20}),
    (("TRAINING", "Val", "holdout"), {"train": 20, "validation": 20, "test": 20}),
    (("training_set", "test_set"), {"train": 20, "validation": 0, "test": 20}),
    (("training-set", "eval", "testing"), {"train": 20, "validation": 20, "test": 20}),
    (("train", "Valid"), {"train": 20, "validation": 20, "test": 0}),
])
def test_split_folders_in_any_usual_spelling_are_the_split(names: Sequence[str], parts: dict[str, int], tmp_path: Path
                                                          ) -> None:
    for seed, name in enumerate(names):
        draw_folder(tmp_path / name, 10, TWO, seed=1000 * seed)
    found = read_images(tmp_path)
    assert found.classes == ("cat", "dog") and found.summary.parts == parts
    assert "split from the folders" in found.summary.split and all(name in found.summary.split for name in names)


def test_split_folders_are_honoured_beside_folders_without_data(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "test")):
        draw_folder(tmp_path / name, 10, TWO, seed=1000 * seed)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("photos of May")
    (tmp_path / "void").mkdir()
    draw_folder(tmp_path / "__MACOSX", 2, TWO)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    found = read_images(tmp_path)
    assert found.classes == ("cat", "dog") and set(found.source_split) == {"train", "test"}
    assert reasons(found) == {"notes": "not a split folder", "void": "empty folder"}
    assert found.notes == ("ignored by name: .ipynb_checkpoints, __MACOSX", "not used (not a split folder): notes",
                           "not used (empty folder): void") and found.summary.losses == ()


@pytest.mark.parametrize("other", ["extra/1.png", "extra/cat/1.png", "cat/1.png"])
def test_split_folders_beside_other_data_are_refused_and_can_be_insisted_on(other: str, tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "Test")):
        draw_folder(tmp_path / name, 10, TWO, seed=1000 * seed)
    for i in range(10):
        draw(tmp_path / other.replace("1", str(i)), (9, 9, 9), 5000 + i)
    with pytest.raises(DataError, match="contains Test and train, which are named like splits, beside") as raised:
        read_images(tmp_path)
    assert "set `split_column` to none" in raised.value.hint
    found = read_images(tmp_path, options=ReadOptions(split_column="none"))
    assert {"Test", "train"} < set(found.classes) and not any(found.source_split)
    assert "WARNING: the folders Test and train are named like splits and are classes here" in found.notes[0]


def test_a_class_called_train_among_other_classes_is_a_class_and_that_is_said(tmp_path: Path) -> None:
    found = read_images(draw_folder(tmp_path, 10, {"train": (1, 2, 3), "car": (90, 90, 90), "ship": (9, 90, 190)}))
    assert found.classes == ("car", "ship", "train") and not any(found.source_split)
    assert found.notes[0].startswith("WARNING: train, named like a split, is read as a class")


def test_split_folders_inside_class_folders_are_the_split(tmp_path: Path) -> None:
    for seed, (name, colour) in enumerate(TWO.items()):
        for part in ("Train", "val"):
            draw_folder(tmp_path / name, 10, {part: colour}, seed=100 * seed + 5000 * (part == "val"))
    found = read_images(tmp_path)
    assert found.classes == ("cat", "dog") and found.summary.parts == {"train": 20, "validation": 20, "test": 0}
    assert found.summary.split == "split from the folders inside the class folders"


def test_a_folder_around_split_folders_is_refused_with_the_folder_to_read(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "test")):
        draw_folder(tmp_path / "photos" / name, 10, TWO, seed=1000 * seed)
    with pytest.raises(DataError, match="photos in .* contains folders named like splits: test and train") as raised:
        read_images(tmp_path)
    assert f"read {tmp_path / 'photos'} instead" in raised.value.hint


def test_test_images_without_class_folders_are_a_loss_that_is_warned_of(tmp_path: Path) -> None:
    draw_folder(tmp_path / "train", 10, TWO)
    draw_folder(tmp_path, 5, {"test": (1, 2, 3)}, seed=777)
    found = read_images(tmp_path)
    assert found.summary.lost == 5 and found.summary.warnings == (
        "5 of 25 rows (20.0%) were skipped: not inside a class folder",)


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "D", draw_folder(tmp_path / "elsewhere", 12, {"more": (200, 60, 60)})
    draw_folder(root, 12, TWO, seed=500)
    (root / "cat/more").symlink_to(elsewhere / "more")
    (root / "cat/again").symlink_to(elsewhere / "more")
    (elsewhere / "more/back").symlink_to(root / "cat")
    (root / "dog/own").mkdir()
    (root / "dog/own/up").symlink_to("..")
    found = read_images(root)
    assert found.counts() == {"cat": 24, "dog": 12} and found.notes == (
        "followed links to folders: cat/again",
        "not used (link to a folder that was read already): cat/again/back and cat/more",
        "not used (link to a folder around it): dog/own/up")
    assert reasons(found) == {
        "cat/again/back": f"link to a folder that was read already: {root / 'cat'}",
        "cat/more": f"link to a folder that was read already: {elsewhere / 'more'}",
        "dog/own/up": "link to a folder around it"}
    assert found.summary.losses == ()


def test_junk_and_captions_beside_images_are_ignored_and_said(tmp_path: Path) -> None:
    draw_folder(tmp_path, 12, TWO)
    for name in TWO:
        for junk in ("Thumbs.db", "desktop.ini", ".DS_Store"):
            (tmp_path / name / junk).write_bytes(b"\xd0\xcf\x11\xe0")
        for i in range(12):
            (tmp_path / name / f"{i}.txt").write_text(f"a {name}")
    (tmp_path / "cat/readme.txt").write_text("captions")
    (tmp_path / "dog/labels.json").write_text("{}")
    assert modality_of(str(tmp_path)).name == "image"
    found = read_images(tmp_path)
    assert found.counts() == {"cat": 12, "dog": 12} and not found.skipped
    assert found.notes == ("ignored by name: Thumbs.db (2), desktop.ini (2)",
                           "ignored beside the images, as captions or descriptions: 1 .json file, 25 .txt files")


def test_images_and_texts_in_one_folder_are_both_named(tmp_path: Path) -> None:
    draw_folder(tmp_path, 3, TWO)
    for i in range(20):
        (tmp_path / "cat" / f"text {i}.txt").write_text("a text")
    with pytest.raises(DataError, match=r"of the first files, 6 are images and 20 texts"):
        read_images(tmp_path)


# Columns


@pytest.mark.parametrize("column", ["group", "split", "label"])
def test_a_column_has_one_role_and_a_requested_one_comes_first(column: str, tmp_path: Path) -> None:
    names = ("food", "sports", "tech", "travel")
    source = str(write_table(tmp_path / "t.csv", [{"text": f"number {i} is near", column: names[i % 4]}
                                                  for i in range(40)]))
    found = split(read(source, label_column=column), "cv")
    assert found.classes == names and not any(found.source_split) and found.groups is found.ids
    assert [(role.name, role.role) for role in found.summary.columns] == [("text", "text"), (column, "label")]
    if column != "label":
        with pytest.raises(DataError, match="looks like labels") as raised:
            read(source)
        assert repr(column) in raised.value.hint and "`label_column`" in raised.value.hint


def test_columns_of_groups_and_splits_can_be_ignored_or_be_others(tmp_path: Path) -> None:
    source = texts(tmp_path, ["a", "b"] * 20, group=["A", "B"] * 20, split=["train", "test"] * 20,
                   site=["x", "y", "z", "w"] * 10, Set=["train"] * 20 + ["dev"] * 20)
    with pytest.raises(DataError, match="belong to 2 groups") as raised:
        split(read(source), "cv")
    assert "`group_column` to none" in raised.value.hint
    found = read(source, group_column="none", split_column="none")
    assert found.groups is found.ids and not any(found.source_split) and found.summary.unused == (
        "group", "split", "site", "Set")
    found = read(source, group_column="site", split_column="Set")
    assert set(found.groups) == {"x", "y", "z", "w"} and found.summary.parts == {
        "train": 20, "validation": 20, "test": 0}
    assert "group from column 'site' (as requested), split from column 'Set' (as requested)" in found.notes[0]
    other = texts(tmp_path, ["a", "b"] * 20, "o.jsonl", Set=["train"] * 20 + ["dev"] * 20)
    assert read(other).notes[1] == (
        "column 'Set' looks like a split and is not used as one: `split_column=Set` uses it")


@pytest.mark.parametrize(("options", "words"), [
    ({"label_column": "group", "group_column": "group"}, "`label_column` and `group_column` are both 'group'"),
    ({"text_column": "text", "split_column": "text"}, "`text_column` and `split_column` are both 'text'"),
    ({"group_column": "nowhere"}, "`group_column` is 'nowhere'"), ({"label_column": "none"}, "`label_column` is none"),
    ({"path_column": "text"}, "the source contains texts"),
    ({"multi_label": "perhaps"}, "must be one of auto, on, off"),
    ({"label_column": "label,group", "multi_label": "off"}, "names 2 columns and `multi_label` is off"),
])
def test_columns_that_cannot_be_are_refused(options: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(KerastlError) as raised:
        read(texts(tmp_path, ["a", "b"] * 20, group=["A", "B"] * 20), **options)
    assert words in str(raised.value)


def test_an_image_table_has_columns_too(tmp_path: Path) -> None:
    draw_folder(tmp_path, 10, TWO)
    records = [{"photo": f"{name}/{i}.png", "what": name, "site": i % 5, "path": i} for name in TWO for i in range(10)]
    source = write_table(tmp_path / "t.csv", records)
    found = read_images(source, options=ReadOptions(path_column="photo", label_column="what", group_column="site"))
    assert found.classes == ("cat", "dog") and set(found.groups) == set("01234")
    assert found.notes[0].startswith("path from column 'photo' (as requested), label from column 'what' (as requested)")


def test_images_inside_a_table_are_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    import pyarrow.parquet

    root = draw_folder(tmp_path / "d", 10, TWO)
    paths = sorted(root.rglob("*.png"))
    blobs = [path.read_bytes() for path in paths]
    structs = pyarrow.array([{"bytes": blob, "path": path.name} for blob, path in zip(blobs, paths, strict=True)],
                            pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))
    label = [path.parent.name for path in paths]
    monkeypatch.chdir(tmp_path)
    for number, images in enumerate((structs, pyarrow.array(blobs, pyarrow.binary()))):
        table = tmp_path / f"{number}.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": label}), table)
        assert modality_of(str(table)).name == "image"
        found = read_images(table, cache_dir=tmp_path / "cache")
        assert found.counts() == {"cat": 10, "dog": 10} and found.ids == read_images(root).ids
        assert [Path(item).read_bytes() for item in found.items] == blobs
        assert found.origins[0] == ("row 1: 0.png", "row 1")[number]
        assert found.notes[-1] == f"20 images inside the table, unpacked to {tmp_path / 'cache/images'}"
    assert not (tmp_path / "images").exists()


def test_one_column_of_0_and_1_per_label_is_offered_and_never_one_of_them(tmp_path: Path) -> None:
    records = [{"id": i, "comment_text": f"a film, number {i}", "toxic": i % 2, "obscene": int(i % 3 == 0),
                "insult": int(i % 5 == 0)} for i in range(40)]
    source = str(write_table(tmp_path / "t.csv", records))
    with pytest.raises(DataError, match="toxic, obscene, insult of .* each contain 0 and 1") as raised:
        read(source)
    assert "toxic,obscene,insult" in raised.value.hint
    for options in ({"label_column": "toxic,obscene,insult"}, {"multi_label": "on"}):
        found = read(source, **options)
        assert found.classes == ("insult", "obscene", "toxic") and not found.task.exclusive and len(found) == 40
        assert found.targets[:3].tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]
        assert found.notes[-1] == "several labels per row, from 3 columns of 0 and 1"
    assert read(source, label_column="toxic").classes == ("0", "1")


def test_columns_of_0_and_1_with_one_1_in_each_row_are_one_label_unless_requested(tmp_path: Path) -> None:
    records = [{"text": f"a film, number {i}", "a": i % 2 == 0, "b": i % 2 == 1} for i in range(20)]
    records[4]["a"], records[5]["b"] = -1, None
    source = str(write_table(tmp_path / "t.jsonl", records))
    found = read(source, label_column="a,b")
    assert found.task.exclusive and found.counts() == {"a": 9, "b": 9} and "one label" in found.notes[-1]
    assert reasons(found) == {"row 5": "neither 0 nor 1: '-1' in column 'a'",
                              "row 6": "neither 0 nor 1: '' in column 'b'"}
    assert not read(source, label_column="a,b", multi_label="on").task.exclusive


# Labels


@pytest.mark.parametrize(("label", "form"), [
    ("cafe\u0301", "caf\xe9"), ("spam\u200b", "spam"), ("\ufeffspam", "spam"), ("  spam\t", "spam"),
    ("a\u2028b", "a b"),
    ("a\r\nb", "a b"), ("a\x85b", "a b"), ("a\x0b\x1cb", "a b"), ("\u200fspam\u200e", "spam"), ("a b", "a b"),
    ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"), ("\u3000全角\u3000", "全角"), ("\ud800x", "\ufffdx"),
    ("a|b", "a|b"), ("=1+1", "=1+1"), ("", ""), ("\u200b", ""),
])
def test_labels_have_one_form(label: str, form: str) -> None:
    assert normal_form(label) == form == normal_form(form)


@pytest.mark.slow
def test_the_form_of_a_label_is_one_line_whatever_it_contains() -> None:
    for code in range(sys.maxunicode + 1):
        form = normal_form(f"a{chr(code)}b")
        assert len(form.splitlines()) == 1 and form == unicodedata.normalize("NFC", form), hex(code)


@pytest.mark.parametrize("pair", [("Spam", "spam"), ("1", "1.0"), ("1", "True"), ("0.0", "false"), ("A", "A"),
                                  ("new york", "New_York"), ("a-b", "a b"), ("straße", "STRASSE"), ("01", "1")])
def test_labels_that_look_alike_are_found(pair: tuple[str, str]) -> None:
    assert look_alikes((*pair, "other")) == (pair,)


@pytest.mark.parametrize("pair", [("A-", "A"), ("A+", "A-"), ("c++", "c"), ("-1", "1"), ("1", "10"), ("a", "b"),
                                  ("1.5", "15"), ("café", "cafe")])
def test_labels_that_differ_do_not_look_alike(pair: tuple[str, str]) -> None:
    assert look(pair[0]) != look(pair[1])


def test_names_with_a_spelling_mistake_are_similar_and_numbered_ones_are_not() -> None:
    assert similar(("positive", "postive", "negative", "grade 10", "grade 11")) == (("positive", "postive"),)


@pytest.mark.parametrize(("labels", "several"), [
    ({"red|blue", "red", "blue|dark"}, True), ({"Hardware | Software", "Billing", "Other"}, False),
    ({"Home | Garden", "Home | Kitchen", "Home"}, False), ({"a|b", "b|a"}, True), ({"a|b", "b"}, False),
    ({"a|b", "c|d", "b|e"}, False), (set(), False), ({"a", "b"}, False),
])
def test_bars_mean_several_labels_only_where_the_parts_recombine(labels: set[str], several: bool) -> None:
    assert certainly_several(labels) is several


def test_a_bar_in_a_name_is_kept_and_both_ways_can_be_requested(tmp_path: Path) -> None:
    labels = ["Hardware | Software", "Billing", "Other"] * 10
    source = texts(tmp_path, labels)
    found = read(source)
    assert found.classes == ("Billing", "Hardware | Software", "Other") and found.task.exclusive
    assert "`multi_label=on` separates" in found.notes[-1] and found.summary.labels == "one label per row"
    found = read(source, multi_label="on")
    assert found.classes == ("Billing", "Hardware", "Other", "Software") and not found.task.exclusive
    for i, label in enumerate(labels):
        (tmp_path / "folder" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / label / f"{i}.txt").write_text(f"a film, number {i}")
    assert read(str(tmp_path / "folder")).classes == read(source).classes
    clear = texts(tmp_path, ["red|blue", "red", "blue|dark"] * 10, "c.jsonl")
    assert read(clear).summary.labels == (
        "several labels per row, joined by a bar in 20 rows; `multi_label=off` keeps such a label whole")
    assert read(clear, multi_label="off").classes == ("blue|dark", "red", "red|blue")


def test_lists_are_several_labels_and_off_skips_them(tmp_path: Path) -> None:
    source = texts(tmp_path, [["a"], ["a", "b"], ["b"], ["b"]] * 10)
    assert read(source).notes[-1] == "several labels per row, in a list"
    found = read(source, multi_label="off")
    assert found.counts() == {"a": 10, "b": 20} and found.summary.losses == (
        Loss("several labels (`multi_label`)", 10),)
    single = texts(tmp_path, [["a"], ["b"]] * 10, "s.jsonl")
    assert read(single).task.exclusive and "`multi_label=on` expects several" in read(single).notes[-1]
    assert not read(single, multi_label="on").task.exclusive


def test_spellings_of_a_label_are_one_class_and_look_alikes_are_said(tmp_path: Path) -> None:
    names = ["café", unicodedata.normalize("NFD", "café"), "spam", "spam\u200b", " spam", "Spam"]
    found = read(texts(tmp_path, names * 5))
    assert found.counts() == {"Spam": 5, "café": 10, "spam": 15}
    assert found.summary.look_alikes == (("Spam", "spam"),)
    assert "'cafe\\u0301' as 'caf\\xe9'" in found.notes[-1] and "'spam\\u200b' as 'spam'" in found.notes[-1]
    assert found.summary.remarks[0].startswith("the classes 'Spam' (5) and 'spam' (15) look alike")


@pytest.mark.parametrize("missing", ["-1", "nan", "None", "NULL", "?", "<NA>", "N/A"])
def test_a_label_that_means_none_is_remarked_on_and_skipped_on_request(missing: str, tmp_path: Path) -> None:
    source = texts(tmp_path, ["0", "1", missing] * 10)
    found = read(source)
    assert len(found.classes) == 3 and found.summary.no_label_like == {missing: 10}
    assert f"`no_label={missing}` skips such rows" in found.summary.remarks[0]
    found = read(source, no_label=missing)
    assert found.classes == ("0", "1") and found.summary.warnings == ()
    assert found.summary.losses == (Loss("no label (`no_label`)", 10, requested=True),)
    assert read(source, no_label=f"x,{missing}").classes == ("0", "1")
    assert read(source, no_label="other").notes[-1] == "no row has the label 'other' of `no_label`"


@pytest.mark.parametrize(("classes", "known", "pairs"), [
    (("0.0", "1.0"), ("0", "1"), {"0.0": "0", "1.0": "1"}),
    (("cafe\u0301",), ("café", "thé"), {"cafe\u0301": "café"}),
    (("Spam", "spam"), ("spam",), {"spam": "spam"}),
    (("Spam", "SPAM"), ("spam",), {}), (("A-", "x"), ("A", "B"), {}), (("True",), ("1", "1.0"), {}),
])
def test_classes_of_new_data_are_matched_where_it_is_unambiguous(classes: Sequence[str], known: Sequence[str],
                                                                pairs: dict[str, str]) -> None:
    assert matched(classes, known) == pairs


# Losses


def test_a_large_loss_or_one_in_a_single_class_is_a_warning() -> None:
    kept = {"a": 1000, "b": 1000}
    assert DataSummary(rows=2040, classes=kept, losses=(Loss("broken", 40, {"a": 20, "b": 20}),)).warnings == ()
    assert DataSummary(rows=2042, classes=kept, losses=(Loss("broken", 42),)).warnings == (
        "42 of 2,042 rows (2.1%) were skipped: broken",)
    assert DataSummary(rows=2012, classes=kept, losses=(Loss("broken", 12, {"a": 12}),)).warnings == (
        "12 of 1,012 rows of the class 'a' were skipped (1.2%), but 0.0% of the others",)
    assert DataSummary(rows=2003, classes=kept, losses=(Loss("broken", 3, {"a": 2, "b": 1}),)).warnings == ()
    requested = DataSummary(rows=4000, classes=kept, losses=(Loss("no label", 2000, {"a": 2000}, requested=True),))
    assert requested.warnings == ()
    assert requested.losses_line == "skipped 2,000 of 4,000 rows: no label (2,000: a 2,000)"


def test_losses_add_up_by_reason_and_class() -> None:
    losses = add_losses((Loss("x", 3, {"a": 2}),), {("x", False): {"a": 1, "": 1}, ("y", True): {"b": 4}})
    assert losses == (Loss("x", 5, {"a": 3}), Loss("y", 4, {"b": 4}, requested=True))


def test_strict_makes_a_loss_an_error_when_reading_and_when_decoding(tmp_path: Path) -> None:
    labels = ["a", "b"] * 20 + [None] * 2
    source = texts(tmp_path, labels)
    assert read(source).summary.warnings == ("2 of 42 rows (4.8%) were skipped: no label",)
    with pytest.raises(CheckFailed, match=r"2 of 42 rows \(4.8%\)") as raised:
        read(source, strict=True)
    assert raised.value.exit_code == 1
    found = read_images(draw_folder(tmp_path / "d", 12, TWO), options=ReadOptions(strict=True))
    with pytest.raises(CheckFailed, match=r"1 of 24 rows \(4.2%\) were skipped: no image"):
        found.without({3: "no image: cut"})
    check_losses("x", DataSummary(rows=10, losses=(Loss("broken", 5),)))  # not strict


def test_rows_that_cannot_be_decoded_are_counted_by_class(tmp_path: Path) -> None:
    found = read_images(draw_folder(tmp_path, 12, TWO)).without({0: "cut: at byte 7", 1: "cut: at byte 9"})
    assert found.summary.losses == (Loss("cut", 2, {"cat": 2}),) and found.summary.classes == {"cat": 10, "dog": 12}
    assert found.summary.rows == 24 == len(found) + found.summary.lost


def test_small_classes_and_a_limit_are_counted_as_rows(tmp_path: Path) -> None:
    source = texts(tmp_path, ["a", "b"] * 20 + ["c"] * 5)
    found = read_texts(source)
    assert found.summary.losses == (Loss("class of fewer than 10 rows", 5, {"c": 5}),) and found.summary.warnings
    assert not read_texts(source, min_per_class=6).summary.warnings  # as requested
    found = read_texts(source, limit=20)
    assert found.summary.losses[-1] == Loss("beyond the limit (`limit`)", 20, requested=True)
    assert found.summary.rows == 45 and found.summary.classes == {"a": 10, "b": 10}


def test_the_summary_is_said_before_the_work_and_survives_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                              ) -> None:
    source = texts(tmp_path, ["a", "b", "B"] * 20 + [None], group=[f"g{i % 9}" for i in range(61)])
    found = read(source)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{source}: 60 texts, 3 classes: B 20, a 20, b 20"
    assert said[1] == "  text from column 'text' (by name), label from column 'label' (by name), group from column " \
                      "'group' (by name)"
    assert said[2] == "  skipped 1 of 61 rows: no label (1)"
    assert said[3].startswith("  the classes 'B' (20) and 'b' (20) look alike")
    assert from_json(DataSummary, found.summary.to_dict()) == found.summary
    read_unlabelled(source)
    assert capsys.readouterr().out == ""


def test_labels_that_are_none_and_rows_without_a_part_are_said(tmp_path: Path) -> None:
    source = texts(tmp_path, ["a", "b", {"x": 1}, "a", "b"] * 4, split=["train", "", "train", "test", "train"] * 4)
    found = read(source)
    assert found.summary.losses == (Loss("not a label", 4),)
    assert found.summary.parts == {"train": 8, "validation": 0, "test": 4, "none (used for training)": 4}
    chosen = split(found, "cv").split
    assert chosen is not None and chosen.reason == "requested; the source's own split is not used"


def test_made_up_examples_have_an_empty_summary() -> None:
    examples = made_examples(np.array([0, 1] * 20)).without({0: "cut"})
    assert examples.summary.warnings == () and examples.summary.lost == 1


@pytest.mark.slow
def test_a_run_says_stores_and_shows_what_was_understood_and_strict_fails_it(tmp_path: Path, shell: Shell) -> None:
    root = draw_folder(tmp_path / "d", 12, TWO)
    for i in range(14):
        (root / f"dog/cut{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([i]))
    words = ["run", "tiny_images", "--data", root, "--name", "m", "--weights", "none", "--tflite", "none"]
    code, out, err = shell(*words, "--out", tmp_path / "out")
    assert code == 0 and f"{root}: 38 images, 2 classes: dog 26, cat 12" in err
    assert out.splitlines()[-2].startswith("WARNING: 14 of 38 rows (36.8%) were skipped: ")
    assert out.splitlines()[-1].startswith("WARNING: 14 of 26 rows of the class 'dog' were skipped (53.8%)")
    record = RunRecord.read(tmp_path / "out/m/1")
    assert record.data_summary is not None and record.data_summary.classes == {"cat": 12, "dog": 12}
    assert record.data_summary.losses[0].by_class == {"dog": 14}
    report = (tmp_path / "out/m/1/report.html").read_text()
    assert "14 of 38 rows (36.8%) were skipped" in report and "How the data were read" in report
    assert "14 of 38 rows (36.8%)" in (tmp_path / "out/m/1/MODEL_CARD.md").read_text()
    code, _, err = shell(*words, "--out", tmp_path / "strict", "--strict")
    assert code == 1 and "14 of 38 rows (36.8%) were skipped" in err and "(--strict)" in err
    assert not (tmp_path / "strict").exists()
    new = draw_folder(tmp_path / "new", 6, {"Cat": TWO["cat"], "dog": TWO["dog"], "cow": (9, 99, 9)}, seed=777)
    code, out, _ = shell("evaluate", tmp_path / "out/m", new)
    assert code == 0 and "labels read as classes of the model: 'Cat' as 'cat'" in out
    assert out.splitlines()[-2:] == [f"WARNING: {loss}; these figures describe the other rows" for loss in (
        "6 of 18 rows (33.3%) were skipped: the model has no such class",
        "all 6 rows of the class 'cow' were skipped, but 0.0% of the others")]
    assert "skipped    6 of 18 rows: the model has no such class (6: cow 6)" in out
    code, _, err = shell("evaluate", tmp_path / "out/m", new, "--strict")
    assert code == 1 and "the model has no such class" in err


# Paths


def test_paths_of_windows_are_read_and_of_others_the_cause_is_named(tmp_path: Path) -> None:
    draw_folder(tmp_path, 12, {"Cats": (200, 60, 60), "dogs": (60, 80, 210)})
    rows = [(f"{name}\\{i}.png", name) for name in ("Cats", "dogs") for i in range(10)]
    odd = {"cats/1.png": "its letter case differs: there is 'Cats'",
           "Cats/3": "its ending is missing: there is '3.png'",
           "Cats/3.jpg": "its ending differs: there is '3.png'", "Cats/4.png ": "it has outer blanks: there is '4.png'",
           "C:\\data\\x.png": "it is a Windows path with a drive; write it relative to the table's folder",
           "Cats\\3.PNG": "it has backslashes, and its letter case differs: there is '3.png'",
           "http://example.org/x.png": "it is an address; only files of this machine are read", "zzz/qqq.png": ""}
    table = tmp_path / "t.csv"
    rows += [(path, "dogs") for path in odd]
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    found = read_images(table)
    assert found.counts() == {"Cats": 10, "dogs": 10}
    assert found.notes[-1] == "paths with backslashes in 20 rows are read as Windows paths"
    assert reasons(found) == {path: "No such file or directory" + (f": {cause}" if cause else "")
                              for path, cause in odd.items()}
    assert found.summary.losses == (Loss("No such file or directory", 8, {"dogs": 8}),)
    (tmp_path / unicodedata.normalize("NFD", "café")).mkdir()
    assert "another Unicode form" in Paths().cause(str(tmp_path / "café/1.png"))


# check


@pytest.mark.slow
def test_check_lists_findings_and_writes_a_page(tmp_path: Path, shell: Shell) -> None:
    root = draw_folder(tmp_path / "d", 12, {**TWO, "Dog": (60, 80, 200), "-1": (9, 99, 9)})
    os.rename(root / "Dog/3.png", root / "Dog/<b>.png")
    (root / "cat/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "cat/twin.png").write_bytes((root / "dog/5.png").read_bytes())
    draw(root / "cat/dark.png", (0, 0, 0), 5)
    from PIL import Image
    Image.fromarray(np.array(Image.open(root / "cat/dark.png")) // 8).save(root / "cat/dark.png")
    Image.new("RGB", (40, 40), (90, 90, 90)).save(root / "cat/plain.png")
    result = check(str(root), backbone="none", cache_dir=str(tmp_path / "cache"))
    found = {finding.kind: finding for finding in result.findings}
    assert found["look-alike classes"].examples == ("'Dog' (12) = 'dog' (12)",)
    assert found["no label"].examples == ("'-1': 12 rows",) and "`no_label`" in found["no label"].fix
    assert found["conflicting labels"].examples == ("cat/twin.png (cat) = dog/5.png (dog)",)
    assert found["skipped"].examples[0].startswith("cat/cut.png: ") and found["skipped"].count == 1
    assert found["dark images"].examples == ("cat/dark.png",) and found["plain images"].examples == ("cat/plain.png",)
    severities = [finding.severity for finding in result.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index) and not result.failed
    page = tmp_path / "page.html"
    code, out, err = shell("check", root, "--backbone", "none", "--strict", "--html", page, "--cache-dir", tmp_path)
    assert code == 1 and "WARNING: classes that look alike: 1" in out
    assert "to fix: skip such rows with --no-label" in out
    assert "look-alike classes, no label" in err
    assert page.read_text().count("data:image/jpeg;base64,") >= 3 and "<b>.png" not in page.read_text()
    code, out, _ = shell("check", root, "--backbone", "none", "--no-label", "-1", "--cache-dir", tmp_path)
    assert code == 0 and "labels that often mean" not in out
    code, _, err = shell("check", root, "--html", tmp_path / "page.pdf")
    assert code == 2 and "--html" in err


def test_check_says_why_training_would_fail_and_which_texts_have_no_words(tmp_path: Path) -> None:
    source = texts(tmp_path, ["a", "b"] * 20, group=["A", "B"] * 20)
    result = check(source, backbone="none", cache_dir=str(tmp_path / "cache"))
    assert result.findings[0].severity == "error" and "belong to 2 groups" in result.findings[0].title
    path = tmp_path / "odd.csv"
    path.write_text("text,label\n" + "".join(f"a film {i},{'ab'[i % 2]}\n" for i in range(30)) + "🥱🦾,a\n\u200b!,b\n")
    found = {finding.kind: finding for finding in check(str(path), backbone="none",
                                                        cache_dir=str(tmp_path / "cache")).findings}
    assert found["no words"].count == 2 and "unknown texts" not in found


@pytest.mark.slow
def test_check_names_the_texts_of_which_the_backbone_knows_no_token(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "w", "bert")
    path = tmp_path / "odd.csv"
    path.write_text("text,label\n" + "".join(f"a good film {i},{'ab'[i % 2]}\n" for i in range(30))
                    + "🥱🦾,a\n\u200b\u2060,b\n日本,b\n...,a\n")
    result = check(str(path), backbone="bert_base", weights=str(folder), cache_dir=str(tmp_path / "cache"))
    found = {finding.kind: finding for finding in result.findings}
    assert [name.partition(":")[0] for name in found["unknown texts"].examples] == [
        "row 31 (line 32)", "row 32 (line 33)", "row 33 (line 34)"]
    assert "bert_base knows no token" in found["unknown texts"].title
    assert found["no words"].examples == ("row 34 (line 35): '...'",)


def test_a_column_for_a_folder_is_refused_by_its_argument(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="`group_column` is g, but .* is a folder"):
        read_images(draw_folder(tmp_path, 10, TWO), options=ReadOptions(group_column="g"))
