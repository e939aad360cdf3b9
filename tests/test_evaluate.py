"""`kerastl evaluate`: where errors concentrate, which classes are missing on either side, and the page."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from tiny import made_examples

import kerastl as tl
from kerastl.errors import KerastlError, OptionError
from kerastl.evaluation.metrics import evaluate_probabilities
from kerastl.report.evaluation_page import evaluation_page
from kerastl.report.sentences import class_scores, share_headings
from kerastl.serving.evaluate_model import EvaluateResult, evaluate_model
from kerastl.serving.mistakes import Confusion, LabelCounts, confusions, label_counts
from kerastl.stats import wilson_interval

Shell = Callable[..., tuple[int, str, str]]


def sure_of(predicted: list[int], classes: int) -> np.ndarray:
    """Probabilities of 0.9 for the predicted class of each row."""
    p = np.full((len(predicted), classes), 0.1 / max(1, classes - 1), np.float32)
    p[np.arange(len(predicted)), predicted] = 0.9
    return p


def test_classes_that_are_taken_for_others_come_by_their_rows() -> None:
    examples = made_examples(np.array([0, 0, 0, 1, 1, 2]), classes=("a", "b", "c"))
    test = evaluate_probabilities(examples, sure_of([1, 1, 0, 0, 1, 2], 3))
    assert confusions(test) == (Confusion("a", "b", 2, 2 / 3), Confusion("b", "a", 1, 0.5))
    assert confusions(evaluate_probabilities(examples, sure_of([0, 0, 0, 1, 1, 2], 3))) == ()


def test_the_errors_of_labels_are_counted_each_on_its_own() -> None:
    predicted, actual = np.array([[1, 0], [1, 1], [0, 0]]), np.array([[1, 1], [0, 1], [0, 1]])
    assert label_counts(["a", "b"], predicted, actual) == (LabelCounts("b", 3, 1, 2, 0), LabelCounts("a", 1, 1, 0, 1))


def test_precision_and_recall_have_intervals_that_count_groups_as_one() -> None:
    truth, predicted = np.array([0, 0, 0, 0, 1, 1]), [0, 0, 0, 1, 1, 0]
    groups = ["x", "x", "y", "z", "u", "v"]
    examples = made_examples(truth, groups=groups, classes=("a", "b"))
    test = evaluate_probabilities(examples, sure_of(predicted, 2))
    told = np.array(predicted) == 0
    assert test.classes[0].recall_ci95 == wilson_interval(told[:4], np.array(groups[:4])).ends
    assert test.classes[0].precision_ci95 == wilson_interval((truth == 0)[told], np.array(groups)[told]).ends
    never = evaluate_probabilities(examples, sure_of([1] * 6, 2)).classes[0]
    assert never.precision_ci95 is None and never.recall_ci95 is not None and class_scores(never)[0] == "-"
    assert class_scores(replace(never, recall_ci95=None)) == ("0.000", "0.000", "0.000")  # an earlier version's
    assert share_headings(test) == ("precision (95% CI)", "recall (95% CI)")


@pytest.mark.parametrize("classes", [2, 61])
def test_a_page_shows_the_matrix_if_it_can_be_read_and_says_how_many_mistakes_are_left(classes: int) -> None:
    truth = np.arange(4 * classes) % classes
    examples = made_examples(truth, classes=[f"<b>{c:02}</b>" for c in range(classes)])
    test = evaluate_probabilities(examples, sure_of(((truth + 1) % classes).tolist(), classes), worst=3)
    items = ("an example " * 99, "b", ("c", "d"))
    result = EvaluateResult("m", 2, test.figures, (), incorrect=4 * classes, items=items, modality="text",
                            unknown_classes={"new": 7}, classes_without_rows=("gone",))
    page = evaluation_page(result)
    assert ("Confusion matrix" in page) == (classes == 2) and ("cannot be read" in page) == (classes > 2)
    assert f"These are 3 of {4 * classes} mistakes" in page and "<b>00" not in page and "&lt;b&gt;00" in page
    assert "2 of these texts were used in training" in page and "new (7 rows)" in page and "gone" in page
    assert "c ⟷ d" in page and page.count("an example") < 50
    assert evaluation_page(replace(result, incorrect=0, items=(), test=replace(test.figures, mistakes=())))


def test_bad_numbers_and_paths_are_refused_before_the_work(tmp_path: Path) -> None:
    for worst in (-1, 1.5):
        with pytest.raises(OptionError, match="`worst`"):
            evaluate_model("no model", "no data", worst=worst)  # type: ignore[arg-type]
    for name in ("p.txt", "none/p.html"):
        with pytest.raises(KerastlError, match="`path` is"):
            tl.write_evaluation_page(None, tmp_path / name)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_names_dropped_classes_and_writes_a_page(trained: Path, images: Path, tmp_path: Path, shell: Shell
                                                             ) -> None:
    data, page = tmp_path / "data", tmp_path / "page.html"
    draw_folder(data, 5, seed=555)
    (data / "blue").rename(data / "cyan")  # the model knows blue, not cyan
    shutil.copy(next((images / "blue").iterdir()), data / "red" / "wrong.png")
    (data / "red" / "broken.png").write_bytes(b"no image")
    code, out, err = shell("evaluate", trained, data, "--out", page, "--worst", "1")
    assert code == 0, err
    assert "not known to the model, whose rows are skipped: cyan (5 rows)" in out
    assert "without rows in these data: blue" in out and "1 of 11 rows are predicted incorrectly" in out
    assert "red/wrong.png" in out and f"written    {page}" in out
    text = page.read_text()
    assert text.count("data:image/jpeg") == 1 and "cyan" in text and "red/broken.png" in text
    code, out, err = shell("evaluate", trained, data, "--json")
    found = json.loads(out)
    assert found["unknown_classes"] == {"cyan": 5} and found["classes_without_rows"] == ["blue"]
    assert found["confusions"] == [{"actual": "red", "predicted": "blue", "rows": 1, "share": 1 / 6}]
    assert found["incorrect"] == 1 and found["labels"] == [] and found["trained_on"] == 1
    assert [item["origin"] for item in found["test"]["mistakes"]] == ["red/wrong.png"]
    assert found["test"]["classes"][2]["recall_ci95"][0] < 5 / 6
    (tmp_path / "folder.html").mkdir()
    for name, words in (("page.pdf", "ends in .html"), ("folder.html", "which is a folder")):  # before the work
        code, _, err = shell("evaluate", trained, data, "--out", tmp_path / name)
        assert code == 2 and "--out" in err and words in err and "images, " not in err


def test_the_report_of_a_run_shows_the_same_parts(trained: Path) -> None:
    report = (trained / "report.html").read_text()
    for heading in ("<th>precision (95% CI)", "<th>recall (95% CI)", "Confusion matrix", "held-out images</th>",
                    "Most confident mistakes", "How the data were read", "Skipped", ".confusion {"):
        assert report.count(heading) == 1, heading


@pytest.mark.slow
def test_several_labels_are_counted_and_unknown_ones_named(trained: Path, images: Path, tmp_path: Path) -> None:
    model = tl.load(trained)
    model.record = replace(model.record, task_name="multi_label", thresholds=(0.5, 0.5, 0.5))
    table = tmp_path / "t.csv"
    names = {path: "red|sad" if path.parent.name == "red" else path.parent.name for path in images.rglob("*.png")}
    table.write_text("path,label\n" + "".join(f"{path},{name}\n" for path, name in names.items()))
    result = evaluate_model(model, table)
    assert result.unknown_classes == {"sad": 14} and result.confusions == () and result.incorrect == 0
    assert [(label.rows, label.correct, label.missed, label.false_alarms) for label in result.labels] == [
        (14, 14, 0, 0)] * 3
    tl.write_evaluation_page(result, tmp_path / "p.html")
    assert "false alarms" in (tmp_path / "p.html").read_text()
