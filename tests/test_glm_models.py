"""ChatGLM2-6B's kin as a backbone of the kit, from tiny folders as published: trained on, exported, asked again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from glm_folders import SMALL, glm_folder, trained_vocabulary, write_vocabulary
from test_text_models import kept, made_texts, trained_on, write_table
from text_folders import change

import kerastl as tl
from kerastl.backbones import Backbone, glm2_6b, repooled, specs, text_memory
from kerastl.backbones._glm import memory_plan as room
from kerastl.backbones._glm.checkpoint import open_checkpoint
from kerastl.backbones._glm.stream import Streamed
from kerastl.errors import OptionError
from kerastl.features.resources import fitting_batch
from kerastl.serving.featurizer import Featurizer

Shell = Callable[..., tuple[int, str, str]]
LAYOUTS = ("original", "transformers")
RECIPE = "glm2_transformer_text"
ASKED = [text for text, _ in made_texts(25, seed=1)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 texts, of which some are Chinese."""
    rows = [(f"{text} 这部电影太棒了" if i % 3 else text, label) for i, (text, label) in enumerate(made_texts(20))]
    return write_table(tmp_path_factory.mktemp("texts") / "t.csv", ("text", "label"), rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return glm_folder(tmp_path_factory.mktemp("glm") / "chatglm")


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as one block at a time needs in float32, and not all of them."""
    monkeypatch.setattr("kerastl.backbones._glm.folder.free_memory", lambda: room.SPARE + 260_000)


def rows_of(backbone: Backbone, texts: list[str]) -> np.ndarray:
    """Their features, all in one batch."""
    tokens, _ = backbone.input.decode(tf.constant(texts))
    found = next(backbone.model.through([tokens.numpy()])) if hasattr(backbone.model, "through") else backbone.model(
        tokens)
    return np.asarray(found)


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "precision"), [*zip(LAYOUTS, ("int8", "bfloat16"), strict=True),
                                                   ("original", "int4")])
def test_what_is_kept_in_fewer_bits_stays_apart_and_its_head_ships_alone(
        layout: str, precision: str, shell: Shell, table: Path, tmp_path: Path) -> None:
    weights = glm_folder(tmp_path / "w", layout=layout)
    run = trained_on(shell, tmp_path, table, weights, "--precision", precision, "--epochs", 2, "--split", "holdout",
                     recipe=RECIPE)
    assert run["large"]["kept"] == precision and run["features"]["compute"].startswith(precision)
    assert Path(run["weights"]).is_absolute() and not run["random_weights"]
    assert kept(run) == dict.fromkeys(("saved_model", "fp32", "fp16", "dynamic"), True)
    version = tmp_path / "m/1"
    serve = tf.saved_model.load(version).signatures["serving_default"]
    (_, inputs), = [serve.structured_input_signature]
    assert inputs["features"].shape.as_list() == [None, *run["large"]["shape"]]
    for word in ("glm2_6b", "stays in its own folder"):
        assert word in (version / "MODEL_CARD.md").read_text() and word in (version / "report.html").read_text()

    code, out, err = shell("predict", tmp_path / "m", *ASKED[:3], table, "--json")
    assert code == 0, err
    found = json.loads(out)["predictions"]
    classifier = tl.load(version)
    assert [one["score"] for one in found[:3]] == pytest.approx([one.score for one in classifier.predict(ASKED[:3])])
    whole = Featurizer(classifier.record)(ASKED[:3])
    answers = serve(features=tf.constant(whole))
    assert [one["label"] for one in found[:3]] == [name.decode() for name in answers["label"].numpy()]
    code, out, err = shell("evaluate", tmp_path / "m", table, "--json")
    assert code == 0 and json.loads(out)["trained_on"] == run["n_train"] + run["n_validation"], err
    code, _, err = shell("verify", tmp_path / "m")
    assert code == 0, err
    code, out, err = shell("export", tmp_path / "m", "--tflite", "fp16", "--json")
    assert code == 0 and kept(json.loads(out)) == {"saved_model": True, "fp16": True}, err
    code, _, err = shell("doctor", tmp_path / "m")
    assert code == 2 and "without its backbone" in err

    (weights / "config.json").rename(weights / "config.old")
    code, _, err = shell("predict", tmp_path / "m", "a film")
    assert code == 2 and "config.json" in err
    code, _, err = shell("predict", tmp_path / "m", "a film", "--weights", table.parent)
    assert code == 2 and "config.json" in err
    moved = tmp_path / "moved"
    weights.rename(moved)
    code, _, err = shell("predict", tmp_path / "m", "a film")
    assert code == 2 and "no longer in" in err and "--weights" in err
    (moved / "config.old").rename(moved / "config.json")
    code, out, err = shell("predict", tmp_path / "m", *ASKED[:3], "--weights", moved, "--json")
    assert code == 0 and [one["score"] for one in json.loads(out)["predictions"]] == pytest.approx(
        [one["score"] for one in found[:3]]), err
    write_vocabulary(moved, trained_vocabulary(split_digits=False))
    code, _, err = shell("predict", tmp_path / "m", "a film", "--weights", moved)
    assert code == 2 and "the tokenizer in" in err and "differ from those that the model was trained with" in err
    glm_folder(moved, layout=layout, seed=1)
    code, _, err = shell("predict", tmp_path / "m", "a film", "--weights", moved)
    assert code == 2 and "the weights in" in err and "differ from those that the model was trained with" in err


@pytest.mark.slow
def test_what_fits_not_in_memory_is_streamed_and_answers_alike(
        shell: Shell, table: Path, folder: Path, little_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
        ) -> None:
    passes: list[int] = []
    original = Streamed._pass
    monkeypatch.setattr(Streamed, "_pass", lambda self, group, scratch: passes.append(len(group)) or
                        original(self, group, scratch))
    asked = ("--precision", "float32", "--head", "linear", "--split", "cv")
    run = trained_on(shell, tmp_path, table, folder, *asked, recipe=RECIPE)
    assert "read from disk block by block" in run["large"]["word"] and run["large"]["kept"] == "float32"
    assert kept(run)["saved_model"] and len(passes) == 1  # one read of the weights for all 40 texts
    classifier = tl.load(tmp_path / "m")
    streamed = classifier.probabilities(classifier.contents(ASKED))
    assert len(passes) == 2  # and one for 50

    monkeypatch.undo()  # now with all the memory there is
    classifier = tl.load(tmp_path / "m")
    assert np.abs(classifier.probabilities(classifier.contents(ASKED)) - streamed).max() < 1e-5
    code, _, err = shell("verify", tmp_path / "m")
    assert code == 0, err
    code, _, err = shell("verify", tmp_path / "m", "--cache-dir", tmp_path / "new")  # where nothing is kept yet
    assert code == 0, err
    again = trained_on(shell, tmp_path / "whole", table, folder, *asked, recipe=RECIPE)
    assert again["large"] is None and again["test"]["log_loss"] == pytest.approx(run["test"]["log_loss"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "last", "none"])
def test_a_tap_is_the_state_after_its_block_and_nothing_above_it_is_kept(
        pooling: str, folder: Path, request: pytest.FixtureRequest) -> None:
    whole = tl.load_backbone("glm2_6b", str(folder), pooling="none")
    part = tl.load_backbone("glm2_6b", str(folder), layer="layer_2", pooling=pooling)
    states = part.model.get_layer("encoder").layers
    assert [layer.name for layer in states if layer.name.startswith("transformer_layer_")] == [
        "transformer_layer_0", "transformer_layer_1"]
    assert whole.model.count_params() > part.model.count_params()
    request.getfixturevalue("little_memory")  # after what has to fit
    streamed = tl.load_backbone("glm2_6b", str(folder), layer="layer_2", pooling=pooling, precision="float32")
    assert streamed.large is not None and isinstance(streamed.model, Streamed)
    assert np.abs(rows_of(streamed, ASKED[:5]) - rows_of(part, ASKED[:5])).max() < 1e-5
    with pytest.raises(OptionError, match="layer_2"):
        tl.load_backbone("glm2_6b", str(folder), layer="layer_3")


@pytest.mark.slow
def test_features_do_not_depend_on_what_a_text_is_batched_with(folder: Path) -> None:
    for pooling in ("mean", "last"):
        backbone = tl.load_backbone("glm2_6b", str(folder), pooling=pooling)
        together = rows_of(backbone, ASKED[:9] + ["好"])
        alone = np.concatenate([rows_of(backbone, [text]) for text in ASKED[:9] + ["好"]])
        assert np.abs(together - alone).max() < 1e-5 < np.abs(alone[0] - alone[1]).max()


@pytest.mark.slow
def test_a_pooling_taken_from_states_is_the_same(folder: Path, little_memory: None) -> None:
    for precision in ("float32", "int8"):  # streamed, in memory
        states = tl.load_backbone("glm2_6b", str(folder), pooling="none", precision=precision)
        for pooling in ("mean", "last"):
            asked = tl.load_backbone("glm2_6b", str(folder), pooling=pooling, precision=precision)
            made = repooled(states, pooling)
            assert (made.shape, made.weights_hash, made.pooling) == (asked.shape, asked.weights_hash, pooling)
            assert np.abs(rows_of(made, ASKED[:4]) - rows_of(asked, ASKED[:4])).max() < 1e-6


def test_a_batch_that_fits_not_is_made_smaller_and_one_text_that_fits_not_is_told(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = tl.load_backbone("glm2_6b", str(folder), precision="int8")
    assert fitting_batch(backbone, 32) == 32
    free = text_memory(backbone, 9)
    monkeypatch.setattr("kerastl.features.resources.free_memory", lambda: free)
    assert fitting_batch(backbone, 32) == 8 and "reduced from 32" in capsys.readouterr().out
    monkeypatch.setattr("kerastl.features.resources.free_memory", lambda: 1000)
    with pytest.raises(OptionError, match="GiB for 1 text of 64 tokens;"):
        fitting_batch(backbone, 32)


@pytest.mark.slow
def test_features_verb_and_compare_keep_weights_as_asked(shell: Shell, table: Path, folder: Path, tmp_path: Path
                                                         ) -> None:
    out = tmp_path / "f.npz"
    code, text, err = shell("features", table, "--backbone", "glm2_6b", "--weights", folder, "--out", out, "--pooling",
                            "last", "--precision", "int8", "--json")
    assert code == 0 and json.loads(text)["compute"].startswith("int8"), err
    with np.load(out) as found:
        assert found["features"].shape == (40, SMALL.dim)
    asked = ("compare", table, "--backbones", "glm2_6b", "--weights", folder, "--precision", "int4", "--seeds", 1,
             "--out", tmp_path / "c", "--min-per-class", 2)
    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kerastl.backbones._glm.folder.open_checkpoint",
                      lambda path, *rest, **more: opened.append(str(path)) or open_checkpoint(path, *rest, **more))
        code, text, err = shell(*asked, "--heads", "linear,transformer:width=16", "--epochs", 2, "--json")
    assert code == 0 and opened == [str(folder)], err  # one reading for both ways of pooling
    found = json.loads(text)
    assert found["kept"] == {"glm2_6b": "int4"} and len(found["table"]) == 2
    for row in found["table"]:
        assert row["parameters"] > room.parameters(SMALL) and row["milliseconds"] > 0
        assert 1e6 * row["megabytes"] < 2 * row["parameters"]  # as its weights are kept
    code, _, err = shell(*asked, "--unfreeze", "0,1", "--heads", "linear,blend")
    assert code == 2 and "--unfreeze must be 0 for glm2_6b" in err and "with glm2_6b (got blend)" in err


@pytest.mark.slow
def test_pickles_are_read_by_leave_alone_and_it_is_said(shell: Shell, table: Path, tmp_path: Path) -> None:
    weights = glm_folder(tmp_path / "w", form="pickle")
    asked = ("features", table, "--backbone", "glm2_6b", "--weights", weights, "--out", tmp_path / "f.npz")
    code, _, err = shell(*asked)
    assert code == 2 and "only as a pickle" in err and not (tmp_path / "f.npz").exists()
    code, _, err = shell(*asked, "--pickles")
    assert code == 0 and "admits tensors only" in err
    code, _, err = shell("features", table, "--backbone", "minilm", "--out", tmp_path / "g.npz", "--pickles")
    assert code == 2 and "is set for minilm" in err


def cut(folder: Path) -> None:
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "told"), [
    (change(model_type="llama"), ["of the family 'llama'", "chatglm"]),
    (change(num_layers=...), ["no num_layers"]),
    (change(ffn_hidden_size=64), ["mlp.dense_h_to_4h.weight of the shape [96, 32], not [128, 32]"]),
    (change(padded_vocab_size=300), ["the vocabulary has 485 pieces, but the network has 300 embeddings"]),
    (cut, ["model-00002-of-00002.safetensors"]),
    (lambda folder: (folder / "tokenizer.model").unlink(), ["tokenizer"]),
], ids=["family", "field", "shape", "rows", "cut", "vocabulary"])
def test_a_bad_folder_is_one_message_and_nothing_is_written(
        harm: Callable[[Path], Any], told: list[str], shell: Shell, table: Path, tmp_path: Path) -> None:
    weights = glm_folder(tmp_path / "w")
    harm(weights)
    code, out, err = shell("run", RECIPE, "--data", table, "--name", "m", "--out", tmp_path / "o", "--weights", weights)
    assert code == 2 and out == "" and err.count("error: ") == 1, err
    assert all(part in err for part in told), err
    assert not (tmp_path / "o" / "m").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("more", "told"), [
    ((), ["missing for glm2_6b", "huggingface.co/THUDM/chatglm2-6b", "pass its path"]),
    (("--weights", "/no/such"), ["/no/such: no such folder of weights"]),
    (("--precision", "mixed_bfloat16"),
     ["--precision must be one of auto, float32, bfloat16, int8, int4 (got mixed_bfloat16)"]),
    (("--unfreeze", "2", "--head", "blend"),
     ["--unfreeze must be 0 for glm2_6b", "--head blend also takes the raw input"]),
    (("--backbone", "minilm", "--precision", "int8"), ["--precision must be one of auto, float32, mixed_bfloat16"]),
], ids=["none", "missing", "precision", "tuned", "of another"])
def test_bad_use_is_one_message(more: tuple[str, ...], told: list[str], shell: Shell, table: Path, tmp_path: Path
                                ) -> None:
    code, out, err = shell("run", RECIPE, "--data", table, "--name", "m", "--out", tmp_path, *more)
    assert code == 2 and out == "" and err.count("error: ") == 1, err
    assert all(part in err for part in told), err


@pytest.mark.slow
def test_too_little_memory_and_too_little_disk_are_said_with_the_numbers(
        shell: Shell, table: Path, folder: Path, little_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
        ) -> None:
    asked = ("features", table, "--backbone", "glm2_6b", "--weights", folder, "--out", tmp_path / "f.npz",
             "--precision", "float32", "--cache-dir", tmp_path / "cache")
    usage = type("Usage", (), {"free": 100, "used": 0, "total": 100})
    with monkeypatch.context() as patch:
        patch.setattr("kerastl.backbones._glm.stream.shutil.disk_usage", lambda place: usage)
        code, _, err = shell(*asked)
        assert code == 2 and "between blocks take 0.00 GiB" in err and "TMPDIR" in err
    monkeypatch.setattr("kerastl.backbones._glm.folder.free_memory", lambda: 100)
    code, _, err = shell(*asked)
    assert code == 2 and "a block of glm2_6b in float32 needs 1.0 GiB, but only 0.0 GiB of memory are free" in err
    assert not (tmp_path / "f.npz").exists()


def test_the_list_says_what_to_download_how_large_and_under_which_licence(shell: Shell) -> None:
    code, out, err = shell("backbones")
    assert code == 0, err
    for word in ("THUDM/chatglm2-6b", "12.5 GB", "THUDM/glm-4-9b", "18.8 GB", "ChatGLM2-6B License", "--weights DIR"):
        assert word in out
    assert specs()["glm2_6b"].parameters == room.parameters(glm2_6b.SIZES)
