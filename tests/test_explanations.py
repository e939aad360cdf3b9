"""What answers rest on: parts that add up to the logit, patches, words, and the checks that explanations must pass."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from image_files import save, scene
from PIL import Image
from text_folders import hugging_face_folder
from tiny import made_examples, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.backbones import Backbone
from kerastl.decision import Calibration, calibrated
from kerastl.errors import DataError, OptionError
from kerastl.explanation.explainer import Explained, cosine, explainer_for, marked
from kerastl.explanation.images import ImageExplainer
from kerastl.explanation.network import takes_only_raw
from kerastl.explanation.record import COVERED, LEFT_OUT, ExplainedRow, Explanations, checked
from kerastl.explanation.texts import left_out, units
from kerastl.export.saved_model import save as save_model
from kerastl.heads import resolve_head
from kerastl.inputs import Batch
from kerastl.modality import IMAGE
from kerastl.model import Predictor, parts_of, pooling_for, raw_of
from kerastl.report.explanations import heat_map, segments
from kerastl.studies.explanations import explain_run, guesses
from kerastl.tasks import single_label
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.verbs.explain import show
from kerastl.versions.record import RunRecord

Shell = Callable[..., tuple[int, str, str]]
CLASSES = ("a", "b", "c")


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def model_of(backbone: Backbone, head: str) -> Any:
    """A model with random weights, the head's bias included."""
    configured = resolve_head(head)
    built = configured.build(backbone.shape, 3, raw_of(backbone) if configured.spec.takes_raw else None)
    generator = np.random.default_rng(1)
    for layer in built.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights([generator.normal(size=weight.shape) for weight in layer.get_weights()])
    return tl.splice(backbone, built)


# Images


@pytest.mark.parametrize("name", ["linear", "joint"])
def test_the_parts_of_an_exact_map_add_up_to_the_logit(name: str) -> None:
    backbone, values = tiny_backbone(), images(5)
    model = model_of(backbone, name)
    explainer, head = explainer_for(IMAGE, parts_of(model), backbone.input, fine=False), parts_of(model).head
    assert explainer.method(head) == ("activation map", True)
    logits = Predictor(model)(Batch([*range(5)], values))
    places = [0, 1, 2, 2, 0]
    (explained,) = explainer.explain([*values], places, head)
    for row, (one, place) in enumerate(zip(explained, places, strict=True)):
        assert one.shape == (8, 8) and (one.plain is not None) == (name == "joint")
        assert one.constant is not None and abs(one.constant) > 0.01
        total = one.contributions.sum() + one.constant + (one.plain or 0.0)
        assert abs(total - logits[row, place]) < 1e-4 and np.abs(one.logits - logits[row]).max() < 1e-4
        assert np.ptp(one.contributions) > 1e-3
    # The logit that is explained orders rows as the calibrated one does.
    bent = calibrated(logits, Calibration(1.7, bias=(0.4, -0.1, -0.3)))
    assert (np.argsort(bent[:, 1]) == np.argsort(logits[:, 1])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "joint"])
def test_the_signature_explain_gives_the_same_parts(name: str, tmp_path: Path) -> None:
    backbone = tiny_backbone()
    model = model_of(backbone, name)
    save_model(tmp_path, parts_of(model), backbone.input, CLASSES, single_label.TASK, Calibration(1.0))
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    files = [save(Image.fromarray(np.roll(scene(), 5 * i, axis=1)), "PNG") for i in range(35)]
    outputs = {key: value.numpy() for key, value in signatures["explain"](image_bytes=tf.constant(files)).items()}
    assert set(outputs) == {"maps", "bias", "logits"} | ({"plain"} if name == "joint" else set())
    values = backbone.input.decode(tf.constant(files))[0]
    logits = signatures["tensor"](images=values)["logits"].numpy()
    total = outputs["maps"].sum(axis=(1, 2)) + outputs["bias"] + outputs.get("plain", 0.0)
    assert np.abs(outputs["logits"] - logits).max() < 1e-4 and np.abs(total - logits).max() < 1e-4
    explainer, head = explainer_for(IMAGE, parts_of(model), backbone.input, fine=False), parts_of(model).head
    (explained,) = explainer.explain([*values.numpy()], [1] * len(files), head)
    assert np.abs(outputs["maps"][..., 1].reshape(35, -1) - [one.contributions for one in explained]).max() < 1e-5
    none = signatures["explain"](image_bytes=tf.constant(files)[:0])
    assert none["maps"].shape == (0, 8, 8, 3) and none["logits"].shape == (0, 3)


@pytest.mark.slow
def test_there_is_no_signature_where_no_part_belongs_to_a_place(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    for name in ("mlp", "plain"):
        save_model(tmp_path / name, parts_of(model_of(backbone, name)), backbone.input, CLASSES, single_label.TASK,
                   Calibration(1.0))
        assert "explain" not in tf.saved_model.load(str(tmp_path / name)).signatures


def corner_backbone() -> Backbone:
    """A network that sees the upper left quarter of an image only."""
    inputs = keras.Input((32, 32, 3), name="images")
    x = keras.layers.Cropping2D(((0, 16), (0, 16)))(inputs)
    return replace(tiny_backbone(), dim=3, parts=(3,), model=keras.Model(
        inputs, keras.layers.GlobalMaxPooling2D()(x), name="corner"))


def test_covered_patches_count_where_the_network_looks() -> None:
    backbone = corner_backbone()
    model = tl.splice(backbone, resolve_head("linear").build((3,), 3))
    parts = parts_of(model)
    parts.head.set_weights([np.eye(3), np.zeros(3)])
    values = np.full((32, 32, 3), 50, np.uint8)
    values[2:6, 10:14] = 250  # in the second of the 8-pixel cells of the first row
    explainer = explainer_for(IMAGE, parts, backbone.input, fine=False)
    assert explainer.method(parts.head) == (COVERED, False)
    ((explained,),) = explainer.explain([values], [0], parts.head)
    assert explained.shape == (4, 4) and explained.constant is None
    assert explained.contributions.argmax() == 1 and explained.contributions[1] > 100
    assert np.abs(np.delete(explained.contributions, 1)).max() == 0
    deleted = explainer.without(values, explained, marked(explained)[:1])
    assert (deleted[:8, 8:16] == values.mean(axis=(0, 1)).round()).all() and (deleted[8:] == values[8:]).all()


def test_another_place_has_the_same_form() -> None:
    explained = Explained(np.zeros(3, np.float32), 0, np.zeros(20, np.float32), (4, 5))
    explainer = ImageExplainer(None, 4)  # type: ignore[arg-type]
    chosen, generator = np.array([0, 1, 5]), np.random.default_rng(0)
    places = [explainer.elsewhere(explained, chosen, generator) for _ in range(200)]
    assert all(len(set(place.tolist())) == 3 and (place < 20).all() for place in places)
    assert all(set(place.tolist()) != {0, 1, 5} for place in places)
    assert {int(place[0]) for place in places} == {*range(1, 20)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pooling"), [("mlp", "mean"), ("attention", "none"), ("plain", "mean")])
def test_other_heads_are_explained_by_covering(name: str, pooling: str) -> None:
    backbone = tl.load_backbone("tiny_net", "none", pooling=pooling)
    model = model_of(backbone, name)
    explainer, head = explainer_for(IMAGE, parts_of(model), backbone.input, fine=False), parts_of(model).head
    values = images(1)[0]
    ((explained,),) = explainer.explain([values], [1], head)
    assert explainer.method(head) == (COVERED, False) and takes_only_raw(head) == (name == "plain")
    covered = explainer.without(values, explained, np.array([6]))
    before, after = Predictor(model)(Batch([0, 1], np.stack([values, covered])))[:, 1]
    assert abs(explained.contributions[6] - (before - after)) < 1e-4 and abs(explained.logit - before) < 1e-4


def test_a_fused_backbone_is_explained_by_covering() -> None:
    backbone = tl.load_backbone("tiny_net+tiny_net24", "none")
    model = model_of(backbone, "linear")
    explainer = explainer_for(IMAGE, parts_of(model), backbone.input, fine=False)
    assert explainer.method(parts_of(model).head) == (COVERED, False)
    ((explained,),) = explainer.explain([images(1)[0]], [1], parts_of(model).head)
    assert len(explained.contributions) == 16 and np.ptp(explained.contributions) > 0


def test_a_heat_map_is_orange_where_the_image_speaks_for_the_class_and_blue_where_against() -> None:
    drawn = heat_map(np.full((40, 40, 3), 128, np.uint8), [1.0, 0.0, 0.0, -1.0], (2, 2)).astype(int)
    red, blue = drawn[2, 2], drawn[-3, -3]
    assert red[0] > red[2] + 50 and blue[2] > blue[0] + 50
    assert (heat_map(np.zeros((8, 8, 3), np.uint8), [0.0] * 4, (2, 2)) == 76).all()  # flat: nothing is marked


# Texts


def test_units_are_whole_words_or_groups_of_them() -> None:
    assert units("A dull,  film", 9) == ((0, 0, 1), (0, 2, 7), (0, 9, 13))
    assert units("a b c d e", 2) == ((0, 0, 5), (0, 6, 9))
    assert units(("a b", "c"), 9) == ((0, 0, 1), (0, 2, 3), (1, 0, 1))
    assert units("\u6620\u753b good", 9) == ((0, 0, 1), (0, 1, 2), (0, 3, 7))
    assert units("a b c d", 9, longest=2) == ((0, 0, 1), (0, 2, 3)) and units("  ", 9) == ()


def test_a_word_is_left_out_with_the_blanks_behind_it() -> None:
    text = " A dull,  film\n"
    first, second, third = units(text, 9)
    assert left_out(text, [second]) == " A film\n" and left_out(text, [first, third]) == " dull,  "
    assert left_out(("a b", "c d"), [(0, 2, 3), (1, 0, 1)]) == ("a ", "d")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(hugging_face_folder(tmp_path_factory.mktemp("bert"), "bert"))


@pytest.mark.parametrize(("name", "long", "pair"), [
    ("joint", "head", False), ("linear", "chunks", False), ("linear", "head", True),
    pytest.param("attention", "head", False, marks=pytest.mark.slow)])
def test_words_change_the_logit_by_what_is_recorded(name: str, long: str, pair: bool, bert: str) -> None:
    backbone = tl.load_backbone("bert_base", bert, pooling=pooling_for(name))
    backbone = backbone.taking(replace(backbone.input, max_length=12, long=long, pair=pair,
                                       beyond=16 if name == "joint" else 0))
    model = model_of(backbone, name)
    if name == "joint":
        table, bias, *rest = parts_of(model).head.get_layer("plain").get_weights()
        parts_of(model).head.get_layer("plain").set_weights(
            [np.random.default_rng(2).normal(size=table.shape), bias, *rest])
    text: Any = "the good film was not a dull story so much watch this long actor"
    text = (text, "a bad scene") if pair else text
    explainer, head = explainer_for(backbone.spec.modality, parts_of(model), backbone.input, fine=True), \
        parts_of(model).head
    ((explained,),) = explainer.explain([text], [2], head)
    assert explainer.method(head) == (LEFT_OUT, False) and len(explained.spans) == (15 if pair else 14 if long ==
                                                                                   "chunks" or name == "joint" else 12)
    source = backbone.input
    batch = source.decoded(source.contents([text, left_out(text, [explained.spans[3]])]), {})
    before, after = Predictor(model)(batch)[:, 2]
    assert abs(explained.logit - before) < 1e-4 and abs(explained.contributions[3] - (before - after)) < 1e-4
    assert np.ptp(explained.contributions) > 1e-3
    if name == "joint":
        plain = parts_of(model).head.get_layer("plain")(parts_of(model).raw_branch(batch.values[:1]))
        assert explained.plain is not None and abs(explained.plain - float(plain[0, 2])) < 1e-4
        assert abs(explained.plain) > 1e-3


def test_shaded_words_keep_the_text_and_its_order() -> None:
    text = "Not <b>good</b>, no"
    row = ExplainedRow("1", "", "a", "", 0.9, 1.0, (2.0, -1.0, 0.0), spans=units(text, 9))
    pieces = segments(text, row)
    assert "".join(piece["text"] for piece in pieces) == text
    assert [piece["title"] for piece in pieces if piece["style"]] == ["+2.00", "-1.00"]
    assert "217 121 43 / 0.75" in pieces[0]["style"]
    assert "".join(piece["text"] for piece in segments(("a b", "c"), ExplainedRow("1", "", "a", "", 0.9, 1.0))) == \
        "a b ⟷ c"


# The checks


@pytest.mark.parametrize(("similarity", "gain", "faults"), [
    (0.1, (0.2, 0.9), []), (0.6, (0.2, 0.9), ["hardly depend"]), (0.1, (-0.1, 0.9), ["not shown to change"]),
    (0.5, (0.0, 0.9), ["hardly depend", "not shown to change"]), (float("nan"), (0.2, 0.9), ["hardly depend"])])
def test_explanations_are_withheld_where_a_check_fails(similarity: float, gain: tuple[float, float],
                                                       faults: list[str]) -> None:
    result = checked(24, "image", similarity, 0.8, 0.3, gain)
    assert result.withheld == bool(faults) and all(fault in result.sentence for fault in faults)
    assert "0.80" in result.sentence and "0.30" in result.sentence and "24 held-out rows" in result.sentence


def test_maps_are_compared_about_their_means() -> None:
    a = np.array([1.0, 2.0, 3.0], np.float32)
    assert abs(cosine(a, 5 * a + 7) - 1) < 1e-6 and abs(cosine(a, -a) + 1) < 1e-6 and cosine(a, np.ones(3)) == 1


# A run, its report and the verb


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, images: Path, dropped_in: Path) -> Path:
    from conftest import made_once

    from kerastl.cli import main

    def train(out: Path) -> None:
        assert main(["run", "tiny_images", "--data", str(images), "--name", "tiny", "--out", str(out), "--weights",
                     "none", "--tflite", "none", "--head", "linear"]) == 0

    return made_once(tmp_path_factory, "explained", train) / "tiny" / "1"


@pytest.mark.slow
def test_a_run_checks_its_explanations_and_shows_some(run: Path) -> None:
    found = RunRecord.read(run).explanations
    assert found is not None and found.method == "activation map" and found.exact and found.rows >= 8
    assert found.similarity is not None and found.gain_ci95 is not None
    report = (run / "report.html").read_text()
    assert "Why these answers?" in report and found.sentence.replace("<", "&lt;") in report
    assert found.withheld == (not found.examples)
    for row in found.examples:
        assert abs(sum(row.contributions) + (row.constant or 0) + (row.plain or 0) - row.logit) < 0.01


@pytest.mark.slow
def test_the_record_is_read_as_it_was_written(run: Path) -> None:
    record = RunRecord.read(run)
    assert record.explanations is not None
    assert Explanations.from_dict(json.loads(json.dumps(record.explanations.to_dict()))) == record.explanations


@pytest.mark.slow
def test_the_verb_writes_a_page(run: Path, images: Path, tmp_path: Path, shell: Shell) -> None:
    page = tmp_path / "page.html"
    (tmp_path / "broken<i>.png").write_bytes(b"no image")
    code, out, err = shell("explain", run, tmp_path / "broken<i>.png", images, "--limit", 4, "--out", page)
    assert code == 0 and "inputs after the first 4 are not explained; set --limit for more" in out, err
    text = page.read_text()
    assert "broken&lt;i&gt;.png" in text and "broken<i>" not in text and text.count("data:image/jpeg") >= 3
    assert "3 explanations written" in out
    code, out, _ = shell("explain", run, next(images.rglob("*.png")), "--label", "blue", "--json")
    (row,) = json.loads(out)["explanations"]
    assert code == 0 and row["label"] == "blue"


@pytest.mark.slow
def test_inputs_and_arguments_that_cannot_be_used(run: Path, images: Path, tmp_path: Path) -> None:
    image = str(next(images.rglob("*.png")))
    with pytest.raises(OptionError, match="`inputs` is empty"):
        tl.explain(run, [])
    with pytest.raises(OptionError, match="pink"):
        tl.explain(run, [image], label="pink")
    with pytest.raises(OptionError, match="`limit`"):
        tl.explain(run, [image], limit=0)
    with pytest.raises(OptionError, match="`out`"):
        tl.explain(run, [image], out=str(tmp_path / "page.pdf"))
    with pytest.raises(DataError, match="none of the inputs"):
        tl.explain(run, [str(tmp_path / "missing.png")])


def test_explanations_of_a_model_that_guesses_say_so(run: Path) -> None:
    examples = made_examples(np.arange(30) % 3)
    test = replace(RunRecord.read(run).test, balanced_accuracy=0.5)
    assert guesses(replace(test, balanced_accuracy_ci95=(0.34, 0.6)), examples) == ""
    sentence = guesses(replace(test, balanced_accuracy_ci95=(0.33, 0.6)), examples)
    assert "not shown to be better than chance" in sentence and "chance 0.333" in sentence


@pytest.mark.slow
def test_a_class_that_is_asked_for_is_not_called_predicted(run: Path, images: Path, tmp_path: Path) -> None:
    image, page = str(next(images.rglob("*.png"))), tmp_path / "page.html"
    first = tl.explain(run, [image])
    other = next(name for name in tl.load(run).classes if name != first.rows[0].label)
    assert first.predicted == (True,)
    result = tl.explain(run, [image], label=other, out=str(page))
    assert result.predicted == (False,) and result.to_dict()["explanations"][0]["predicted"] is False
    assert f"not predicted: <b>{other}</b>" in page.read_text() and "speak for the named class" in page.read_text()
    assert f"{other} (not predicted)" in show(result)


def test_nothing_is_drawn_where_explanations_are_withheld(run: Path, images: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "tiny" / "1"
    shutil.copytree(run, copy)
    record = RunRecord.read(copy)
    record = replace(record, explanations=checked(24, "image", 0.9, 0.2, 0.3, (-0.4, 0.2)))
    record.write(copy)
    result = tl.explain(copy, [str(next(images.rglob("*.png")))], out=str(tmp_path / "page.html"))
    assert result.withheld and not result.rows[0].contributions and "hardly depend" in result.check
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 1  # the image alone


# Other kinds of runs


def features_of(folder: Path, cache: Path, mode: str) -> tl.Features:
    examples = tl.split(tl.read_images(str(folder), min_per_class=0), mode)
    return tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=cache)


def explained(features: tl.Features, trained: tl.TrainedModel) -> Explanations:
    return explain_run(features, trained, tl.evaluate(features.examples, trained.fitted))


def tuned(trained: tl.TrainedModel) -> tl.TrainedModel:
    """The same, as if its backbone had been fine-tuned."""
    return replace(trained, fine_tuning=FineTuneResult(
        kept=True, blocks=1, layers=(), loss_before=0.5, loss_after=0.4, epochs=(), seconds=0.1))


@pytest.mark.slow
def test_each_row_is_explained_by_a_head_that_was_not_trained_on_it(images: Path, tmp_path: Path) -> None:
    features = features_of(images, tmp_path, "cv")
    trained = tl.train(features, "linear")
    heads = trained.fitted.fold_heads
    assert sorted(heads) == features.examples.split.folds  # type: ignore[union-attr]
    found = explained(features, trained)
    assert found.rows == 24 or found.rows == 42  # more where the first are too few to tell
    assert "not trained on it" in found.note and "trained on these rows too" not in found.note
    for row in found.examples:
        number = features.examples.origins.index(row.origin)
        logits = trained.fitted.held_out.logits[number]
        assert abs(row.logit - logits[features.examples.classes.index(row.label)]) < 1e-3
    own = explained(features, tuned(trained))
    assert "trained on these rows too" in own.note


@pytest.mark.slow
def test_heads_of_folds_that_are_large_together_are_not_kept(images: Path, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.training.fit.MOST_KEPT", 24 * 3 + 3)
    features = features_of(images, tmp_path, "cv")
    trained = tl.train(features, "linear")
    assert sorted(trained.fitted.fold_heads) == features.examples.split.folds[:1]  # type: ignore[union-attr]
    found = explained(features, trained)
    assert found.rows <= 12  # those of one fold


@pytest.mark.slow
def test_too_few_rows_cannot_be_checked(images: Path, tmp_path: Path) -> None:
    features = features_of(images, tmp_path, "holdout")
    found = explained(features, tl.train(features, "linear"))
    assert found.withheld and not found.examples and "cannot be checked" in found.sentence


@pytest.mark.slow
@pytest.mark.parametrize("head", ["mlp", "joint", "plain", "best", "blend"])
def test_every_kind_of_head_is_checked(head: str, images: Path, tmp_path: Path) -> None:
    features = features_of(images, tmp_path, "cv")
    quick = tl.TrainingOptions(epochs=1) if head in ("mlp", "blend") else tl.TrainingOptions()
    trained = tl.train(features, head, options=quick)
    features = replace(features, backbone=features.backbone.taking(trained.input))  # type: ignore[arg-type]
    found = explained(features, trained)
    assert found.method and found.rows >= 12 and found.similarity is not None, found.sentence


@pytest.mark.slow
def test_a_head_of_ones_own_is_checked(images: Path, tmp_path: Path) -> None:
    features = features_of(images, tmp_path, "cv")
    own = keras.Sequential([keras.Input((24,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)], name="own")
    found = explained(features, tl.train(features, own, options=tl.TrainingOptions(epochs=1)))
    assert found.method == COVERED and found.similarity is not None


@pytest.mark.slow
def test_each_label_of_a_row_is_explained(images: Path, tmp_path: Path, shell: Shell) -> None:
    lines = ["path,label", *(f"{path},{path.parent.name}{'|dark' * (i % 2)}"
                             for i, path in enumerate(sorted(images.rglob("*.png"))))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    code, out, err = shell("run", "tiny_images", "--data", tmp_path / "t.csv", "--name", "several", "--out", tmp_path,
                           "--weights", "none", "--tflite", "none", "--multi-label", "on", "--json")
    record = RunRecord.from_dict(json.loads(out))
    assert code == 0 and record.explanations is not None and record.explanations.method, err
    result = tl.explain(tmp_path / "several", [str(path) for path in sorted(images.rglob("*.png"))[:6]])
    predicted = tl.load(tmp_path / "several").predict(sorted(images.rglob("*.png"))[:6])
    wanted = [label for one in predicted for label in (one.label.split("|") if one.label else [one.top[0][0]])]
    assert sorted(row.label for row in result.rows) == sorted(wanted)
