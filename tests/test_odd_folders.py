"""Folders as people have them: splits, links and other files that lie about."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import draw

from kerastl.audit.check import check
from kerastl.data.examples import Examples
from kerastl.data.images import read_images
from kerastl.data.options import ReadOptions
from kerastl.data.texts import read_texts
from kerastl.errors import DataError
from kerastl.report.check_page import check_page
from kerastl.verbs.check import show


def files(root: Path, *folders: str, n: int = 3) -> Path:
    """Files that are not decoded when a source is read."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for i in range(n):
            (root / folder / f"{i}.png").write_bytes(f"{folder} {i}".encode())
    return root


def read(root: Path, **options: str) -> Examples:
    return read_images(root, options=ReadOptions(**options), min_per_class=2)


@pytest.mark.parametrize("train, test", [
    ("train_images", "test_images"), ("01_train", "02_test"), ("Training Set", "Hold-Out"), ("TrainImgs", "test"),
    ("train_split", "test_split")])
def test_other_usual_names_of_splits_are_honoured(tmp_path: Path, train: Any, test: Any) -> None:
    files(tmp_path, *(f"{split}/{name}" for split in (train, test) for name in ("cat", "dog")))
    examples = read(tmp_path)
    assert examples.classes == ("cat", "dog") and examples.summary.parts == {"train": 6, "validation": 0, "test": 6}


@pytest.mark.parametrize("names", [("train1", "train2"), ("fold0", "fold1", "fold2"), ("siteA", "siteB")])
def test_folders_with_the_same_folders_in_them_are_named_at_the_end(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], names: Any) -> None:
    files(tmp_path, *(f"{outer}/{name}" for outer in names for name in ("cat", "dog")))
    assert read(tmp_path).classes == names
    assert "each contains cat and dog: if these are the classes" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
def test_check_names_such_folders_once(tmp_path: Path) -> None:
    files(tmp_path / "d", *(f"{outer}/{name}" for outer in ("fold0", "fold1") for name in ("cat", "dog")))
    for path in (tmp_path / "d").rglob("*.png"):
        draw(path, (90, 60, 30), 0)
    result = check(str(tmp_path / "d"), backbone="none", cache_dir=str(tmp_path / "cache"))
    assert [finding.kind for finding in result.findings].count("layout") == 1
    for text in (show(result), check_page(result)):
        assert text.count("if these are the classes") == 1


def test_nested_folders_of_their_own_are_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(tmp_path, "cat/lynx", "cat/lion", "dog/fox", "dog/wolf", "cow")
    assert read(tmp_path).classes == ("cat", "cow", "dog")
    assert "WARNING" not in capsys.readouterr().out


def test_links_in_a_circle_are_skipped_with_a_reason(tmp_path: Path) -> None:
    files(tmp_path, "cat", "dog")
    for folder in (tmp_path, tmp_path / "cat"):
        (folder / "a").symlink_to(folder / "b")
        (folder / "b").symlink_to(folder / "a")
    examples = read(tmp_path)
    reasons = {item.origin: item.reason for item in examples.skipped}
    assert len(examples) == 6 and set(reasons) == {"a", "b", "cat/a", "cat/b"}
    assert reasons["a"] == "not inside a class folder" and "symbolic links" in reasons["cat/a"]


def test_hidden_files_and_folders_are_said(tmp_path: Path) -> None:
    files(tmp_path, "cat", "dog", "dog/.cache", ".git")
    (tmp_path / "cat" / "._0.png").write_bytes(b"x")
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    examples = read(tmp_path)
    assert len(examples) == 6 and "ignored by name: ._*, .cache, .git" in examples.notes


@pytest.mark.parametrize("names", [("train.csv", "test.csv"), ("train.jsonl", "test.jsonl", "README.md")])
def test_a_folder_of_tables_is_named(tmp_path: Path, names: Any) -> None:
    for name in names:
        (tmp_path / name).write_text("text,label\na b,c\n")
    with pytest.raises(DataError, match=r"contains tables \(test\.\w+ and train\.\w+\), no class folders"):
        read(tmp_path)


def parquet(path: Path, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({
        "text": [f"{path.name} number {i}" for i in range(n)], "label": [("a", "b")[i % 2] for i in range(n)]}), path)


@pytest.mark.parametrize("other", ["unsupervised.parquet", "partial-train/0000.parquet"])
def test_parquet_files_of_splits_beside_others_are_refused(tmp_path: Path, other: Any) -> None:
    for name in ("train.parquet", "test.parquet", other):
        parquet(tmp_path / name, 20)
    with pytest.raises(DataError, match=f"named after splits, beside {other}"):
        read_texts(tmp_path, min_per_class=2)
    (tmp_path / other).unlink()
    (tmp_path / "dataset_info.json").write_text(json.dumps({}))
    assert read_texts(tmp_path, min_per_class=2).summary.parts == {"train": 20, "validation": 0, "test": 20}


@pytest.mark.parametrize("name, remedy", [
    ("a.xls", "save it as .xlsx or .csv"), ("a.arrow", "save it as .parquet"), ("a.7z", "unpack it"),
    ("a.txt", "name it .csv"), ("a", "name it .csv"), ("a.xml", "convert it")])
def test_other_endings_are_told_what_to_do(tmp_path: Path, name: Any, remedy: Any) -> None:
    (tmp_path / name).write_text("text,label\n")
    with pytest.raises(DataError, match=remedy):
        read_texts(tmp_path / name)


def test_the_folder_of_unlabelled_reviews_is_remarked_on(tmp_path: Path) -> None:
    for name in ("neg", "pos", "unsup"):
        files(tmp_path, f"train/{name}")
    assert any("`no_label=unsup` skips such rows" in remark for remark in read(tmp_path).summary.remarks)
    assert read(tmp_path, no_label="unsup").classes == ("neg", "pos")


def test_images_with_different_labels_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(tmp_path, "cat", "dog")
    (tmp_path / "dog" / "0.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    assert "1 image occurs with different labels: see kerastl check" in read(tmp_path).notes


@pytest.mark.parametrize("path, cause", [
    ("s3://bucket/0.png", "it is an address"), ("file:///x/0.png", "it is an address"),
    ("~/0.png", "~ is not replaced"), ("C:\\x\\0.png", "Windows path with a drive")])
def test_paths_that_are_not_files_of_this_machine_are_named(tmp_path: Path, path: Any, cause: Any) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\n{path},a\n")
    with pytest.raises(DataError, match=cause):
        read(tmp_path / "t.csv")


def test_images_in_a_table_of_texts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = [{"bytes": b"\x89PNG\r\n\x1a\n" + bytes([i]), "path": None} for i in range(12)]
    columns = {"text": [f"text {i}" for i in range(12)], "image": image, "label": ["a", "b"] * 6}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    read_texts(tmp_path / "t.parquet", min_per_class=2, cache_dir=tmp_path)
    assert "`path_column=image` reads them instead of the texts" in capsys.readouterr().out.splitlines()[-1]
