"""Taps: features from inside a network, pooled or whole, kept in the cache, and heads on them."""

import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from text_folders import hugging_face_folder
from tiny import made_examples, plain_runtime

import kerastl as tl
from kerastl.backbones import NO_POOLING, BuildOptions, specs
from kerastl.data.split import split
from kerastl.errors import CheckFailed, OptionError
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.layout import row_shape
from kerastl.heads import PLACES, ROW, ConfiguredHead, Head, Setting, heads, mlp, resolve_head

IMAGES = [spec for spec in specs().values() if spec.modality.name == "image" and spec.feature_layers]
FEW = [pytest.param(spec, id=spec.name, marks=pytest.mark.slow if spec.size > 64 else []) for spec in IMAGES]


@pytest.mark.parametrize("spec", FEW)
def test_a_tap_gives_what_its_layer_gives_within_the_whole_network(spec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    images = np.random.default_rng(0).uniform(0, 255, (2, spec.size, spec.size, 3)).astype(np.float32)
    keras.utils.set_random_seed(5)
    whole = spec.build(BuildOptions("none")).model
    inner = next((layer for layer in whole.layers if isinstance(layer, keras.Model)), whole)
    for tap in spec.feature_layers:
        keras.utils.set_random_seed(5)
        part = spec.build(BuildOptions("none", pooling=NO_POOLING, layer=tap.name)).model
        maps = np.asarray(part(images, training=False))
        assert maps.shape[1:] == tap.shape
        probe = keras.Model(inner.input, inner.get_layer(tap.layer).output)
        before = images if inner is whole else np.asarray(
            keras.Model(whole.input, whole.layers[whole.layers.index(inner) - 1].output)(images))
        assert np.abs(maps - np.asarray(probe(before, training=False))).max() < 1e-4
        keras.utils.set_random_seed(5)
        row = spec.build(BuildOptions("none", layer=tap.name)).model(images, training=False)
        assert np.abs(np.asarray(row) - maps.mean(axis=(1, 2))).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_text_tap_gives_the_states_of_its_block(family: str, tmp_path: Path) -> None:
    name = {"bert": "bert_base", "roberta": "roberta_base", "distilbert": "distil_bert"}[family]
    folder = str(hugging_face_folder(tmp_path / "m", family))
    last = tl.load_backbone(name, folder, pooling=NO_POOLING)
    tokens = np.array([[5, 6, 7, 8, 9], [5, 6, *[last.input.tokenizer.pad] * 3]], np.int32)
    states = np.asarray(last.model(tokens, training=False))
    assert states.shape == (2, 5, last.dim) and last.shape == (None, last.dim)
    assert not states[1, 2:].any() and states[1, :2].all()
    assert np.abs(np.asarray(tl.load_backbone(name, folder).model(tokens)) - states.sum(axis=1)
                  / np.array([[5], [2]])).max() < 1e-5
    with pytest.raises(OptionError, match="unknown layer 'layer_7'"):  # this folder has two blocks
        tl.load_backbone(name, folder, layer="layer_7")
    first = tl.load_backbone(name, folder, pooling=NO_POOLING, layer="layer_1")
    assert len(first.model.weights) < len(last.model.weights) and first.weights_hash != last.weights_hash
    below = np.asarray(first.model(tokens, training=False))
    encoder = next(layer for layer in last.model.layers if hasattr(layer, "layers"))
    block = encoder.get_layer("transformer_layer_1")  # the block after the tap goes on from it to the last states
    mask = (tokens != last.input.tokenizer.pad).astype(np.int32)
    assert np.abs(np.asarray(block(below, padding_mask=mask)) * mask[..., None] - states).max() < 1e-4


def test_unknown_taps_and_poolings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown layer 'mixed6'[\s\S]*did you mean 'mixed7'"):
        tl.load_backbone("inception_v3", "none", layer="mixed6")
    with pytest.raises(OptionError, match="`pooling` is cls"):
        tl.load_backbone("tiny_net", "none", pooling="cls")
    folder = str(hugging_face_folder(tmp_path / "m", "bert"))
    with pytest.raises(OptionError, match="`pooling` is pooled and `layer` is not top"):
        tl.load_backbone("bert_base", folder, pooling="pooled", layer="layer_1")


@pytest.mark.slow
def test_maps_are_kept_in_float16_and_read_back_in_order(images: Path, tmp_path: Path) -> None:
    backbone = tl.load_backbone("tiny_net", "none", layer="block1", pooling=NO_POOLING)
    examples = split(tl.read_images(str(images)), "cv")
    found = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
    assert found.shape == (16, 16, 16) and found.space.key.dtype == "float16"
    rows = np.array([5, 1, 30])
    batch = next(backbone.input.batches(examples.take(rows.tolist()).items, 8, {}))
    wanted = np.asarray(backbone.model(batch.values.astype(np.float32), training=False))
    assert found.rows(rows).dtype == np.float32
    assert np.abs(found.rows(rows) - wanted).max() <= np.abs(wanted).max() * 2**-11
    again = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
    assert again.computed == 0 and found.computed == len(set(examples.ids))
    top = tl.compute_features(examples, tl.load_backbone("tiny_net", "none"), plain_runtime(), cache_dir=tmp_path)
    assert top.computed == found.computed  # another tap, another space


def test_token_states_are_padded_to_the_most_length_and_cannot_come_in_chunks(tmp_path: Path) -> None:
    backbone = tl.load_backbone("bert_base", str(hugging_face_folder(tmp_path / "m", "bert")), pooling=NO_POOLING)
    assert isinstance(backbone.input.max_length, int)
    assert row_shape(backbone) == (backbone.input.max_length, backbone.dim)
    with pytest.raises(OptionError, match="'chunks', with a head that takes token states"):
        row_shape(backbone.taking(replace(backbone.input, long="chunks")))


def test_what_the_disk_cannot_hold_is_said_before_any_work(images: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    from kerastl.features import resources

    monkeypatch.setattr(resources.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 10_000}))
    backbone = tl.load_backbone("tiny_net", "none", pooling=NO_POOLING)
    with pytest.raises(OptionError, match=r"0.00 GiB for \d+ x 8 x 8 x 24 features of tiny_net[\s\S]*`cache_dir`"):
        tl.compute_features(split(tl.read_images(str(images)), "cv"), backbone, plain_runtime(), cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_numbers_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    space = Space(tmp_path, SpaceKey("tiny", "0" * 32, "none", "top", "none", "float32", (2, 3), "float16"))
    ids = made_examples(np.zeros(2)).ids
    for bad in (1e5, math.nan):
        rows = np.ones((2, 2, 3), np.float32)
        rows[1, 1, 1] = bad
        with pytest.raises(CheckFailed, match=r"at most 6.55e\+04, the largest float16 value"):
            space.append(ids, rows)
    assert ids[0] not in space


def test_a_head_is_told_by_name_and_settings() -> None:
    head = resolve_head("mlp:hidden=32,rate=0.01")
    assert (head.setting("hidden"), head.setting("rate"), head.setting("dropout")) == (32, 0.01, 0.5)
    assert head.text == "mlp:hidden=32,learning_rate=0.01" and resolve_head("mlp").text == "mlp"
    assert head.build((8,), 3).get_layer("hidden").units == 32
    for wrong, said in (("mlp:hiden=3", "did you mean 'hidden'"), ("mlp:hidden=3", "from 16 to 4096"),
                        ("mlp:hidden=3.5", "an integer"), ("linear:rate=1", "unknown setting of linear 'learning"),
                        ("transformer:layers=x", "layers to be an integer from 1 to 4"),
                        ("blend:mix=x", "mix to be one of"), ("mlp:rate=x", "learning_rate to be a number"),
                        ("auto", "several heads"), ("linear,mlp", "kerastl.search_heads"),
                        ("mlp:hidden=32,linear", "several heads"),
                        ("mpl", "did you mean 'mlp'")):
        with pytest.raises(OptionError, match=said):
            resolve_head(wrong)


def test_a_setting_has_one_name_and_the_older_one_keeps_working() -> None:
    old, new = (resolve_head(f"mlp:{name}=0.01") for name in ("rate", "learning_rate"))
    assert old == new and old.setting("learning_rate") == old.setting("rate") == 0.01
    assert old.with_settings({"rate": 0.1}).text == "mlp:learning_rate=0.1" and "rate" not in old.spec.known
    own = Head("own", "whose layers have a rate", mlp.build, settings={"rate": Setting(0.5, 0, 1)},
               training={"rate": Setting(1e-3, 0, 1)})
    assert own.known["rate"].default == 0.5
    older = replace(own, settings={})
    assert older.known == {"learning_rate": Setting(1e-3, 0, 1)} and ConfiguredHead(older).setting("rate") == 1e-3


@pytest.mark.parametrize("name", [name for name, head in heads().items() if head.takes == PLACES
                                  and name != "resnet"])  # which takes maps, that have no padding
def test_padding_does_not_move_what_a_head_on_places_says(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = resolve_head(name).build((None, 8), 3)
    states = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    longer = np.pad(states, ((0, 0), (0, 4), (0, 0)))
    assert np.abs(np.asarray(model(states)) - np.asarray(model(longer))).max() < 1e-5
    assert np.abs(np.asarray(model(states)) - np.asarray(model(states[:, :4]))).max() > 1e-3  # a token counts


def test_heads_say_what_they_take_and_the_backbone_follows(images: Path) -> None:
    assert {tl.pooling_for(name) for name, head in heads().items() if head.takes == ROW} == {"mean"}
    assert tl.pooling_for("attention", "cls") == NO_POOLING and tl.pooling_for("mlp", "cls") == "cls"
    with pytest.raises(OptionError, match="`pooling` is 'none', but the head linear"):
        tl.pooling_for("linear", NO_POOLING)
    row = tl.load_backbone("tiny_net", "none")
    with pytest.raises(OptionError, match="build it with that shape"):
        tl.splice(row, resolve_head("attention").build((8, 8, 24), 2))
