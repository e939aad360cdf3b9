"""What a Python user passes to the steps of a recipe: paths as texts or as paths, and mistakes that end in one message.

No AssertionError, AttributeError or TypeError may reach the user.
"""

import importlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import clouds, held_out, in_folds, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.decision import Predictions
from kerastl.features.compute import Features
from kerastl.fields import to_json
from kerastl.inputs.texts import Texts
from kerastl.inputs.tokenizer import Tokenizer
from kerastl.modality import IMAGE, TEXT
from kerastl.serving.batch import predict_inputs


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Features of examples that are not split."""
    x, y = clouds(60, 3, 4, 2.0)
    return made_features(tmp_path_factory.mktemp("cache"), x, made_examples(y))


UNSPLIT: dict[str, Callable[[Features, tl.Evaluation, Path], object]] = {
    "fit": lambda features, evaluation, cache: tl.fit(features),
    "baseline": lambda features, evaluation, cache: tl.baseline(features.examples, evaluation),
    "search_heads": lambda features, evaluation, cache: tl.search_heads(features, "mlp", 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("step", UNSPLIT)
def test_examples_without_a_split_are_refused_by_each_step(step: str, features: Features, tmp_path: Path) -> None:
    split = tl.fit(in_folds_of(features))
    evaluation = tl.evaluate(in_folds_of(features).examples, split)
    with pytest.raises(tl.DataError, match=r"not split[\s\S]*kerastl.split\(examples\)"):
        UNSPLIT[step](features, evaluation, tmp_path)


def in_folds_of(features: Features) -> Features:
    """The same features, cross-validated."""
    return Features(**{**vars(features), "examples": in_folds(features.examples)})


def test_a_search_on_cross_validated_rows_says_what_it_needs(features: Features, tmp_path: Path) -> None:
    with pytest.raises(tl.OptionError, match=r"`search` needs validation rows[\s\S]*search=..."):
        tl.search_heads(in_folds_of(features), "mlp", 3)


def test_a_length_for_images_and_raw_rows_that_were_not_added_are_refused(features: Features) -> None:
    with pytest.raises(tl.OptionError, match="images, which have no length"):
        tl.fit_length(tiny_backbone(), features.examples)
    with pytest.raises(tl.OptionError, match=r"no raw inputs[\s\S]*with_raw"):
        features.raw_rows(features.examples.targets[:2])


@pytest.mark.slow
def test_folders_may_be_texts_or_paths(images: Path, tmp_path: Path) -> None:
    read = [tl.read_images(source, cache_dir=cache) for source in (images, str(images))
            for cache in (tmp_path, str(tmp_path))]
    assert all(examples.ids == read[0].ids for examples in read)
    assert {examples.source for examples in read} == {str(images)}
    table = tmp_path / "texts.csv"
    table.write_text("text,label\n" + "".join(f"a text {i},{'ab'[i % 2]}\n" for i in range(40)))
    texts = [tl.read_texts(source, cache_dir=cache) for source, cache in ((table, str(tmp_path)), (str(table), None))]
    assert list(texts[0].items) == list(texts[1].items)
    backbone = tiny_backbone()
    computed = [tl.compute_features(read[0], backbone, plain_runtime(), cache_dir=cache).array
                for cache in (tmp_path / "c", str(tmp_path / "c"))]
    assert (computed[0] == computed[1]).all()


def test_a_path_among_the_settings_is_recorded_as_text() -> None:
    assert to_json({"data": Path("a/b"), "more": [Path("c")]}) == {"data": "a/b", "more": ["c"]}


def test_a_trained_model_is_evaluated_as_its_fitted_head_is(features: Features, tmp_path: Path) -> None:
    split = in_folds_of(features)
    fitted = tl.fit(split)
    trained = tl.TrainedModel(None, fitted, None)
    of_model, of_head = (tl.evaluate(split.examples, predictor) for predictor in (trained, fitted))
    assert of_model.to_dict() == of_head.to_dict() and of_model.predictions_id == of_head.predictions_id


@pytest.mark.slow
def test_a_rate_for_a_backbone_that_stays_frozen_is_said_to_do_nothing(tmp_path: Path,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    x, y = clouds(60, 3, 24, 2.0)
    pooled = made_features(tmp_path, x, in_folds(made_examples(y)), backbone=tiny_backbone())
    for rate, lines in ((None, 0), (0.1, 1)):
        options = tl.TrainingOptions(fine_tuning=tl.TuningOptions(learning_rate=rate))
        tl.train(pooled, "linear", options=options)
        assert capsys.readouterr().out.count("learning_rate has no effect") == lines
    for wrong in ("last", -1, 1.5):
        with pytest.raises(tl.OptionError, match=f"`unfreeze` is {wrong}\n.*a number of blocks, all, auto or contrast"):
            tl.train(pooled, unfreeze=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", ["transformer", "attention", "resnet"])
def test_a_head_on_maps_is_refused_on_pooled_features(head: str, features: Features) -> None:
    with pytest.raises(tl.OptionError, match=r"pooled to rows of 4(.|\n)*`pooling=none`"):
        tl.fit(in_folds_of(features), head)


def test_a_pipeline_checks_its_options_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(tl.OptionError) as refused:
        tl.classify_images(tmp_path / "no data", name="m", out=tmp_path, epochs=0, label_smoothing=3)
    assert "`epochs` must be at least 1 (got 0)" in str(refused.value) and "`label_smoothing`" in str(refused.value)


@pytest.mark.parametrize(("modality", "item", "words"), [
    ("pixels", 3, "an input is 3"), ("pixels", None, "an input is None"), ("pixels", np.zeros((9, 9, 3)), "ndarray"),
    ("texts", 3, "an input is 3"), ("texts", ("a", "b"), "an input is \\('a', 'b'\\)"), ("texts", [1], "an input is")])
def test_an_input_that_is_neither_a_path_nor_a_text_is_refused(modality: str, item: object, words: str) -> None:
    module = importlib.import_module(f"kerastl.inputs.{modality}")
    with pytest.raises(tl.DataError, match=words) as refused:
        module.client_content(item, {})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.slow
def test_a_classifier_takes_a_single_path_and_names_the_place_of_what_it_cannot_take(trained: Path, images: Path
                                                                                     ) -> None:
    classifier, path = tl.load(trained), images / "red" / "0.png"
    expected = classifier.predict([path])
    for single in (path, str(path), path.read_bytes()):
        assert classifier.predict(single) == expected
    with pytest.raises(tl.DataError, match="input 1: an input is 3"):
        classifier.predict([path, 3])
    wrong = (3, None, "", np.zeros((9, 9, 3)), [path], {"a": path}, (p for p in [path]), Image.new("RGB", (5, 5)))
    found = classifier.predict_each([path, *wrong, bytearray(path.read_bytes())])
    assert [found[0], found[-1]] == expected * 2 and all("an input is" in one.error for one in found[1:-1])
    for several in (3, None, {str(path): 1}, io.BytesIO(b"a"), Image.new("RGB", (5, 5))):
        with pytest.raises(tl.OptionError, match="`inputs` is"):
            classifier.predict_each(several)  # type: ignore[arg-type]
    assert len(predict_inputs(trained, [str(path)]).predictions) == 1


def test_what_a_recipe_handles_is_shown_in_one_line(features: Features) -> None:
    split = in_folds_of(features)
    fitted = tl.fit(split)
    evaluation = tl.evaluate(split.examples, fitted)
    tokenizer = Tokenizer("wordpiece", tuple(f"piece {n}" for n in range(3000)), 0, (1,), (2,), 3, (2,))
    backbone = tiny_backbone()
    tuned = tl.FineTuneResult(kept=True, blocks=2, layers=(), loss_before=0.5, loss_after=0.25,
                              epochs=({"epoch": 1.0},) * 50, seconds=1.0)
    shown: list[tuple[object, str]] = [
        (backbone, "Backbone(tiny_net: images to features of shape (24,); random weights)"),
        (backbone.spec, "Spec(tiny_net: "), (backbone.input, "Pixels(32 x 32)"), (IMAGE, "Modality(image)"),
        (split, "Features(60 x 4 float32, tiny, 3"), (split.examples, "Examples(60 images, 3 classes"),
        (split.examples.split, "Split(cv: 5 folds, 60 rows)"), (evaluation, "Evaluation(60 held-out rows"),
        (evaluation.figures, "Figures(60 held-out rows, accuracy "),
        (held_out(50), "Split(holdout: 30 train, 10 validation, 10 test)"),
        (fitted, "FittedHead(linear, fitted in "),
        (tl.TrainedModel(None, fitted, None), "TrainedModel(None: frozen backbone, FittedHead(linear"),
        (tl.TrainedModel(None, fitted, tuned), "TrainedModel(None: last 2 blocks fine-tuned, FittedHead(linear"),
        (tuned, "FineTuneResult(blocks, 2 blocks, validation loss 0.5000 -> 0.2500, kept)"),
        (tl.Baseline("colours", 60, 0.5, (0.4, 0.6), 0.1, (0.0, 0.2), "unclear", "A sentence."),
         "Baseline(colours: accuracy 0.500 (95% CI 0.400 to 0.600) on 60 rows, transfer unclear)"),
        (Texts(tokenizer, 64), "Texts(texts, at most 64 tokens, head; Tokenizer(wordpiece, 3,000 pieces))"),
        (tl.resolve_head("mlp:hidden=32"), "ConfiguredHead(mlp:hidden=32)"),
        (tl.resolve_head("mlp").spec, "Head(mlp: one ")]
    for value, start in shown:
        assert repr(value).startswith(start) and len(repr(value)) < 200 and "\n" not in repr(value), repr(value)


def test_rows_have_a_length_and_labels(features: Features) -> None:
    assert len(features) == len(features.examples) == 60
    labels = features.examples.labels
    assert labels.shape == (60,) and labels[4] == "class 1" and (features.labels == labels).all()


def test_a_negative_limit_of_the_cache_removes_nothing(tmp_path: Path) -> None:
    from kerastl.shell.listing import cache_info

    with pytest.raises(tl.OptionError, match="`limit` must be at least 0"):
        cache_info(str(tmp_path), limit_gb=-1)


SWAPPED: dict[str, tuple[str, Callable[[Features], object]]] = {
    "train: a head first": ("`features` is 'linear'", lambda features: tl.train("linear", features)),
    "train: examples": ("`features` is Examples", lambda features: tl.train(features.examples)),
    "train: options": ("`options` is {}", lambda features: tl.train(features, options={})),
    "fit: options": ("`options` is None", lambda features: tl.fit(features, options=None)),
    "evaluate: swapped": ("`examples` is Predictions", lambda features: tl.evaluate(Predictions(
        np.arange(3), np.zeros((3, 3), np.float32)), features.examples)),
    "evaluate: features": ("`examples` is Features", lambda features: tl.evaluate(features, None)),
    "evaluate: nothing": ("`predictions` is None", lambda features: tl.evaluate(features.examples, None)),
    "evaluate: other rows": ("has a row 99", lambda features: tl.evaluate(features.examples, Predictions(
        np.array([99]), np.zeros((1, 3), np.float32)))),
    "baseline": ("`evaluation` is None", lambda features: tl.baseline(features.examples, None)),
    "compute_features: swapped": ("`examples` is", lambda features: tl.compute_features(
        features.backbone, features.examples, features.runtime)),
    "compute_features: a name": ("`backbone` is 'minilm'", lambda features: tl.compute_features(
        features.examples, "minilm", features.runtime)),
    "compute_features: no runtime": ("`runtime` is None", lambda features: tl.compute_features(
        features.examples, features.backbone, None)),
    "compute_features: batches of none": ("`batch_size` must be at least 1", lambda features: tl.compute_features(
        features.examples, features.backbone, features.runtime, batch_size=0)),
    "compute_features: a text as a number": ("`batch_size` is '8'", lambda features: tl.compute_features(
        features.examples, features.backbone, features.runtime, batch_size="8")),
    "compute_features: another modality": ("is for images, and `examples` are texts", lambda features:
                                           tl.compute_features(replace(features.examples, modality=TEXT),
                                                               features.backbone, features.runtime)),
    "compute_features: empty": ("`examples` is empty", lambda features: tl.compute_features(
        features.examples.take([]), features.backbone, features.runtime)),
    "split": ("`examples` is None", lambda features: tl.split(None)),
    "fit_length": ("`backbone` is Examples", lambda features: tl.fit_length(features.examples, features.backbone)),
    "splice": ("`head` is 'linear'", lambda features: tl.splice(features.backbone, "linear")),
    "load_backbone": ("`name` is None", lambda features: tl.load_backbone(None)),
    "load_backbone: a number": ("`layer` is 3", lambda features: tl.load_backbone("minilm", layer=3)),
    "apply_runtime": ("`seed` is 'a'", lambda features: tl.apply_runtime(seed="a")),
    "target": ("`name` is 3", lambda features: tl.target("out", 3)),
    "target: a list": (r"`tflite` is \['fp32'\]", lambda features: tl.target("out", "m", ["fp32"])),
    "verify": ("`model` is None", lambda features: tl.verify(None)),
    "write_version": ("`target` is 'm'", lambda features: tl.write_version("m", None, features=features,
                                                                           evaluation=None)),
    "compare: no backbones": ("`backbones` is empty", lambda features: tl.compare("t.csv", [])),
    "compare: numbers": ("`heads` is 3", lambda features: tl.compare("t.csv", ["minilm"], [3])),
    "compare: options": ("`options` is 'x'", lambda features: tl.compare("t.csv", ["minilm"], options="x")),
    "compare: smoothing": ("`label_smoothing` must be in", lambda features: tl.compare(
        "t.csv", ["minilm"], options=tl.TrainingOptions(label_smoothing=2))),
    "compare: contrast on token states": ("heads that take pooled features only .got attention", lambda features:
                                          tl.compare("t.csv", "minilm", "attention", ["contrast"])),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", SWAPPED)
def test_an_argument_in_anothers_place_is_named(call: str, features: Features, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message, work = SWAPPED[call]
    with pytest.raises(tl.KerastlError, match=message):
        work(replace(features, backbone=tiny_backbone()))


def test_what_compare_takes_may_be_single_and_unfreeze_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                ) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tl.DataError, match="no such file or folder"):
        tl.compare(tmp_path / "none.csv", "minilm", "linear", 2)


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_is_refused(limit: int, images: Path) -> None:
    with pytest.raises(tl.OptionError, match="`limit` must be at least 1"):
        tl.read_images(images, limit=limit)
