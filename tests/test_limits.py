"""The model card says in plain words what a model cannot do, from what its run measured."""

import json
from dataclasses import replace
from pathlib import Path

from kerastl.data.near_duplicates.record import NearDuplicates
from kerastl.evaluation.baseline import Baseline
from kerastl.evaluation.label_errors import LabelErrors
from kerastl.evaluation.result import ClassResult
from kerastl.report.limits import limits
from kerastl.report.model_card import model_card
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import SkippedItem

GOLDEN = Path(__file__).parent / "golden"


def record_of(name: str) -> RunRecord:
    return RunRecord.from_dict(json.loads((GOLDEN / f"run-0.1-{name}.json").read_text()))


def result(name: str, recall: float, support: int) -> ClassResult:
    return ClassResult(name, 0.9, recall, 0.9, support)


def text(record: RunRecord) -> str:
    return "\n".join(limits(record))


def test_confused_and_small_classes_are_named_with_their_figures() -> None:
    record = record_of("image")
    test = replace(record.test, classes=(result("cat", 0.75, 100), result("dog", 1.0, 20), result("cow", 0.95, 60)),
                   confusion=((75, 24, 1), (0, 20, 0), (3, 0, 57)))
    said = text(replace(record, test=test))
    assert "It misses 25 of 100 held-out images of the class cat (25%), most often taking them for dog (24)." in said
    assert "the class dog" not in said and "the class cow" not in said  # nothing, or little, is missed
    assert "imprecise: dog (20). The share of dog that it finds is 1.00 in the evaluation, and may be anywhere from " \
        "about 0.84 to 1.00." in said
    several = text(replace(record, test=replace(test, confusion=())))
    assert "It misses 25 of 100 held-out images of the class cat (25%)." in several


def test_what_was_measured_is_said_and_what_was_not_is_not() -> None:
    record = record_of("image")
    plain = text(record)
    assert "No fairness was measured" in plain and "pixels, without its aspect ratio" in plain
    assert "may be wrong" not in plain and "near-duplicates of others" not in plain
    full = replace(
        record, label_errors=LabelErrors(100, 7, 4, 3), near_duplicates=NearDuplicates("group", 2, 5),
        skipped=(SkippedItem("zebra", "class of 3 rows, fewer than 10 (`min_per_class`)"), SkippedItem("a.png", "bad")),
        baseline=Baseline("colours", 100, 0.7, (0.6, 0.8), 0.0, (-0.1, 0.1), "unclear", "Inconclusive.", 80, 1.0))
    said = text(full)
    for sentence in ("up to about 7 of 100 labels may be wrong", "5 images are near-duplicates of others",
                     "It does not know the classes zebra, which had too few images", "Inconclusive."):
        assert sentence in said and sentence not in plain
    assert "a.png" not in said
    apart = text(replace(full, near_duplicates=NearDuplicates("report", 2, 5)))
    assert "Near-duplicates were not kept apart" in apart


def test_texts_say_what_they_are_cut_to_and_names_from_data_are_escaped() -> None:
    record = record_of("text")
    assert "tokens" in text(record)
    card = model_card(replace(record, test=replace(record.test, classes=(result("<b>*x*", 0.5, 40),), confusion=())))
    assert "## What this model cannot do" in card and "\\<b\\>\\*x\\*" in card and "class <b>" not in card
