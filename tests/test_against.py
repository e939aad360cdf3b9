"""Comparing versions: which predictions count for which row, by hand; the run, the gate and the verb, of a tiny one."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COLOURS, draw_folder
from numpy.typing import NDArray
from tiny import content_id, held_out, made_examples

import kerastl as tl
from kerastl.compact import Codes, Hashes
from kerastl.data.examples import Examples
from kerastl.errors import ModelError
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.files import file_sha256
from kerastl.serving.compare_versions import compare_rows
from kerastl.serving.row_predictions import (
    BEYOND,
    HELD_OUT,
    SEPARATE,
    SHIPPED,
    TRAINED_ON,
    UNREADABLE,
    RowPredictions,
    new_or_seen,
    predictions_of_version,
)
from kerastl.tasks import task_named
from kerastl.versions.held_out import FILE, HeldOutPredictions, held_out_predictions_of, read_held_out
from kerastl.versions.sections import SeparateBackbone
from kerastl.versions.split_file import Parts

Shell = Callable[..., tuple[int, str, str]]
SINGLE, SEVERAL = task_named("single_label"), task_named("multi_label")


def side(name: str, classes: tuple[str, ...], predicted: Any, how: Any = None, task: Any = SINGLE) -> RowPredictions:
    """What a version predicts, given by hand."""
    n = len(predicted)
    return RowPredictions(name, name, task, classes, np.full(n, HELD_OUT, np.int8) if how is None else
                          np.array(how, np.int8), np.array(predicted, np.int64), np.linspace(0.5, 0.9, n))


def all_rows(examples: Examples) -> NDArray[np.intp]:
    return np.arange(len(examples))


# Which rows count, and what is correct


def test_only_rows_that_both_predict_count_and_a_class_that_one_lacks_is_incorrect_for_it() -> None:
    examples = made_examples(np.array([0, 1, 2, 0, 1, 3]), classes=("a", "b", "c", "d"))
    old = side("version 1", ("b", "a"), [1, 0, 0, 0, 1, 0], [0, 0, 1, 0, TRAINED_ON, 1])  # predicts a b b b . b
    new = side("version 2", ("a", "b", "c"), [0, 1, 2, 0, 1, 0])
    found = compare_rows(examples, all_rows(examples), old, new)
    assert found.old is not None and found.new is not None
    # row 4 was trained on by the old one, and row 5 is of a class that neither has
    assert found.n == 4 and {part.reason: part.rows for part in found.not_compared} == {
        "neither version has their class": 1,
        "version 1 was trained on them and keeps no predictions by models that were not": 1}
    assert (found.old.accuracy, found.new.accuracy, found.gain) == (0.5, 1.0, 0.5)
    assert (found.old.held_out, found.old.shipped, found.old.unknown, found.old.unknown_classes) == (3, 1, 1, ("c",))
    assert (found.fixed, found.broken, found.better) == (2, 0, True)
    assert "version 1: 0.500, version 2: 1.000, +50.0 points" in found.figures
    assert "on the same 4 images, 1 of them new to version 1" in found.figures
    assert any("Incorrect for version 1, which does not have their class (c): 1 image." == line for line in found.lines)


def test_a_row_with_several_labels_is_correct_if_all_are_of_those_that_a_version_may_predict() -> None:
    examples = made_examples(np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]]), classes=("a", "b", "neither"))
    old = side("old", ("a", "b", "gone"), [[1, 0, 0], [0, 1, 1], [1, 0, 0]], task=SEVERAL)
    new = side("new", ("b", "a"), [[0, 1], [1, 0], [1, 1]], task=SEVERAL)
    found = compare_rows(examples, all_rows(examples), old, new)
    assert found.old is not None and found.new is not None  # `gone` is no label of the data, so it is incorrect
    assert found.old.accuracy == pytest.approx(1 / 3) and found.new.accuracy == 1.0


def test_new_mistakes_are_listed_the_most_confident_first() -> None:
    examples = made_examples(np.zeros(6, np.int64), classes=("a", "b"))
    found = compare_rows(examples, all_rows(examples), side("old", ("a", "b"), [0] * 6),
                         side("new", ("a", "b"), [0, 0, 0, 1, 1, 0]))
    assert [row.origin for row in found.changed] == ["row 4", "row 3"] and not found.better
    assert (found.changed[0].before, found.changed[0].after, found.changed[0].actual) == ("a", "b", "a")
    assert found.changed[0].after_probability == pytest.approx(0.82) and found.broken == 2


def test_copies_of_a_row_do_not_narrow_the_interval() -> None:
    copy_of = np.arange(40) // 4
    targets, predicted = np.zeros(40, np.int64), (copy_of % 3 == 0).astype(int)
    groups = [f"group {number}" for number in copy_of]
    widths = []
    for names in (groups, None):
        examples = made_examples(targets, classes=("a", "b"), groups=names)
        found = compare_rows(examples, all_rows(examples), side("old", ("a", "b"), predicted),
                             side("new", ("a", "b"), predicted * (copy_of < 5)))
        widths.append(found.gain_ci95[1] - found.gain_ci95[0])
    assert widths[0] > 1.5 * widths[1]


def test_a_row_is_new_to_a_version_unless_it_or_a_row_of_its_group_was_trained_on() -> None:
    examples = made_examples(np.zeros(6, np.int64), groups=["a", "a", "b", "c", "c", "d"])
    ids = examples.ids
    parts = Parts(Hashes.of([ids[0], ids[2], ids[3]]), Codes.of(["fold 3", "test", "validation"]))
    how = new_or_seen(examples, all_rows(examples), parts)
    near = how[1]
    assert how.tolist() == [TRAINED_ON, near, SHIPPED, TRAINED_ON, near, SHIPPED] and near not in (TRAINED_ON, SHIPPED)


def test_nothing_in_common_is_said_with_the_reasons() -> None:
    examples = made_examples(np.zeros(3, np.int64), classes=("a", "b"))
    found = compare_rows(examples, all_rows(examples), side("version 1", ("a", "b"), [0] * 3, [TRAINED_ON] * 3),
                         side("version 2", ("a", "b"), [0] * 3))
    assert not found.better and found.n == 0 and "3 images: version 1 was trained on them" in found.reason
    assert found.sentence.startswith("Not compared with the previous version: no row can be compared")


# The file


@pytest.mark.parametrize("several", [False, True])
def test_held_out_predictions_are_read_as_they_were_written_each_content_once(several: bool, tmp_path: Path) -> None:
    targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]]) if several else np.array([0, 1, 1, 0])
    examples = made_examples(targets, classes=("a", "b"), split=held_out(4))
    examples = replace(examples, ids=(*examples.ids[:3], examples.ids[0]))
    p = np.array([[0.9, 0.2], [0.3, 0.7], [0.6, 0.6], [0.9, 0.2]], np.float32)
    kept = held_out_predictions_of(evaluate_probabilities(examples, p).held_out)
    (tmp_path / FILE).write_bytes(kept.to_bytes())
    again = read_held_out(tmp_path, 2)
    assert again is not None and len(again) == 3 and set(again.ids) == set(examples.ids)
    place = again.places[content_id(1)]
    assert again.predicted[place].tolist() == ([0, 1] if several else 1)
    if several:
        assert again.probabilities[place] == pytest.approx([0.3, 0.7], abs=1e-5)
    with pytest.raises(ModelError, match="damaged"):
        read_held_out(tmp_path, 3)
    whole = kept.to_bytes()
    for content in (b"", b"PK\x03\x04", whole[:-30], whole[40:], whole[:150] + bytes(40) + whole[190:]):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            read_held_out(tmp_path, 2)


def test_very_many_probabilities_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.versions.held_out.MOST", 5)
    examples = made_examples(np.array([0, 1, 1]), classes=("a", "b"))
    kept = held_out_predictions_of(evaluate_probabilities(examples, np.eye(2, dtype=np.float32)[[0, 1, 0]]).held_out)
    assert HeldOutPredictions.from_bytes(kept.to_bytes()).probabilities.shape == (3, 0) and sum(kept.predicted) == 1


# A tiny model


@pytest.fixture
def models(trained: Path, tmp_path: Path) -> Path:
    """A folder of models with a copy of the trained version."""
    shutil.copytree(trained, tmp_path / "models/tiny/1")
    return tmp_path / "models"


def run_words(models: Path, data: Path, *more: str) -> list[str]:
    return ["run", "tiny_images", "--data", str(data), "--name", "tiny", "--out", str(models), "--weights", "none",
            "--tflite", "none", *more]


def rewrite(version: Path, content: bytes | None) -> None:
    """A version as if it had been written with other held-out predictions, or by an earlier kerastl without any."""
    manifest = json.loads((version / "manifest.json").read_text())
    if content is None:
        (version / FILE).unlink()
        del manifest["files"][FILE]
    else:
        (version / FILE).write_bytes(content)
        manifest["files"][FILE] = file_sha256(version / FILE)
    (version / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow
def test_a_version_keeps_the_predictions_that_its_figures_are_of(trained: Path) -> None:
    record = tl.RunRecord.read(trained)
    kept = read_held_out(trained, len(record.classes))
    assert kept is not None and len(kept) == record.test.n == 42 and record.previous is None
    truth = {line.split(",")[0]: line.split(",")[2].split("/")[0] for line in
             (trained / "split.csv").read_text().splitlines()[1:]}
    right = [record.classes[number] == truth[content] for content, number in zip(kept.ids, kept.predicted, strict=True)]
    assert np.mean(right) == pytest.approx(record.test.accuracy)
    assert json.loads((trained / "manifest.json").read_text())["files"][FILE] == file_sha256(trained / FILE)


@pytest.mark.slow
def test_new_rows_are_predicted_by_the_exported_model_up_to_a_limit(trained: Path) -> None:
    record = tl.RunRecord.read(trained)
    kept = read_held_out(trained, 3)
    assert kept is not None
    examples = made_examples(np.zeros(6, np.int64), classes=record.classes)
    examples = replace(examples, ids=(kept.ids[0], *examples.ids[1:]), groups=(kept.ids[0], *examples.ids[1:]))
    asked: list[int] = []

    def shipped(rows: Sequence[int]) -> list[Any]:
        asked.extend(rows)
        return ["cannot be decoded", *({"probabilities": np.array([0.1, 0.7, 0.2], np.float32)} for _ in rows[1:])]

    found = predictions_of_version("version 1", trained, record, examples, all_rows(examples), shipped, most=3)
    lowest = sorted(range(1, 6), key=examples.ids.__getitem__)
    assert asked == sorted(lowest[:3]) and found.how[0] == HELD_OUT and found.predicted[0] == kept.predicted[0]
    assert [found.how[row] for row in asked] == [UNREADABLE, SHIPPED, SHIPPED]
    assert [found.predicted[row] for row in asked[1:]] == [1, 1] and found.label(asked[1]) == record.classes[1]
    assert found.confidence[asked[1]] == pytest.approx(0.7) and {found.how[row] for row in lowest[3:]} == {BEYOND}
    assert list(found.reasons(np.ones(6, bool)).values()) == [1, 2]
    separate = replace(record, large=SeparateBackbone((6,), "int8", ""))
    found = predictions_of_version("version 1", trained, separate, examples, all_rows(examples), shipped,
                                   with_backbone=False)
    assert found.how.tolist() == [HELD_OUT] + [SEPARATE] * 5 and len(asked) == 3


def previous_of(models: Path, number: int) -> Mapping[str, Any]:
    section: Mapping[str, Any] = json.loads((models / f"tiny/{number}/run.json").read_text())["previous"]
    return section


@pytest.mark.slow
def test_a_run_is_compared_with_the_version_before_and_published_only_if_it_is_better(
        models: Path, images: Path, tmp_path: Path, shell: Shell) -> None:
    code, out, err = shell(*run_words(models, images, "--if-better"))  # the same run again
    assert code == 1 and "nothing was written: version 1:" in err and "+0.0 points" in err and "--if-better" in err
    assert [path.name for path in (models / "tiny").iterdir() if path.name.isdecimal()] == ["1"]

    more = shutil.copytree(images, tmp_path / "more")
    draw_folder(more, 2, {"red": COLOURS["red"]}, seed=777)  # in place of two of the images
    code, out, _ = shell(*run_words(models, more))
    found = previous_of(models, 2)
    assert code == 0 and (found["n"], found["old"]["held_out"], found["old"]["shipped"]) == (42, 40, 2)
    assert found["new"]["accuracy"] == pytest.approx(tl.RunRecord.read(models / "tiny/2").test.accuracy)
    words = " ".join(out.split())
    assert "on the same 42 images, 2 of them new to version 1" in words
    for page in ("report.html", "MODEL_CARD.md"):
        assert "ersion 1: " in (models / "tiny/2" / page).read_text()


@pytest.mark.slow
def test_a_better_version_is_published_and_says_that_it_was_chosen(models: Path, images: Path, shell: Shell) -> None:
    kept = read_held_out(models / "tiny/1", 3)
    assert kept is not None
    worse = np.where(np.arange(42) % 2, (kept.predicted + 1) % 3, kept.predicted)  # as if it had been half as good
    rewrite(models / "tiny/1", HeldOutPredictions(kept.ids, worse, kept.probabilities).to_bytes())
    code, out, _ = shell(*run_words(models, images, "--if-better", "--near-duplicates", "off"))
    found, words = previous_of(models, 2), " ".join(out.split())
    assert code == 0 and found["gain"] > 0.2 and found["verdict"] == "helped" and found["broken"] == 0
    assert "is significantly better. Near-duplicates among these rows were not kept apart" in words
    assert "It was published because it is better on these rows" in words
    code, out, _ = shell("models", models)
    assert code == 0 and f"{100 * found['gain']:+.1f} (" in out and "over version 1" in out


@pytest.mark.slow
def test_what_cannot_be_compared_ends_no_run_but_is_not_published_as_better(models: Path, images: Path, shell: Shell
                                                                            ) -> None:
    rewrite(models / "tiny/1", None)
    code, _, err = shell(*run_words(models, images, "--if-better"))
    assert code == 1 and "not known whether the model is better" in err and "42 images: version 1 was trained on" in err
    code, out, _ = shell(*run_words(models, images))
    assert code == 0 and "Not compared with the previous version" in out and previous_of(models, 2)["n"] == 0


@pytest.mark.slow
def test_a_first_version_is_published_and_a_damaged_one_is_found_before_the_work(
        models: Path, images: Path, tmp_path: Path, shell: Shell) -> None:
    assert tl.target(str(tmp_path / "other"), "new", if_better=True).if_better
    with pytest.raises(tl.OptionError, match="if_better"):
        tl.target(str(tmp_path / "other"), "new", if_better="yes")  # type: ignore[arg-type]
    (models / "tiny/1" / FILE).write_bytes(b"no file")
    code, _, err = shell(*run_words(models, images, "--if-better"))
    assert code == 2 and "damaged" in err and "verify" in err


@pytest.mark.slow
def test_evaluate_compares_with_another_version(models: Path, images: Path, tmp_path: Path, shell: Shell,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(models / "tiny/1", models / "tiny/3")
    data = draw_folder(tmp_path / "new", 3, seed=50)
    shutil.copy(images / "red/0.png", data / "red/known.png")
    draw_folder(data, 2, {"purple": (150, 40, 160)}, seed=90)
    page = tmp_path / "page.html"
    code, out, _ = shell("evaluate", models / "tiny", data, "--against", "1", "--out", page, "--json")
    found = json.loads(out)["against"]
    assert "Compared with version 1" in page.read_text()
    assert code == 0 and found["n"] == 10 and found["gain"] == 0 and found["gain_ci95"][1] > 0
    assert [(found[name]["held_out"], found[name]["shipped"]) for name in ("old", "new")] == [(1, 9)] * 2
    assert found["not_compared"] == [{"reason": "neither version has their class", "rows": 2}]
    monkeypatch.chdir(models.parent)
    code, out, _ = shell("evaluate", "models/tiny", data, "--against", shutil.copytree(
        models / "tiny/1", models / "other/1").relative_to(models.parent))
    assert code == 0  # a path keeps its case
    assert "versions models/other/1: 1.000, models/tiny/3: 1.000" in " ".join(out.split())
    code, out, _ = shell("evaluate", models / "tiny", data, "--against", models / "tiny/1")
    assert code == 0 and "10 images, 9 of them new to version 1" in " ".join(out.split())
    assert tl.compare_versions(str(models / "tiny"), 1, data).n == 10
    other = tl.load(str(models / "tiny/1"))
    other.record = replace(other.record, modality_name="text")
    with pytest.raises(tl.OptionError, match="which classifies texts"):
        tl.compare_versions(str(models / "tiny"), other, data)


@pytest.mark.slow
def test_the_page_shows_rows_that_only_the_other_version_predicts_correctly(models: Path, images: Path, tmp_path: Path,
                                                                            shell: Shell) -> None:
    shutil.copytree(models / "tiny/1", models / "tiny/2")
    kept = read_held_out(models / "tiny/2", 3)
    assert kept is not None
    worse = np.where(np.arange(42) < 3, (kept.predicted + 1) % 3, kept.predicted)
    rewrite(models / "tiny/2", HeldOutPredictions(kept.ids, worse, kept.probabilities).to_bytes())
    page = tmp_path / "page.html"
    code, out, _ = shell("evaluate", models / "tiny", images, "--against", "1", "--out", page, "--json")
    found, written = json.loads(out)["against"], page.read_text()
    assert code == 0 and found["broken"] == len(found["changed"]) == 3
    assert all(row["origin"] in written for row in found["changed"]) and written.count("data:image/") == 3


@pytest.mark.slow
@pytest.mark.parametrize(("against", "words"), [("7", "has no version 7"), ("3", "another version"),
                                                ("", "--against is empty"),
                                                ("none", "no such model: none")])
def test_a_version_that_is_not_there_or_the_same_is_one_message(against: str, words: str, models: Path, images: Path,
                                                                shell: Shell) -> None:
    (models / "tiny/1").rename(models / "tiny/3")
    code, out, err = shell("evaluate", models / "tiny", images, "--against", against)
    assert code == 2 and words in err and err.count("error:") == 1 and not out


@pytest.mark.slow
def test_rows_that_an_old_version_was_trained_on_are_not_compared(models: Path, images: Path, shell: Shell) -> None:
    shutil.copytree(models / "tiny/1", models / "tiny/2")
    rewrite(models / "tiny/1", None)
    code, _, err = shell("evaluate", models / "tiny", images, "--against", "1")
    assert code == 2 and "no row can be compared with version 1 (42 images: version 1 was trained on them" in err


@pytest.mark.slow
def test_several_labels_a_hold_out_and_an_export_without_training(models: Path, tmp_path: Path, shell: Shell) -> None:
    """The version before was cross-validated, this one has test rows; both have several labels per row."""
    labels = {"red": "warm|red", "green": "green", "blue": "cold|blue"}
    table = tmp_path / "labels.csv"
    paths = sorted(draw_folder(tmp_path / "many", 40).rglob("*.png"))
    table.write_text("path,label\n" + "".join(f"{path},{labels[path.parent.name]}\n" for path in paths))
    assert shell(*run_words(models, table, "--multi-label", "on"))[0] == 0
    section = previous_of(models, 2)  # version 1 has one label per row
    assert section["old"] is None and section["reason"] == "version 1 has one label per row"
    assert shell(*run_words(models, table, "--multi-label", "on", "--split", "holdout"))[0] == 0
    section, record = previous_of(models, 3), tl.RunRecord.read(models / "tiny/3")
    assert section["n"] == record.n_test == section["old"]["held_out"] == section["new"]["held_out"] > 0
    assert section["new"]["accuracy"] == pytest.approx(record.test.accuracy)
    assert shell("export", models / "tiny/3", "--tflite", "none")[0] == 0
    again = tl.RunRecord.read(models / "tiny/4")
    assert again.previous is None and (models / "tiny/4" / FILE).read_bytes() == (models / "tiny/3" / FILE).read_bytes()
    found = tl.compare_versions(models / "tiny/4", 3, table)
    assert found.n == record.n_test and found.gain == 0 and found.not_compared[0].rows == 120 - record.n_test
