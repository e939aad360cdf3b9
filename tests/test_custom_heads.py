"""Heads of the user's own: models, callables and files; what is trained and shipped, and what is refused before."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tiny import clouds, held_out, in_folds, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.errors import OptionError
from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead, Head, resolve_head, to_search
from kerastl.heads.custom import check_custom_head
from kerastl.training.fitters import Fitter, RowsFit, fitters
from kerastl.training.options import TrainingOptions

DIM, CLASSES = 24, 3
OPTIONS = TrainingOptions(3)
FILE = """
import keras


def build(shape, outputs):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(outputs)])
"""
HEAD_FILE = """
import keras

from kerastl.heads import Head, Setting


def build(shape, outputs, units=8):
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(units), keras.layers.Dense(outputs)])


HEAD = Head("whatever", "a user's own", build, settings={"units": Setting(8, 1, 64)})
"""


def sequential(outputs: int = CLASSES, dim: int = DIM, **last: Any) -> keras.Model:
    return keras.Sequential([keras.Input((dim,)), keras.layers.Dense(8, activation="relu"),
                             keras.layers.Dense(outputs, **last)], name="mine")


def functional() -> keras.Model:
    features = keras.Input((DIM,))
    x = keras.layers.Dense(8, activation="relu")(features)
    return keras.Model(features, keras.layers.Dense(CLASSES)(keras.layers.Concatenate()([x, features])), name="wide")


def unbuilt() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(CLASSES)], name="lazy")


def build(shape: tuple[int | None, ...], outputs: int) -> keras.Model:
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(outputs)])


@pytest.fixture
def features(tmp_path: Path) -> Features:
    x, y = clouds(90, CLASSES, DIM, 6.0)
    return made_features(tmp_path, x, made_examples(y, split=held_out(90)), backbone=tiny_backbone())


@pytest.mark.parametrize("make", [sequential, pytest.param(functional, marks=pytest.mark.slow),
                                  pytest.param(unbuilt, marks=pytest.mark.slow)])
def test_a_model_is_trained_as_a_copy_and_spliced(make: Callable[[], keras.Model], features: Features, tmp_path: Path
                                                  ) -> None:
    model = make()
    before = [weight.copy() for weight in model.get_weights()]
    trained = tl.train(features, model, options=TrainingOptions(60, head_batch_size=16))
    assert trained.fitted.name == f"custom:{model.name}" and len(str(trained.fitted.settings["head_sha256"])) == 64
    assert trained.fitted.settings["solver"] == "AdamW"
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    held = trained.fitted.held_out
    assert (held.logits.argmax(axis=1) == features.examples.targets[held.rows]).mean() > 0.8
    trained.model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(again(images), trained.model(images)) and again.output_shape == (None, CLASSES)
    history = trained.fitted.history
    assert set(history) == {"epoch", "loss", "val_loss"} and len(history["loss"]) == len(trained.fitted.curve)


@pytest.mark.slow
def test_each_fold_starts_from_new_weights(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that kept the weights of the fold before would know that fold's held-out rows."""
    in_five = replace(features, examples=in_folds(replace(features.examples, split=None)))
    started: list[list[np.ndarray]] = []
    fit = keras.Model.fit

    def noted(self: Any, *more: Any, **most: Any) -> Any:
        started.append([weight.copy() for weight in self.get_weights()])
        return fit(self, *more, **most)

    monkeypatch.setattr(keras.Sequential, "fit", noted)
    given = sequential()
    fitted = tl.fit(in_five, given, options=OPTIONS)
    assert len(started) == 6  # five folds, and the head that ships
    for weights in started:  # the same seed gives the same start, whatever was trained before
        assert np.array_equal(weights[0], started[0][0]) and not np.array_equal(weights[0], given.get_weights()[0])
    assert len(fitted.held_out.rows) == 90 and np.ptp(fitted.held_out.logits) > 0.1


@pytest.mark.slow
def test_a_callable_is_built_for_the_features_and_its_hash_does_not_depend_on_made_up_names(features: Features) -> None:
    first, again = (tl.fit(features, build, options=OPTIONS) for _ in range(2))
    assert first.name == "custom:build" and first.settings == again.settings
    assert np.array_equal(first.held_out.logits, again.held_out.logits)
    other = tl.fit(features, lambda shape, outputs: sequential(outputs), options=OPTIONS)
    wider = tl.fit(features, lambda shape, outputs: functional(), options=OPTIONS)
    assert other.settings["head_sha256"] != wider.settings["head_sha256"]


@pytest.mark.slow
def test_a_file_with_a_function_or_a_head_is_a_head(features: Features, tmp_path: Path) -> None:
    path = tmp_path / "my_head.py"
    path.write_text(FILE)
    plain = tl.fit(features, str(path), options=OPTIONS)
    assert plain.name == str(path) and plain.settings["head_sha256"] == resolve_head(str(path)).spec.sha256
    path.write_text(HEAD_FILE)
    head = resolve_head(f"{path}:units=5,rate=0.01")
    assert head.text == f"{path}:units=5,learning_rate=0.01" and head.setting("rate") == 0.01
    assert head.spec.sha256 != plain.settings["head_sha256"]
    fitted = tl.fit(features, head.text, options=OPTIONS)
    assert fitted.head.layers[0].units == 5 and fitted.name == head.text
    assert [found.text for found in to_search(f"{path}:units=5,linear", 3)] == [f"{path}:units=5", "linear"]
    with pytest.raises(OptionError, match="unknown setting of .*my_head.py 'unit'"):
        resolve_head(f"{path}:unit=5")
    for text, message in (("x = 1", "defines no head"), ("HEAD = 3", "whose HEAD is 3"), ("1 / 0", "ZeroDivision")):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            resolve_head(str(path))


@keras.saving.register_keras_serializable("tests")
class Registered(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Unregistered(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


class Subclassed(keras.Model):
    def call(self, x: Any) -> Any:
        return x


def twice(x: Any) -> Any:
    return 2 * x


@pytest.mark.slow
@pytest.mark.parametrize(("head", "words"), [
    (sequential(outputs=4), ["gives (None, 4)", "(None, 3)"]),
    (sequential(dim=10), ["takes features of shape (10,)", "(24,)"]),
    (keras.Sequential([keras.Input((4, 4, DIM)), keras.layers.Dense(3)]), ["takes features of shape (4, 4, 24)"]),
    (sequential(activation="softmax"), ["ends in softmax", "logits"]),
    (sequential(activation="sigmoid"), ["ends in sigmoid"]),
    (keras.Sequential([keras.Input((DIM,)), keras.layers.Lambda(lambda x: x[:, :3])]), ["a Lambda layer"]),
    (keras.Sequential([keras.Input((DIM,)), Registered(), keras.layers.Dense(3)]), ["the layer Registered"]),
    (keras.Sequential([keras.Input((DIM,)), Unregistered(), keras.layers.Dense(3)]), ["the layer Unregistered"]),
    (sequential(activation=twice), ["the function twice"]),
    (Subclassed(name="sub"), ["the layer Subclassed"]),
    (lambda shape, outputs: "a word", ["gives str", "keras.Model"]),
    (lambda shape, outputs: 1 / 0, ["cannot be built", "ZeroDivisionError"]),
    (lambda shape: sequential(), ["cannot be built", "TypeError"]),
    (3, ["`head` is 3", "a name, a Python file, a keras.Model"]),
])
def test_what_cannot_be_trained_or_shipped_is_refused_before_training(head: Any, words: list[str], features: Features,
                                                                      tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                      ) -> None:
    monkeypatch.setattr(keras.Model, "fit", None)
    with pytest.raises(OptionError) as refused:
        tl.train(features, head)
    assert all(word in str(refused.value) for word in words), refused.value


def test_heads_of_ours_that_need_our_layers_would_be_refused_as_a_users(features: Features) -> None:
    """The check is not vacuous: the blend's saved model does need this program's layers."""
    from kerastl.heads import Raw, heads

    with pytest.raises(OptionError, match="the layer Mix, the layer Standard"):
        check_custom_head(ConfiguredHead(heads()["blend"]), (DIM,), CLASSES, Raw((8, 8, 3)))


def test_a_head_given_as_an_object_is_not_searched() -> None:
    with pytest.raises(OptionError, match="put the head into a file"):
        to_search(sequential(), 3)


def test_a_fitter_is_one_file(features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kerastl.training.fitters as package

    (tmp_path / "first_row.py").write_text("""
from kerastl.training.fitters import Fitter, RowsFit


def fit_rows(head, features, rows, validation, options, *, epochs=None):
    model = head.build(features.shape, len(features.examples.classes))
    model.set_weights([0 * weight + len(rows) for weight in model.get_weights()])
    return RowsFit(model, {"solver": "none"})


FITTER = Fitter(fit_rows, minimises_loss=False)
""")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    fitters.cache_clear()
    try:
        assert {"best", "blend", "class_means", "convex", "first_row", "gradient", "joint", "plain",
                "residual"} == set(fitters())
        assert isinstance(fitters()["first_row"], Fitter)
        head = Head("constant", "a test's own", build, fitter="first_row", training={})
        fitted = tl.fit(features, head)
        assert fitted.name == "constant" and fitted.settings == {"solver": "none"}
        assert (fitted.head.get_weights()[0] == features.examples.split.rows(0).size).all()
        with pytest.raises(OptionError, match="computed without a loss"):
            tl.fit(features, head, options=TrainingOptions(label_smoothing=0.1))
        assert RowsFit(None, {}).epochs == 0
    finally:
        fitters.cache_clear()


@pytest.mark.slow
def test_a_model_is_fine_tuned_with_the_backbone(images: Path, tmp_path: Path) -> None:
    backbone, runtime = tiny_backbone(), plain_runtime()
    examples = tl.split(tl.read_images(str(images)), "holdout")
    features = tl.compute_features(examples, backbone, runtime, cache_dir=tmp_path)
    trained = tl.train(features, sequential(), unfreeze=1, options=TrainingOptions(2))
    result = trained.fine_tuning
    assert result is not None and result.layers == ("block2_conv",)
    assert list(result.history) == ["epoch", "loss", "val_loss"] and result.history["epoch"] == [1, 2]
    assert json.loads(json.dumps(result.to_dict()))["history"] == list(result.epochs)


@pytest.mark.slow
def test_the_shell_takes_a_file_and_the_model_ships(shell: Callable[..., tuple[int, str, str]], images: Path,
                                                    tmp_path: Path) -> None:
    path = tmp_path / "my_head.py"
    path.write_text(HEAD_FILE)
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                           "none", "--head", f"{path}:units=5", "--epochs", 2, "--tflite", "fp32", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert run["head"] == f"{path}:units=5" and run["head_settings"]["head_sha256"] == resolve_head(
        str(path)).spec.sha256
    assert tl.load(tmp_path / "m/1").predict([sorted(images.rglob("*.png"))[0]])
    path.write_text(HEAD_FILE.replace("Dense(units)", "Lambda(lambda x: x)"))
    code, _, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                         "none", "--head", path, "--json")
    assert code == 2 and "a Lambda layer" in err and "Traceback" not in err
