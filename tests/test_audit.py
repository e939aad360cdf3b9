"""Questions about data from Python: plain arguments in, typed results out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, draw, draw_folder
from tiny import made_examples, plain_runtime

from kerastl.audit.check import check
from kerastl.audit.duplicates import conflicting_labels, leaks, same_content
from kerastl.audit.label_errors import LabelErrors, find_label_errors
from kerastl.data.images import read_images
from kerastl.data.options import ReadOptions
from kerastl.errors import DataError


def test_duplicates_conflicts_and_leaks_are_different_things() -> None:
    examples = made_examples(np.array([0, 0, 1, 1, 0]))
    a, b, c = examples.ids[:3]
    examples = replace(examples, ids=(a, a, a, b, c), groups=(a, a, a, b, b),
                       source_split=("train", "train", "test", "test", ""))
    assert same_content(examples) == [[0, 1, 2]]
    assert conflicting_labels(examples) == [[0, 1, 2]]
    assert leaks(examples) == [[0, 1, 2], [3, 4]]
    assert conflicting_labels(replace(examples, targets=np.zeros(5, np.int64))) == []
    assert leaks(replace(examples, source_split=("train", "validation", "", "test", "test"))) == []


@pytest.mark.slow
def test_a_label_error_is_found_with_the_class_that_it_belongs_to(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 14)
    draw(root / "green" / "odd.png", COLOURS["red"], 999)
    errors = find_label_errors(read_images(str(root)), backbone="tiny_net", weights="none",
                               cache_dir=tmp_path)
    assert errors[0].origin == "green/odd.png" and (errors[0].label, errors[0].predicted) == ("green", "red")
    assert 1 / 3 < errors[0].probability <= 1 and len(errors) < 5


@pytest.mark.slow
def test_label_errors_are_of_the_rows_that_were_read_and_decoded(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 14)
    draw(root / "a few" / "0.png", COLOURS["red"], 5)  # a class too small to be trained on, before all others
    (root / "blue" / "000.png").write_bytes(b"no image")
    draw(root / "green" / "odd.png", COLOURS["red"], 999)
    errors = find_label_errors(read_images(str(root), min_per_class=0), backbone="tiny_net", weights="none",
                               runtime=plain_runtime(), cache_dir=tmp_path)
    found = {error.origin: (error.label, error.predicted) for error in errors}
    assert found["green/odd.png"] == ("green", "red")
    assert all(error.label == error.origin.split("/")[0] and error.probability > 1 / 3 for error in errors)
    assert errors.not_searched == {"a few": 1} and errors.rows == 43  # said, not silently ignored


def test_several_labels_per_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has several labels per row"):
        find_label_errors(made_examples(np.eye(3, dtype=np.int64)[np.arange(30) % 3]), cache_dir=tmp_path)


@pytest.mark.slow
def test_check_is_a_function_with_a_typed_result(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 12)
    shutil.copy(root / "red/0.png", root / "blue/copy.png")
    (root / "red/broken.png").write_bytes(b"no image")
    result = check(str(root), backbone="none", cache_dir=str(tmp_path / "cache"))
    assert (result.rows, result.modality, result.counts) == (38, "image", {"blue": 13, "green": 12, "red": 12})
    assert [item.origin for item in result.skipped] == ["red/broken.png"]
    assert result.conflicts == (("blue/copy.png (blue)", "red/0.png (red)"),)
    assert not result.label_errors and result.label_errors_reason == "not requested"
    assert result.small_classes == {} and result.imbalance == pytest.approx(13 / 12)
    assert result.to_dict()["odd_labels_word"] == "not requested"
    assert LabelErrors.from_dict(result.to_dict()["label_errors"]) == result.label_errors


def test_what_cannot_be_searched_for_label_errors_says_why(tmp_path: Path) -> None:
    few = draw_folder(tmp_path / "few", 3)
    shutil.copy(few / "red/0.png", few / "red/twin.png")
    result = check(str(few), backbone="tiny_net", weights="none", cache_dir=str(tmp_path / "cache"))
    assert not result.label_errors and result.label_errors_reason.startswith("not checked: ")
    assert result.duplicates == (("red/0.png", "red/twin.png"),) and result.conflicts == ()
    assert result.small_classes == {"blue": 3, "green": 3, "red": 4}
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"few/{name}/{i}.png,{name}|all\n" for name in COLOURS for i in range(3)))
    result = check(str(table), backbone="tiny_net", weights="none", cache_dir=str(tmp_path / "cache"),
                   options=ReadOptions(multi_label="on"))
    assert result.label_errors_reason == "not checked for several labels per row" and result.counts["all"] == 9
    for part, seed in (("train", 0), ("test", 50_000)):
        draw_folder(tmp_path / "parts" / part, 3, seed=seed)
    shutil.copy(tmp_path / "parts/train/red/0.png", tmp_path / "parts/test/red/again.png")
    result = check(str(tmp_path / "parts"), backbone="none", cache_dir=str(tmp_path / "cache"))
    assert result.leaks == (("test/red/again.png (test)", "train/red/0.png (train)"),)
    ten = check(str(draw_folder(tmp_path / "ten", 10)), backbone="none", cache_dir=str(tmp_path / "cache"))
    assert ten.small_classes == {} and ten.imbalance == 1
