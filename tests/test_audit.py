"""Questions about data from Python: plain arguments in, typed results out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, draw, draw_folder
from tiny import made_examples

from kerastl.audit.check import check
from kerastl.audit.duplicates import conflicting_labels, leaks, same_content
from kerastl.audit.label_errors import find_label_errors
from kerastl.data.images import read_images


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


def test_a_label_error_is_found_with_the_class_that_it_belongs_to(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 14)
    draw(root / "green" / "odd.png", COLOURS["red"], 999)
    errors = find_label_errors(read_images(str(root)), backbone="tiny_net", weights="none",
                               cache_dir=tmp_path)
    assert errors[0].origin == "green/odd.png" and (errors[0].label, errors[0].predicted) == ("green", "red")
    assert 1 / 3 < errors[0].probability <= 1 and len(errors) < 5


def test_several_labels_per_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not for several labels per row"):
        find_label_errors(made_examples(np.eye(3, dtype=np.int64)[np.arange(30) % 3]), cache_dir=tmp_path)


def test_check_is_a_function_with_a_typed_result(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "d", 12)
    shutil.copy(root / "red/0.png", root / "blue/copy.png")
    (root / "red/broken.png").write_bytes(b"no image")
    result = check(str(root), backbone="none", cache_dir=str(tmp_path / "cache"))
    assert (result.rows, result.modality, result.counts) == (38, "image", {"blue": 13, "green": 12, "red": 12})
    assert [item.origin for item in result.skipped] == ["red/broken.png"]
    assert result.conflicts == (("blue/copy.png (blue)", "red/0.png (red)"),)
    assert result.label_errors == () and result.label_errors_reason == "not requested"
    assert result.small_classes == {} and result.imbalance == pytest.approx(13 / 12)
    assert result.to_dict()["odd_labels_word"] == "not requested"
