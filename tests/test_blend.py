"""The blend: pretrained features mixed with a small network's on the raw input; its export, its ablation."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from test_text_models import answers_the_same
from text_folders import hugging_face_folder
from tiny import held_out, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.decision import calibrated
from kerastl.errors import OptionError
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import Raw, blend, resolve_head
from kerastl.heads.layers import blending
from kerastl.inputs.batches import decode_file
from kerastl.model import raw_branch_of, raw_of
from kerastl.training.fit import fit
from kerastl.training.options import TrainingOptions
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_model

Shell = Callable[..., tuple[int, str, str]]
IMAGE, TEXT = Raw((8, 8, 3)), Raw((None,), 40)
SIDES = {"conv": IMAGE, "words": TEXT, "gru": TEXT, "ngrams": TEXT}
DIM, OUTPUTS = 6, 2


def seen(raw: Raw, n: int, seed: int = 0) -> np.ndarray:
    """Raw rows without meaning: images, or twelve tokens of which the last two are padding."""
    generator = np.random.default_rng(seed)
    if not raw.symbols:
        return generator.integers(0, 256, (n, *raw.shape)).astype(np.uint8)
    rows = generator.integers(10, 40, (n, 12)).astype(np.int32)
    rows[:, 10:] = 0
    return rows


def telling(raw: Raw, y: np.ndarray) -> np.ndarray:
    """The same, but that they tell the class: images by colour, texts by one token, at any place."""
    rows = seen(raw, len(y))
    if raw.symbols:
        rows[np.arange(len(y)), np.random.default_rng(1).integers(0, 10, len(y))] = y + 1
    else:
        rows[..., 0] = np.where(y[:, None, None] > 0, 220, 30)
    return rows


def beside(folder: Path, x: np.ndarray, y: np.ndarray, raw: Raw, rows: np.ndarray, **split: Any) -> Features:
    """Features and raw rows in a real cache, held out."""
    examples = made_examples(y, split=held_out(len(y), **split))
    space = Space(folder, SpaceKey("entrance", "", "made up", "", "none", "int", rows.shape[1:], str(rows.dtype)))
    space.append(examples.ids, rows)
    return replace(made_features(folder, x, examples), raw=raw, raw_space=space)


def noise(n: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def drawn(model: Any, seed: int = 0) -> Any:
    """The model with every weight that trains, but the shares, drawn anew: no zeros that hide a mistake."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if not isinstance(layer, blending.Mix):
            for weight in layer.trainable_weights:
                weight.assign(generator.normal(size=weight.shape) * 0.3)
    return model


# Shares


@pytest.mark.slow
@pytest.mark.parametrize("inner", blend.INNER)
@pytest.mark.parametrize("at", ["features", "flow", "both"])
@pytest.mark.parametrize("side", ["conv", "ngrams"])
def test_theta_1_and_lambda_0_is_the_inner_head_to_the_bit(inner: str, at: str, side: str) -> None:
    raw = SIDES[side]
    fixed = f"blend:inner={inner},at={at},side={side},mix=fixed,theta=1,lambda="
    mixed = drawn(resolve_head(fixed + "0").build((DIM,), 3, raw))
    plain = resolve_head(inner).build((DIM,), 3)
    for layer in plain.layers:
        layer.set_weights(mixed.get_layer(layer.name).get_weights())
    x = noise(50)
    wanted = np.asarray(plain(x))
    assert wanted.std() > 0.1 and np.array_equal(np.asarray(mixed([x, seen(raw, 50)])), wanted)
    other = drawn(resolve_head(fixed + "1").build((DIM,), 3, raw))
    assert not np.array_equal(np.asarray(other([x, seen(raw, 50)])), wanted)


@pytest.mark.slow
def test_a_blend_without_a_side_is_the_solved_linear_head_after_training_too(tmp_path: Path) -> None:
    y = np.arange(120) % OUTPUTS
    features = beside(tmp_path, noise(120) * 3 + 5 + y[:, None], y, IMAGE, seen(IMAGE, 120))
    mixed, plain = (fit(features, head, options=TrainingOptions(2)).held_out.logits
                    for head in ("blend:mix=fixed,theta=1,lambda=0", "linear"))
    assert plain.std() > 0.1 and np.abs(mixed - plain).max() < 1e-4
    scratch = fit(features, "blend:mix=fixed,theta=0,lambda=1", options=TrainingOptions(2))
    assert np.abs(scratch.held_out.logits - plain).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("at", ["features", "flow", "both"])
@pytest.mark.parametrize("inner", blend.INNER)
def test_theta_0_and_lambda_1_never_sees_the_features(inner: str, at: str) -> None:
    spoken = f"blend:inner={inner},at={at},side=conv,mix=fixed,theta=%g,lambda=1"
    scratch, both = (drawn(resolve_head(spoken % theta).build((DIM,), 3, IMAGE)) for theta in (0, 1))
    rows = seen(IMAGE, 20)
    first, second = (np.asarray(scratch([x, rows])) for x in (noise(20, 1), noise(20, 2)))
    assert first.std() > 0.01 and np.array_equal(first, second)
    assert not np.allclose(np.asarray(both([noise(20, 1), rows])), np.asarray(both([noise(20, 2), rows])))


@pytest.mark.parametrize("mix", ["fixed", "learned", "channel", "scheduled"])
@pytest.mark.slow
def test_every_mix_trains_and_says_its_shares(mix: str, tmp_path: Path) -> None:
    y = np.arange(100) % OUTPUTS
    features = beside(tmp_path, noise(100), y, IMAGE, telling(IMAGE, y))
    fitted = fit(features, f"blend:mix={mix},theta=0.9,lambda=0.5,rate=0.01",
                 options=TrainingOptions(3))
    said = fitted.settings
    places = [f"{share}_{place}" for place in ("features", "flow") for share in ("theta", "lambda")]
    ranges = [f"{name}_{end}" for name in places for end in ("low", "high")]
    assert {name for name in said if name.startswith(("theta", "lambda"))} == {*places, *ranges * (mix == "channel")}
    shares = blending.shares_of(fitted.head)
    assert shares["theta_flow"].shape == ((OUTPUTS,) if mix == "channel" else ())
    assert said["lambda_features"] == pytest.approx(float(shares["lambda_features"].mean()))
    if mix == "fixed":
        assert [said[name] for name in places] == pytest.approx([0.9, 0.5] * 2)
    elif mix == "scheduled":  # of the epoch that was kept; from 1 to 0.5 in 10 epochs
        wanted = [1.0, 0.95, 0.9][int(said["epochs"]) - 1]
        assert said["lambda_flow"] == pytest.approx(wanted) and said["theta_flow"] == pytest.approx(0.9)
    else:
        assert said["lambda_flow"] != pytest.approx(0.5, abs=1e-4)
    if mix == "channel":
        assert said["theta_features_low"] < said["theta_features"] < said["theta_features_high"]


def test_a_scheduled_lambda_ends_at_its_value() -> None:
    model = resolve_head("blend:mix=scheduled,lambda=0.2,at=flow").build((DIM,), 2, IMAGE)
    seen_at = []
    for epoch in (0, 5, 10, 40):
        blend.schedule_shares(model, epoch)
        seen_at.append(blend.learned_shares(model)["lambda_flow"])
    assert seen_at == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.slow
def test_where_features_are_noise_the_side_network_learns_and_its_share_grows(side: str, tmp_path: Path) -> None:
    y = np.arange(240) % OUTPUTS
    features = beside(tmp_path, noise(240), y, SIDES[side], telling(SIDES[side], y))
    fitted = fit(features, f"blend:side={side},rate=0.01", options=TrainingOptions(40))
    judged = fitted.held_out
    assert (judged.logits.argmax(axis=1) == y[judged.rows]).mean() > 0.85
    assert fitted.settings["lambda_flow"] > 0.52  # from 0.5


@pytest.mark.parametrize("side", ["conv", "ngrams"])
@pytest.mark.slow
def test_where_the_raw_input_is_noise_the_features_still_tell(side: str, tmp_path: Path) -> None:
    y = np.arange(240) % OUTPUTS
    x = noise(240)
    x[:, 0] += 3.0 * (2 * y - 1)
    features = beside(tmp_path, x, y, SIDES[side], seen(SIDES[side], 240))
    fitted = fit(features, f"blend:side={side},rate=0.01", options=TrainingOptions(40))
    judged = fitted.held_out
    assert (judged.logits.argmax(axis=1) == y[judged.rows]).mean() > 0.9
    assert features.examples.task.log_loss(judged.logits, features.examples.one_hot(judged.rows)).mean() < 0.4


# What the side network sees


@pytest.mark.slow
@pytest.mark.parametrize("side", [name for name, raw in SIDES.items() if raw.symbols])
def test_padding_does_not_move_an_answer(side: str) -> None:
    model = drawn(resolve_head(f"blend:side={side},mix=fixed").build((DIM,), 2, TEXT))
    x, rows = noise(6), seen(TEXT, 6)
    long = np.asarray(model([x, np.pad(rows, ((0, 0), (0, 5)))]))
    assert np.abs(long - np.asarray(model([x, rows[:, :10]]))).max() < 1e-5
    assert np.abs(long - np.asarray(model([x, rows[:, :9]]))).max() > 1e-3  # a token counts


def test_n_grams_weigh_as_tf_idf_of_the_rows_they_were_counted_on() -> None:
    layer = blending.Ngrams(3)
    rows = np.array([[5, 6, 5, 0], [6, 7, 0, 0], [9, 9, 9, 9]], np.int32)
    layer.build((None, None))
    layer.count([rows[:1], rows[1:2]])
    table = np.random.default_rng(0).normal(size=layer.table.shape).astype(np.float32)
    layer.table.assign(table)
    alone = {token: token * blending.FIRST % blending.BUCKETS for token in (5, 6, 7)}
    pair = {(a, b): (a * blending.FIRST + b * blending.SECOND) % blending.BUCKETS for a, b in ((5, 6), (6, 5), (6, 7))}
    assert len({*alone.values(), *pair.values()}) == 6
    rare, common = np.log(3 / 2) + 1, np.log(3 / 3) + 1  # in one of two rows; in both
    first = {alone[5]: 2 * rare, alone[6]: common, pair[5, 6]: rare, pair[6, 5]: rare}
    length = np.sqrt(4 * rare**2 + common**2)
    wanted = sum(table[bucket] * weight for bucket, weight in first.items()) / length * blending.NORM
    given = np.asarray(layer(rows))
    assert np.abs(given[0] - wanted).max() < 1e-4
    assert not given[2].any()  # what the counted rows never had weighs nothing


@pytest.mark.slow
def test_frequencies_and_scales_come_from_training_rows_alone(tmp_path: Path) -> None:
    y = np.arange(80) % OUTPUTS
    rows = telling(TEXT, y)
    features = beside(tmp_path, noise(80) * 5 + 2, y, TEXT, rows)
    split = features.examples.split
    rows_of = {True: split.rows(0), False: np.arange(80)}
    model = fit(features, "blend", options=TrainingOptions(1)).head
    found = {}
    for only_training, some in rows_of.items():
        layer = blending.Ngrams(1)
        layer.build((None, None))
        layer.count([rows[some]])
        found[only_training] = np.array_equal(np.asarray(layer.idf), np.asarray(model.get_layer("ngrams").idf))
    assert found == {True: True, False: False}
    centre = np.asarray(model.get_layer("standard").centre)
    assert np.allclose(centre, features.rows(rows_of[True]).mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(("size", "shape"), [(32, 32), (224, 56), (299, 60)])
def test_the_entrance_gives_whole_numbers_that_a_byte_holds(size: int, shape: int) -> None:
    backbone = tiny_backbone()
    inputs = keras.Input((size, size, 3))
    backbone = replace(backbone, model=keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)),
                       input=replace(backbone.input, size=size))
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.float32)
    rows = np.asarray(raw_branch_of(backbone)(pixels))
    assert rows.shape[1:] == raw_of(backbone).shape == (shape, shape, 3)
    assert np.array_equal(rows, rows.astype(np.uint8))
    step = -(-size // 64)
    whole = pixels[:, : size // step * step, : size // step * step]
    means = whole.reshape(2, size // step, step, size // step, step, 3).astype(np.float64).mean(axis=(2, 4))
    if size % step == 0:
        assert np.array_equal(rows, np.floor(means + 0.5))


@pytest.mark.slow
def test_raw_rows_are_what_the_entrance_makes_and_are_kept(images: Path, tmp_path: Path) -> None:
    backbone, examples = tiny_backbone(), tl.split(tl.read_images(str(images)), "cv")
    features = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
    first = with_raw(features)
    assert first.computed == features.computed + 42 and first.raw_space.key.dtype == "uint8"
    rows = np.array([7, 0, 41])
    assert np.array_equal(first.raw_rows(rows), [decode_file(examples.items[row], 32) for row in rows])
    again = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
    assert with_raw(again).computed == 0


@pytest.mark.parametrize("family", ["bert", "roberta"])  # whose padding is token 0, and 1
def test_raw_texts_are_tokens_from_1_on_padded_with_0(family: str, tmp_path: Path) -> None:
    name = {"bert": "bert_base", "roberta": "roberta_base"}[family]
    backbone = tl.load_backbone(name, str(hugging_face_folder(tmp_path / "m", family)))
    pad = backbone.input.tokenizer.pad
    tokens = np.array([[5, 6, 7], [8, pad, pad]], np.int32)
    assert np.asarray(raw_branch_of(backbone)(tokens)).tolist() == [[6, 7, 8], [9, 0, 0]]
    assert raw_of(backbone) == Raw((None,), backbone.input.tokenizer.size)
    with pytest.raises(OptionError, match="the head also takes the raw text"):
        raw_branch_of(backbone.taking(replace(backbone.input, long="chunks")))


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    for spoken, raw, said in (("blend:side=conv", TEXT, "one of ngrams, words, gru"),
                              ("blend:side=gru", IMAGE, "one of conv"),
                              ("blend:theta=0", IMAGE, "use mix=fixed"),
                              ("blend:mix=channel,lambda=2", IMAGE, "below 2")):
        with pytest.raises(OptionError, match=said):
            resolve_head(spoken).build((DIM,), 2, raw)
    y = np.arange(20) % 2
    features = made_features(tmp_path, noise(20), made_examples(y, split=held_out(20)))
    with pytest.raises(OptionError, match="features with the raw inputs"):
        fit(features, "blend")
    for spoken, seeds, said in (("mlp", 3, "for an ablation .got mlp"), ("blend", 2, "`seeds` must be at least 3")):
        with pytest.raises(OptionError, match=said):
            tl.ablate(features, spoken, seeds=seeds)


# What ships


@pytest.mark.slow
def test_a_blend_of_images_ships_and_reads_again(shell: Shell, images: Path, tmp_path: Path) -> None:
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                           "none", "--head", "blend:mix=channel", "--epochs", 4, "--split", "holdout", "--tflite",
                           "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert {one["kind"]: one["kept"] for one in run["parity"]} == dict.fromkeys(("saved_model", "fp32", "fp16"), True)
    assert run["head_settings"]["lambda_flow_low"] < run["head_settings"]["lambda_flow_high"]
    paths = sorted(images.rglob("*.png"))[::7]
    pixels = np.stack([decode_file(str(path), 32) for path in paths]).astype(np.float32)
    record = RunRecord.read(tmp_path / "m/1")
    logits = calibrated(np.asarray(restore_model(tmp_path / "m/1", record)(pixels)), record.calibration)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = tl.load(tmp_path / "m/1").probabilities([path.read_bytes() for path in paths])
    assert np.abs(given - wanted).max() < 1e-4
    code, _, err = shell("verify", tmp_path / "m")
    assert code == 0, err


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ngrams", "gru"])
def test_a_blend_of_texts_ships_and_reads_again(side: str, shell: Shell, tmp_path: Path) -> None:
    words = {"good": "a good great film", "bad": "an awful bad plot"}
    lines = [f"{text} {'and ' * (i % 3)}scene {i},{label}" for label, text in words.items() for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *lines]))
    folder = hugging_face_folder(tmp_path / "w", "bert")
    code, out, err = shell("run", "bert_text", "--data", tmp_path / "t.csv", "--name", "m", "--out", tmp_path,
                           "--weights", folder, "--unfreeze", 0, "--head", f"blend:side={side},rate=0.01", "--epochs",
                           4, "--split", "holdout", "--tflite", "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert {one["kind"]: one["kept"] for one in run["parity"]} == dict.fromkeys(("saved_model", "fp32", "fp16"), True)
    answers_the_same(tmp_path / "m/1")
    code, _, err = shell("run", "bert_text", "--data", tmp_path / "t.csv", "--name", "c", "--out", tmp_path,
                         "--weights", folder, "--unfreeze", 0, "--head", "blend", "--long", "chunks")
    assert code == 2 and "the head also takes the raw text" in err
