"""The run record: typed, written as version 0.1 wrote it plus two keys, and read from any version."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerastl.errors import ModelError
from kerastl.evaluation.result import Figures
from kerastl.fields import Section, from_json, key
from kerastl.report.model_card import model_card
from kerastl.versions.record import RunRecord
from kerastl.versions.sections import Parity

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("image", "tuned", "text")


def golden(name: str) -> dict[str, Any]:
    """A run.json of version 0.1; golden/make_old_version.py says how it was made."""
    document: dict[str, Any] = json.loads((GOLDEN / f"run-0.1-{name}.json").read_text())
    return document


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_version_0_1_is_read_and_written_back_with_every_key(name: str) -> None:
    document = golden(name)
    record = RunRecord.from_dict(document)
    written = record.to_dict()
    added_keys = ("format", "task", "backbone_sha256", "data_summary", "near_duplicates", "label_errors", "relabel",
                  "bias", "competitors", "linear_beside", "reproduction", "learning_curve", "rejection",
                  "explanations", "started_in", "previous", "private", "devices")
    assert {added: written.pop(added) for added in added_keys} == {
        "format": 1, "task": "multi_label" if name == "text" else "single_label", "backbone_sha256": None,
        "data_summary": None, "near_duplicates": None, "label_errors": None, "relabel": None, "bias": [],
        "competitors": None, "linear_beside": None, "reproduction": None, "learning_curve": None, "rejection": None,
        "explanations": None, "started_in": None, "previous": None, "private": None, "devices": []}
    if name == "tuned":
        added = ("tuned_accuracy", "folds_kept", "augmentation")
        assert [written["unfrozen"].pop(name) for name in added] == [None] * 3
        plan = written["unfrozen"]["plan"]
        assert not plan or (plan.pop("augment"), plan.pop("gamma")) == ("", 0.0)
    assert written["test"]["calibration"].pop("bias") == []
    assert {artifact.pop("rank") for artifact in written["parity"]} == {None}
    for section, old in ((written["test"], document["test"]), *zip(
            written["test"]["classes"], document["test"]["classes"], strict=True)):
        for added in set(section) - set(old):  # what earlier versions did not measure
            assert section.pop(added) is None
    assert written == document
    assert json.loads(json.dumps(written)) == written


def test_its_attributes_are_typed_and_named_in_the_fields_words() -> None:
    record = RunRecord.from_dict(golden("tuned"))
    assert record.modality.name == "image" and record.task.exclusive and record.feature_layer == "top"
    assert record.search[0].log_loss is not None and len(record.search) == 3
    assert record.fine_tuning is not None and record.fine_tuning.method == "blocks" and record.fine_tuning.blocks == 1
    assert record.baseline is not None and record.baseline.sentence and not record.failed
    assert record.data == "images" and record.lengths is None and record.calibration.thresholds == ()
    text = RunRecord.from_dict(golden("text"))
    assert text.lengths is not None and (text.lengths.median, text.lengths.truncated) == (16, 0)
    assert len(text.calibration.thresholds) == 3 and text.calibration.bias == ()
    assert text.test.roc_auc is None and text.test.calibration_choice is None and text.test.target is None
    mistake = text.test.mistakes[0]
    assert {mistake.predicted, mistake.actual} == {golden("text")["test"]["mistakes"][0][k] for k in ("given", "true")}


def test_unknown_keys_survive_at_every_level() -> None:
    document = golden("image") | {"later": {"more": [1]}}
    document["parity"][0]["later"] = "x"
    document["test"]["later"] = 1.5
    written = RunRecord.from_dict(document).to_dict()
    assert written["later"] == {"more": [1]} and written["test"]["later"] == 1.5
    assert written["parity"][0]["later"] == "x"


def test_missing_keys_get_defaults_where_there_are_such_and_others_are_named() -> None:
    document = golden("image")
    for name in ("random_parts", "search", "ablation", "distilled", "large", "notes"):
        del document[name]
    record = RunRecord.from_dict(document)
    assert record.search == () and record.ablation is None and record.large is None
    del document["classes"]
    with pytest.raises(ModelError, match="no 'classes'"):
        RunRecord.from_dict(document)


@pytest.mark.parametrize(("name", "value"), [("classes", 3), ("test", []), ("parity", [1]), ("kind", "sound"),
                                             ("task", "guess"), ("counts", [1])])
def test_a_damaged_record_is_refused_by_its_path(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(golden("image") | {name: value}))
    with pytest.raises(ModelError, match="run.json is not a run record"):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "{}", "null"])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ModelError):
        RunRecord.read(tmp_path)


def test_a_record_is_the_same_after_being_written_and_read(tmp_path: Path) -> None:
    record = RunRecord.from_dict(golden("text"))
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record and RunRecord.read(tmp_path).to_dict() == record.to_dict()


def test_broken_bounds_are_listed_and_fail_the_run() -> None:
    document = golden("image")
    document["parity"][2]["kept"] = False
    record = RunRecord.from_dict(document)
    assert record.breaches == ("fp16",) and record.failed and record.to_dict()["breaches"] == ["fp16"]
    assert record.failure.startswith("fp16: not written") and RunRecord.from_dict(golden("image")).failure == ""
    assert isinstance(record.parity[2], Parity) and isinstance(record.test, Figures)


def test_its_representation_is_short() -> None:
    assert len(repr(RunRecord.from_dict(golden("text")))) < 120


def test_from_json_follows_the_type() -> None:
    assert from_json(tuple[int, ...], [1, 2]) == (1, 2) and from_json(tuple[float, float] | None, None) is None
    assert from_json(dict[str, tuple[int, ...]], {"a": [1]}) == {"a": (1,)}
    with pytest.raises(ValueError):
        from_json(tuple[float, float], [1.0])
    with pytest.raises(TypeError):
        from_json(Section, [1])
    assert key("x", default=1).metadata == {"key": "x"}


def test_the_card_of_a_backbone_that_is_not_installed_says_that_its_licence_is_unknown() -> None:
    record = replace(RunRecord.from_dict(golden("image")), backbone="my_own_network")
    assert "licence: unknown" in model_card(record)


def test_the_card_of_a_text_model_says_what_python_imports_first_and_escapes_what_comes_from_data() -> None:
    record = replace(RunRecord.from_dict(golden("text")), classes=("a*b", "c\nd", "e"))
    card = model_card(record)
    assert "`import tensorflow_text`" in card and "tensorflow_text" not in model_card(
        RunRecord.from_dict(golden("image")))
    assert "a\\*b, c d, e" in card and "only the first 32 tokens are used" in card
