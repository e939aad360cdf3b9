"""Distilling: a student aims at its teacher's probabilities, on the teacher's own split, and both are compared."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.data.examples import TRAIN
from kerastl.errors import OptionError
from kerastl.studies import distillation as teaching
from kerastl.training.options import TrainingOptions
from kerastl.training.targets import smoothed_targets

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 40 images."""
    return draw_folder(tmp_path_factory.mktemp("d") / "images", 40)


def taught(shell: Shell, out: Path, folder: Path, *more: Any) -> Path:
    code, _, err = shell("run", "tiny_images", "--data", folder, "--name", "teacher", "--out", out, "--weights", "none",
                         "--tflite", "fp32", "--json", *more)
    assert code == 0, err
    return out / "teacher"


@pytest.mark.slow
def test_a_student_learns_on_the_teachers_split_and_both_are_compared(shell: Shell, folder: Path, tmp_path: Path
                                                                     ) -> None:
    model = taught(shell, tmp_path, folder, "--split", "holdout")
    code, out, err = shell("run", "distil_to_tflite", "--teacher", model, "--name", "student", "--out", tmp_path,
                           "--backbone", "tiny_net", "--tap", "block1", "--weights", "none", "--epochs", "1",
                           "--tflite", "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    sides = {(one["who"], one["form"]): one for one in run["distilled"]["sides"]}
    assert set(sides) == {("teacher", "keras"), ("teacher", "fp32"), ("student", "keras"), ("student", "fp32"),
                          ("student", "fp16")}
    assert sides["student", "fp32"]["bytes"] < sides["teacher", "fp32"]["bytes"]
    assert sides["student", "keras"]["bytes"] == 4 * (3 * 9 * 16 + 16 + 4 * 16 + 16 * 3 + 3)  # to block1, and its head
    assert sides["student", "keras"]["accuracy"] == run["test"]["accuracy"]
    assert {(model / "1/split.csv").read_text()} == {(tmp_path / "student/1/split.csv").read_text()}
    assert str(model / "1") in (tmp_path / "student/1/report.html").read_text()
    code, _, err = shell("verify", tmp_path / "student")  # its data are found again, where the teacher had them
    assert code == 0, err


@pytest.mark.slow
def test_what_is_aimed_at_is_half_the_teachers_calibrated_answer(shell: Shell, folder: Path, tmp_path: Path) -> None:
    teacher = tl.load_teacher(str(taught(shell, tmp_path, folder, "--split", "holdout")))
    examples = tl.lesson(teacher)
    features = tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=tmp_path)
    found = tl.teach(teacher, features).examples
    rows = found.split.rows(TRAIN)
    aims, truth = smoothed_targets(found, rows, 0.0), found.one_hot(rows)
    given = tl.load(teacher.folder).probabilities([Path(found.items[row]).read_bytes() for row in rows])
    assert np.abs(2 * aims - truth - given).max() < 1e-4
    others = np.setdiff1d(np.arange(len(found)), rows)
    assert np.array_equal(found.soft_targets[others], found.one_hot(others))  # validation and test rows
    again = teaching._logits(teacher, found, rows, tmp_path)  # from the cache: the model is not asked
    broken = teaching.Teacher(teacher.folder, teacher.record, None, teacher.input, teacher.weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "Predictor", lambda model: None)
        assert np.array_equal(teaching._logits(broken, found, rows, tmp_path), again)


@pytest.mark.slow
def test_both_kinds_of_head_follow_the_aims(shell: Shell, folder: Path, tmp_path: Path) -> None:
    teacher = tl.load_teacher(str(taught(shell, tmp_path, folder, "--split", "holdout")))
    features = tl.compute_features(tl.lesson(teacher), tiny_backbone(), plain_runtime(), cache_dir=tmp_path)
    labels = features.examples.targets
    turned = np.eye(3, dtype=np.float32)[(labels + 1) % 3]  # a teacher that is always wrong in one way
    misled = replace(features, examples=replace(features.examples, soft_targets=turned))
    for head in ("linear", "mlp"):
        judged = tl.fit(misled, head, options=TrainingOptions(30)).held_out
        assert (judged.logits.argmax(axis=1) == (labels[judged.rows] + 1) % 3).mean() > 0.6


@pytest.mark.slow
def test_a_teacher_that_saw_the_rows_that_judge_is_refused(shell: Shell, folder: Path, tmp_path: Path) -> None:
    model = taught(shell, tmp_path, folder)
    with pytest.raises(OptionError, match="fitted on every row[\\s\\S]*train it with `split=holdout`"):
        tl.load_teacher(str(model))
    code, _, err = shell("run", "distil_to_tflite", "--teacher", model, "--name", "student", "--out", tmp_path)
    assert code == 2 and "--split holdout" in err and not (tmp_path / "student").exists()
