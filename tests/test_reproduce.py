"""A recorded run is run again: what is the same, what differs, and what cannot be run again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import draw, draw_folder

import kerastl as tl
from kerastl.errors import DataError, KerastlError, ModelError, OptionError
from kerastl.explanation.record import ExplainedRow, Explanations
from kerastl.files import file_sha256
from kerastl.rerun.comparison import DIFFERS, IDENTICAL, NOTE, UNKNOWN, compare_figures, environment, feature_check
from kerastl.rerun.plan import Given, plan_of, runtime_of
from kerastl.runtime import apply, as_recorded
from kerastl.versions.learning_curve import ClassCurve, LearningCurve
from kerastl.versions.record import RunRecord
from kerastl.versions.reproduction import MadeBy

NOTHING = Given()
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of its own, which tests may change."""
    return draw_folder(tmp_path_factory.mktemp("data"), 14)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A version made in Python, without TFLite files."""
    record = tl.classify_images(data, name="tiny", out=tmp_path_factory.mktemp("models"), backbone="tiny_net",
                                weights="none", head="linear", tflite="none",
                                cache_dir=tmp_path_factory.mktemp("cache"))
    return Path(record.path)


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in document["checks"]}


@pytest.mark.slow
def test_a_run_on_the_same_machine_is_identical_and_the_model_is_not_touched(model: Path, shell: Shell) -> None:
    before = {path: file_sha256(path) for path in model.parent.rglob("*")}
    code, out, _ = shell("reproduce", model, "--json")
    document = json.loads(out)
    assert document["differences"] == [] and document["exact"] and document["figures"] > 100
    assert set(verdicts(document).values()) == {IDENTICAL} and code == 0
    assert {path: file_sha256(path) for path in model.parent.rglob("*")} == before


@pytest.mark.slow
def test_data_that_changed_or_are_gone_are_found(model: Path, data: Path, tmp_path: Path, shell: Shell) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    draw(changed / "red" / "0.png", (10, 240, 10), 12345)
    code, out, _ = shell("reproduce", model, "--data", changed)
    assert code == 1 and "NOT reproduced: what differs: data, split" in out
    assert "of the 42 rows of the run 1 are gone and 1 are new" in out
    shutil.rmtree(changed)
    code, _, err = shell("reproduce", model, "--data", changed)
    assert code == 2 and "no such" in err


@pytest.mark.slow
def test_every_kind_of_difference_is_seen(model: Path) -> None:
    record = RunRecord.read(model)
    assert not compare_figures(record, record, True).differences
    other = replace(record, test=replace(record.test, accuracy=record.test.accuracy - 0.005))
    assert [item.figure for item in compare_figures(record, other, True).beyond()] == ["test.accuracy"]
    assert len(compare_figures(record, other, False).differences) == 1 and not compare_figures(
        record, other, False).beyond()
    worse = replace(record, test=replace(record.test, accuracy=record.test.accuracy - 0.02), head="mlp")
    assert {item.figure for item in compare_figures(record, worse, False).beyond()} == {"test.accuracy", "head"}
    made = record.reproduction
    assert made is not None and made.features is not None
    features = made.features
    assert feature_check(features, features, True).verdict == IDENTICAL
    off = tuple(tuple(value + 1e-6 for value in row) for row in features.values)
    near = replace(features, digest="other", values=off)
    assert feature_check(features, near, False).verdict == "within bounds"
    assert feature_check(features, near, True).verdict == DIFFERS
    far = replace(near, values=tuple(tuple(value + 1 for value in row) for row in off))
    assert feature_check(features, far, False).verdict == DIFFERS
    assert feature_check(None, features, True).verdict == UNKNOWN


@pytest.mark.slow
def test_what_depends_on_the_last_digit_or_says_what_was_done_is_not_compared_elsewhere(model: Path) -> None:
    """Another version writes other sentences; another machine orders rows and classes anew."""
    record = RunRecord.read(model)
    classes = tuple(ClassCurve(name, 14, 0.9, gain, (0.0, 0.1)) for name, gain in (("a", 0.0100), ("b", 0.0099)))
    rows = tuple(ExplainedRow(name, "correct", "a", "a", 0.9, 1.0) for name in ("1.png", "2.png"))
    curve = LearningCurve(rows=42, classes=classes, more_rows=(560, None))
    record = replace(record, learning_curve=curve, explanations=Explanations("activation map", examples=rows))
    assert record.explanations is not None
    other = replace(
        record, learning_curve=replace(curve, classes=classes[::-1], more_rows=(600, None), scope="in other words"),
        explanations=replace(record.explanations, examples=rows[::-1], note="in other words"),
        parity=tuple(replace(part, bound="in other words") for part in record.parity))
    assert record.parity and not compare_figures(record, other, False).differences
    figures = {item.figure for item in compare_figures(record, other, True).beyond()}
    assert figures == {"learning_curve.more_rows[0]", *(f"explanations.examples[{n}].origin" for n in (0, 1))}
    changed = replace(other, test=replace(other.test, accuracy=record.test.accuracy - 0.02, ece=record.test.ece + 1e-6))
    assert [item.exceeds for item in compare_figures(record, changed, False).differences] == [True, False]


def test_data_that_are_not_where_they_were_are_asked_for(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    message = f"{tmp_path}/samples/x .the run recorded samples/x, but not in which folder"
    with pytest.raises(DataError, match=message) as error:
        planned(model, config={**RunRecord.read(model).config, "data": "samples/x"})
    assert error.value.hint == "set `data` to their new location"


def test_another_machine_is_named_and_allows_small_differences_only_there(model: Path) -> None:
    record = RunRecord.read(model)
    assert record.reproduction is not None
    assert {check.verdict for check in environment(record, record)} == {IDENTICAL}
    made = replace(record.reproduction, packages={**record.reproduction.packages, "numpy": "1.0"}, threads=96, cpu=(),
                   variables={"TF_ENABLE_ONEDNN_OPTS": "0"})
    other = replace(record, reproduction=made, machine={**record.machine, "processor": "abacus"})
    checks = {check.name: check for check in environment(record, other)}
    assert {name for name, check in checks.items() if check.verdict == NOTE} == {
        "packages", "processor", "threads", "environment variables"}
    assert checks["packages"].now == "numpy 1.0" and checks["threads"].now == "96"
    older = {check.name: check.verdict for check in environment(replace(record, reproduction=None), record)}
    assert older == {"packages": UNKNOWN, "processor": IDENTICAL, "Python": IDENTICAL, "threads": UNKNOWN,
                     "environment variables": UNKNOWN}


@pytest.mark.slow
def test_the_engine_and_arithmetic_are_those_of_the_record_and_not_chosen(model: Path) -> None:
    record = replace(RunRecord.read(model), precision="mixed_bfloat16", engine="tensorflow", seed=7)
    with as_recorded(runtime_of(record)):
        runtime = apply("auto", "auto", 3, "auto")
    assert (runtime.precision, runtime.engine, runtime.compute, runtime.seed) == (
        "mixed_bfloat16", "tensorflow", "float32", 3)
    assert apply("float32", "off", 3).compute is None


def planned(model: Path, given: Given = NOTHING, **changed: Any) -> Any:
    return plan_of(model, replace(RunRecord.read(model), **changed), given, "out", "cache")


def test_code_that_a_record_names_is_not_run_and_what_was_changed_is_refused(model: Path, tmp_path: Path) -> None:
    record = RunRecord.read(model)
    assert record.reproduction is not None and record.reproduction.made_by.pipeline == "classify_images"
    recipe = tmp_path / "mine.py"
    recipe.write_text("raise SystemExit('the code of a record ran')\n")
    own = replace(record.reproduction, made_by=MadeBy(recipe=str(recipe), sha256=file_sha256(recipe)))
    with pytest.raises(OptionError, match="`recipe` is missing: the model was made by the user's own"):
        planned(model, reproduction=own)
    changed = replace(own, made_by=replace(own.made_by, sha256="0" * 64))
    with pytest.raises(OptionError, match="`recipe` is .*, which has changed since the model was made"):
        planned(model, Given(recipe=str(recipe)), reproduction=changed)
    head = tmp_path / "head.py"
    head.write_text("raise SystemExit('the code of a record ran')\n")
    config = {**record.config, "head": f"{head}"}
    settings = {**record.head_settings, "head_sha256": "0" * 64}
    with pytest.raises(OptionError, match="`head` is missing: the model's is the user's own"):
        planned(model, config=config, head_settings=settings)
    with pytest.raises(OptionError, match="`head` is .*, which has changed since the model was made"):
        planned(model, Given(head=str(head)), config=config, head_settings=settings)
    with pytest.raises(OptionError, match="`head` is 'mlp', but the model's is linear, of kerastl"):
        planned(model, Given(head="mlp"))
    with pytest.raises(OptionError, match="`backbone` is missing"):
        planned(model, config={**record.config, "backbone": "net.py"}, backbone_sha256="1" * 64)
    with pytest.raises(OptionError, match="`teacher` is 'x', which the run of .* does not take"):
        planned(model, Given(teacher="x"))
    with pytest.raises(ModelError, match="settings that classify_images does not take: new_setting"):
        planned(model, config={**record.config, "new_setting": 1})


def test_older_records_are_run_with_a_note_or_refused_with_what_they_lack(model: Path) -> None:
    record = RunRecord.read(model)
    assert planned(model).notes == ()
    older = {name: value for name, value in record.config.items() if name != "target"}
    assert planned(model, reproduction=None, config=older).notes == (
        "the record does not say what ran; its settings are those of kerastl.classify_images, which was run",
        "not in the record, so today's defaults were used: target")
    with pytest.raises(ModelError, match="the record does not say what ran"):
        planned(model, reproduction=None, config={"data": "x"})
    named = {**{name: value for name, value in record.config.items() if name != "layer"}, "tap": "top", "json": False}
    assert planned(model, Given(recipe="inception_v3_images"), reproduction=None, config=named).what == \
        "inception_v3_images"


def test_a_few_shot_folder_and_a_damaged_model_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "few_shot.json").write_text("{}")
    with pytest.raises(ModelError, match="holds a few-shot comparison"):
        tl.reproduce(str(tmp_path))
    shutil.copytree(model, tmp_path / "copy")
    with open(tmp_path / "copy" / "labels.txt", "a") as file:
        file.write("more\n")
    with pytest.raises(KerastlError, match="files changed since it was written: labels.txt"):
        tl.reproduce(str(tmp_path / "copy"))


HEAD = """import keras
def build(shape, outputs):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(8, "relu"), keras.layers.Dense(outputs)])
"""


@pytest.mark.slow
def test_a_fine_tuned_model_of_a_recipe_with_a_head_of_ones_own_and_corrected_labels_is_identical(
        tmp_path: Path, shell: Shell) -> None:
    images = draw_folder(tmp_path / "images", 24)
    examples = tl.read_images(images)
    (tmp_path / "fixes.csv").write_text("id,origin,given_label,new_label\n" + "".join(
        f"{examples.ids[row]},{examples.origins[row]},{examples.label_of(row)},{new}\n"
        for row, new in ((0, "red"), (30, "(remove)"))))
    head = tmp_path / "head.py"
    head.write_text(HEAD)
    words = f"--name own --out {tmp_path / 'models'} --backbone tiny_net --weights none --head {head} --split holdout" \
            f" --unfreeze 1 --epochs 2 --relabel {tmp_path / 'fixes.csv'} --tflite fp32 --cache-dir {tmp_path / 'c'}"
    code, _, err = shell("run", "inception_v3_images", "--data", images, *words.split(), "--seed", "5")
    assert code == 0, err
    record = RunRecord.read(tmp_path / "models/own/1")
    assert record.fine_tuning is not None and record.relabel is not None and record.relabel.removed == 1
    (tmp_path / "fixes.csv").unlink()  # the version has the corrections
    code, _, err = shell("reproduce", tmp_path / "models/own")
    assert code == 2 and "--head is missing: the model's is the user's own" in err
    code, out, err = shell("reproduce", tmp_path / "models/own", "--head", head, "--json")
    document = json.loads(out)
    assert document["ran"] == "inception_v3_images" and document["differences"] == []
    assert set(verdicts(document).values()) == {IDENTICAL} and code == 0
    head.write_text(HEAD.replace("8", "9"))
    code, _, err = shell("reproduce", tmp_path / "models/own", "--head", head)
    assert code == 2 and "which has changed since the model was made" in err
